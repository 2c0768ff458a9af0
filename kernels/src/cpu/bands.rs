//! A slice cut into bands of equal length, for the items of a job to take one each.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is cut, and which of its bands are taken.
pub struct Bands<'a, T> {
    start: *mut T,
    len: usize,
    band: usize,
    taken: AtomicU64,
    _of: PhantomData<&'a mut [T]>,
}

// SAFETY: a band is handed out once, so two threads never hold the same elements.
unsafe impl<T: Send> Sync for Bands<'_, T> {}

impl<'a, T> Bands<'a, T> {
    /// Bands that there may be.
    pub const MOST: usize = u64::BITS as usize;

    /// Bands of `band` elements, the last one shorter; longer ones where there would be more than 64.
    pub fn new(slice: &'a mut [T], band: usize) -> Self {
        let band = band.max(slice.len().div_ceil(Self::MOST)).max(1);
        Bands { start: slice.as_mut_ptr(), len: slice.len(), band, taken: AtomicU64::new(0), _of: PhantomData }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.len.div_ceil(self.band)
    }

    /// The band `n`.
    ///
    /// # Panics
    /// If there is no such band, or it was taken before.
    pub fn take(&self, n: usize) -> &'a mut [T] {
        assert!(n < self.count(), "band {n} of {}", self.count());
        let before = self.taken.fetch_or(1 << n, Ordering::Relaxed);
        assert!(before & 1 << n == 0, "band {n} is taken");
        let from = n * self.band;
        // SAFETY: within the slice that is borrowed for 'a, and nobody else gets these elements.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), self.band.min(self.len - from)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_one_band() {
        for (len, band) in [(0, 3), (1, 3), (9, 3), (10, 3), (1000, 1), (64, 1)] {
            let mut all = vec![0u32; len];
            let bands = Bands::new(&mut all, band);
            assert!(bands.count() <= Bands::<u32>::MOST);
            for n in 0..bands.count() {
                bands.take(n).iter_mut().for_each(|v| *v += 1 + n as u32);
            }
            assert!(all.iter().all(|v| *v > 0) && all.is_sorted(), "{len} in bands of {band}");
        }
    }

    #[test]
    #[should_panic(expected = "band 1 is taken")]
    fn no_band_is_taken_twice() {
        let mut all = [0; 8];
        let bands = Bands::new(&mut all, 4);
        let _ = (bands.take(0), bands.take(1), bands.take(1));
    }
}
