//! The session's queues: each bounded, each with a stated rule for when it is full, each counting what it drops.
//!
//! Those on the way of a frame ([`Blocks`], [`Newest`], [`Lane`]) take no lock: rings of atomics, and a thread that has
//! nothing to do parks. [`SoundQueue`] stands before that way, where the network and pipes bring sound in.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::task::Poll;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use futures_util::task::AtomicWaker;

/// Encoded media to one viewer: when full, the oldest goes.
#[derive(Debug)]
pub struct Lane<T> {
    items: ArrayQueue<T>,
    closed: AtomicBool,
    reader: AtomicWaker,
}

impl<T> Lane<T> {
    pub fn new(room: usize) -> Self {
        Self { items: ArrayQueue::new(room), closed: AtomicBool::new(false), reader: AtomicWaker::new() }
    }

    /// Adds an item; says how many older ones were dropped for it.
    pub fn push(&self, item: T) -> usize {
        let dropped = usize::from(self.items.force_push(item).is_some());
        self.reader.wake();
        dropped
    }

    /// Forgets what waits; says how much it was.
    pub fn clear(&self) -> usize {
        std::iter::from_fn(|| self.items.pop()).count()
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// The next item, once there is one; `None` when closed. For one reader.
    pub async fn next(&self) -> Option<T> {
        poll_fn(|context| {
            // Registered before looking, so that an item put in between is not slept over.
            self.reader.register(context.waker());
            if self.closed.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            self.items.pop().map_or(Poll::Pending, |item| Poll::Ready(Some(item)))
        })
        .await
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

    /// Waits until `n` samples are there, but not past `until`.
    pub fn wait_for(&self, n: usize, until: Instant) {
        let mut inner = self.inner.lock().expect("no panic while held");
        while inner.samples.len() < n && !inner.closed {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { return };
            inner = self.changed.wait_timeout(inner, left).expect("no panic while held").0;
        }
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

/// Samples of the longest block: 20 ms at 24 kHz.
pub const BLOCK_ROOM: usize = 480;

/// A block of the dancer's sound.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    samples: [f32; BLOCK_ROOM],
    len: usize,
}

impl Block {
    pub fn samples(&self) -> &[f32] {
        &self.samples[..self.len]
    }
}

/// The thread that reads a queue, so that a writer can wake it.
#[derive(Debug, Default)]
struct Reader(OnceLock<Thread>);

impl Reader {
    /// Waits until woken, or `limit`.
    fn wait(&self, limit: Duration) {
        self.0.get_or_init(std::thread::current);
        std::thread::park_timeout(limit);
    }

    fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// The longest a reader sleeps on: one that was not yet known when it should have been woken looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Sound to the dancer, in blocks; when full the oldest is dropped. For one reader.
#[derive(Debug)]
pub struct Blocks {
    blocks: ArrayQueue<Block>,
    reader: Reader,
}

impl Blocks {
    /// Room for so many blocks.
    pub fn new(room: usize) -> Self {
        Self { blocks: ArrayQueue::new(room), reader: Reader::default() }
    }

    /// Adds samples; says how many of the oldest were dropped.
    pub fn push(&self, samples: &[f32]) -> usize {
        let mut dropped = 0;
        for part in samples.chunks(BLOCK_ROOM) {
            let mut block = Block { samples: [0.0; BLOCK_ROOM], len: part.len() };
            block.samples[..part.len()].copy_from_slice(part);
            dropped += self.blocks.force_push(block).map_or(0, |b| b.len);
        }
        self.reader.wake();
        dropped
    }

    /// The oldest block; waits a moment for one.
    pub fn take(&self) -> Option<Block> {
        self.blocks.pop().or_else(|| {
            self.reader.wait(LOOK_AGAIN);
            self.blocks.pop()
        })
    }

    /// Blocks that wait.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes the reader, to look at what else has changed.
    pub fn wake(&self) {
        self.reader.wake();
    }
}

/// A picture between two threads, one place: the newest replaces it. For one reader.
#[derive(Debug)]
pub struct Newest<T> {
    place: ArrayQueue<T>,
    closed: AtomicBool,
    reader: Reader,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self { place: ArrayQueue::new(1), closed: AtomicBool::new(false), reader: Reader::default() }
    }
}

impl<T> Newest<T> {
    /// Puts the newest in; gives back the one it replaced, unseen.
    pub fn put(&self, item: T) -> Option<T> {
        let old = self.place.force_push(item);
        self.reader.wake();
        old
    }

    /// Waits for one; `None` when closed.
    pub fn take(&self) -> Option<T> {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            if let Some(item) = self.place.pop() {
                return Some(item);
            }
            self.reader.wait(LOOK_AGAIN);
        }
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reader.wake();
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

    #[tokio::test]
    async fn a_lane_wakes_its_reader_from_another_thread() {
        let lane = Arc::new(Lane::new(2));
        let writer = std::thread::spawn({
            let lane = lane.clone();
            move || {
                for n in 0..1000 {
                    lane.push(n);
                    std::thread::yield_now();
                }
                lane.push(-1);
            }
        });
        let mut last = None;
        while let Some(n) = lane.next().await {
            if n == -1 {
                break;
            }
            assert!(last < Some(n), "in order");
            last = Some(n);
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_full_sound_queue_drops_the_oldest() {
        let queue = SoundQueue::new(4);
        assert_eq!((queue.push(&[1.0, 2.0, 3.0]), queue.push(&[4.0, 5.0])), (0, 1));
        let mut out = [0.0; 4];
        assert!(queue.take_exact(&mut out));
        assert_eq!(out, [2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn blocks_keep_their_order_and_the_oldest_goes_first() {
        let blocks = Blocks::new(2);
        assert_eq!(blocks.push(&[1.0; 240]), 0);
        // More than a block holds comes as two.
        assert_eq!(blocks.push(&[2.0; 500]), 240);
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks.take().unwrap().samples().len(), blocks.take().unwrap().samples()), (480, &[2.0; 20][..]));
        assert!(blocks.take().is_none());
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
        let cell = Newest::default();
        assert_eq!(cell.put(1), None);
        assert_eq!(cell.put(2), Some(1));
        assert_eq!(cell.take(), Some(2));
        cell.close();
        assert_eq!(cell.take(), None);
    }
}
