//! The session's queues: each bounded, each with a stated rule for when it is full, each counting what it drops.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

/// Encoded media to one viewer: when full, the oldest goes.
#[derive(Debug)]
pub struct Lane<T> {
    items: Mutex<(VecDeque<T>, bool)>,
    room: usize,
    wake: Notify,
}

impl<T> Lane<T> {
    pub fn new(room: usize) -> Self {
        Self { items: Mutex::new((VecDeque::with_capacity(room), false)), room, wake: Notify::new() }
    }

    /// Adds an item; says how many older ones were dropped for it.
    pub fn push(&self, item: T) -> usize {
        let mut items = self.items.lock().expect("no panic while held");
        let dropped = (items.0.len() + 1).saturating_sub(self.room);
        items.0.drain(..dropped);
        items.0.push_back(item);
        drop(items);
        self.wake.notify_one();
        dropped
    }

    /// Forgets what waits; says how much it was.
    pub fn clear(&self) -> usize {
        let mut items = self.items.lock().expect("no panic while held");
        let waiting = items.0.len();
        items.0.clear();
        waiting
    }

    pub fn close(&self) {
        self.items.lock().expect("no panic while held").1 = true;
        self.wake.notify_one();
    }

    /// The next item, once there is one; `None` when closed. For one reader.
    pub async fn next(&self) -> Option<T> {
        loop {
            {
                let mut items = self.items.lock().expect("no panic while held");
                if items.1 {
                    return None;
                }
                if let Some(item) = items.0.pop_front() {
                    return Some(item);
                }
            }
            self.wake.notified().await;
        }
    }
}

/// Sound between two threads. When full the oldest is dropped ([`SoundQueue::push`]) or the writer waits
/// ([`SoundQueue::push_waiting`]).
#[derive(Debug)]
pub struct SoundQueue {
    inner: Mutex<Sound>,
    changed: Condvar,
    room: usize,
}

#[derive(Debug, Default)]
struct Sound {
    samples: VecDeque<f32>,
    /// Dropped since the reader last looked.
    dropped: usize,
    closed: bool,
}

impl SoundQueue {
    pub fn new(room: usize) -> Self {
        Self { inner: Mutex::default(), changed: Condvar::new(), room }
    }

    /// Adds samples; says how many of the oldest were dropped.
    pub fn push(&self, samples: &[f32]) -> usize {
        let mut inner = self.inner.lock().expect("no panic while held");
        inner.samples.extend(samples);
        let over = inner.samples.len().saturating_sub(self.room);
        inner.samples.drain(..over);
        inner.dropped += over;
        self.changed.notify_all();
        over
    }

    /// Adds samples as there is room; `false` when closed.
    pub fn push_waiting(&self, samples: &[f32]) -> bool {
        self.push_waiting_below(samples, self.room)
    }

    /// The same, keeping to less room than there is.
    pub fn push_waiting_below(&self, samples: &[f32], room: usize) -> bool {
        let mut inner = self.inner.lock().expect("no panic while held");
        while !inner.closed && inner.samples.len() + samples.len() > room {
            inner = self.changed.wait(inner).expect("no panic while held");
        }
        inner.samples.extend(samples);
        self.changed.notify_all();
        !inner.closed
    }

    /// Moves everything to the end of `out`, waiting up to `limit` for something. Gives how much was dropped before it.
    pub fn take_all(&self, out: &mut Vec<f32>, limit: Duration) -> usize {
        let inner = self.inner.lock().expect("no panic while held");
        let (mut inner, _) = self.changed.wait_timeout_while(inner, limit, |i| i.samples.is_empty() && !i.closed).expect("no panic while held");
        out.extend(inner.samples.drain(..));
        std::mem::take(&mut inner.dropped)
    }

    /// Fills `out` if there is enough; says whether it did.
    pub fn take_exact(&self, out: &mut [f32]) -> bool {
        let mut inner = self.inner.lock().expect("no panic while held");
        if inner.samples.len() < out.len() {
            return false;
        }
        let n = out.len();
        out.iter_mut().zip(inner.samples.drain(..n)).for_each(|(to, from)| *to = from);
        self.changed.notify_all();
        true
    }

    /// Drops the oldest `n`.
    pub fn discard(&self, n: usize) {
        let mut inner = self.inner.lock().expect("no panic while held");
        let n = n.min(inner.samples.len());
        inner.samples.drain(..n);
        self.changed.notify_all();
    }

    pub fn len(&self) -> usize {
        self.inner.lock().expect("no panic while held").samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn close(&self) {
        self.inner.lock().expect("no panic while held").closed = true;
        self.changed.notify_all();
    }
}

/// A picture between two threads, one place: the newest replaces it.
#[derive(Debug, Default)]
pub struct Newest<T> {
    inner: Mutex<(Option<T>, bool)>,
    changed: Condvar,
}

impl<T> Newest<T> {
    pub fn new() -> Self {
        Self { inner: Mutex::new((None, false)), changed: Condvar::new() }
    }

    /// Puts the newest in; gives back the one it replaced, unseen.
    pub fn put(&self, item: T) -> Option<T> {
        let old = self.inner.lock().expect("no panic while held").0.replace(item);
        self.changed.notify_one();
        old
    }

    /// Waits for one; `None` when closed.
    pub fn take(&self) -> Option<T> {
        let inner = self.inner.lock().expect("no panic while held");
        let mut inner = self.changed.wait_while(inner, |i| i.0.is_none() && !i.1).expect("no panic while held");
        if inner.1 { None } else { inner.0.take() }
    }

    pub fn close(&self) {
        self.inner.lock().expect("no panic while held").1 = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_full_lane_drops_its_oldest_and_a_closed_one_ends() {
        let lane = Lane::new(2);
        assert_eq!([lane.push(1), lane.push(2), lane.push(3)], [0, 0, 1]);
        assert_eq!(lane.next().await, Some(2));
        assert_eq!(lane.next().await, Some(3));
        lane.close();
        assert_eq!(lane.next().await, None);
    }

    #[test]
    fn a_full_sound_queue_drops_the_oldest_and_tells_both_sides() {
        let queue = SoundQueue::new(4);
        assert_eq!((queue.push(&[1.0, 2.0, 3.0]), queue.push(&[4.0, 5.0])), (0, 1));
        let mut out = Vec::new();
        assert_eq!(queue.take_all(&mut out, Duration::ZERO), 1);
        assert_eq!(out, [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(queue.take_all(&mut out, Duration::ZERO), 0);
    }

    #[test]
    fn a_waiting_writer_goes_on_when_there_is_room_and_ends_when_closed() {
        let queue = Arc::new(SoundQueue::new(4));
        let writer = std::thread::spawn({
            let queue = queue.clone();
            move || (queue.push_waiting(&[1.0; 4]), queue.push_waiting(&[2.0; 4]), queue.push_waiting(&[3.0; 4]))
        });
        let mut block = [0.0; 4];
        while !queue.take_exact(&mut block) {}
        while queue.is_empty() {}
        queue.close();
        assert_eq!(writer.join().unwrap(), (true, true, false));
    }

    #[test]
    fn the_newest_replaces_the_unseen() {
        let cell = Newest::new();
        assert_eq!(cell.put(1), None);
        assert_eq!(cell.put(2), Some(1));
        assert_eq!(cell.take(), Some(2));
        cell.close();
        assert_eq!(cell.take(), None);
    }
}
