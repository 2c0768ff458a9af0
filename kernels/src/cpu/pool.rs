//! Fixed worker threads that share out one job at a time, for jobs of a few microseconds to a few milliseconds.
//!
//! No allocation per job. Workers spin for a moment after a job, because the next layer follows at once, then park, so that
//! nothing burns between frames. If two callers come at once the second runs its job alone: nobody waits for anybody.
//! This file knows nothing of kernels.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for the next job before it parks.
const SPIN: Duration = Duration::from_micros(60);

/// Low bits of `Shared::gate`: workers inside the job. Above them one bit: the job takes workers. Above that the job's number.
const INSIDE: u64 = (1 << 16) - 1;
const OPEN: u64 = 1 << 16;
const NUMBER: u64 = 1 << 17;

type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The job that is open: valid while `gate` has workers inside or is open.
struct Job {
    task: *const Task<'static>,
    items: usize,
}

struct Shared {
    gate: AtomicU64,
    next: AtomicUsize,
    job: UnsafeCell<Job>,
    failed: AtomicBool,
    stop: AtomicBool,
    sleeping: Box<[AtomicBool]>,
}

// SAFETY: `job` is written only by the holder of the submit lock while the gate is closed and empty, and read only by
// workers that entered through the open gate; the gate's acquire and release order those accesses.
unsafe impl Sync for Shared {}
// SAFETY: the task pointer inside is only followed under the rule above.
unsafe impl Send for Shared {}

struct Inner {
    shared: Arc<Shared>,
    submit: Mutex<()>,
    threads: Vec<Thread>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for t in &self.threads {
            t.unpark();
        }
        let handles = self.handles.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for h in handles.drain(..) {
            let _ = h.join();
        }
    }
}

/// A handle to the workers; clones share them.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

impl Pool {
    /// `threads` counts the caller: 1 starts no thread at all. Threads that cannot be started are done without.
    pub fn new(threads: usize) -> Self {
        let wanted = threads.clamp(1, 64) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job { task: std::ptr::null::<fn(usize, usize)>() as *const Task<'static>, items: 0 }),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleeping: (0..wanted).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut handles = Vec::new();
        for index in 0..wanted {
            let shared = Arc::clone(&shared);
            let started = std::thread::Builder::new().name(format!("odori-cpu-{}", index + 1)).spawn(move || worker(&shared, index));
            match started {
                Ok(h) => handles.push(h),
                Err(e) => {
                    tracing::warn!("a compute thread could not be started: {e}");
                    break;
                }
            }
        }
        let threads = handles.iter().map(|h| h.thread().clone()).collect();
        Self { inner: Arc::new(Inner { shared, submit: Mutex::new(()), threads, handles: Mutex::new(handles) }) }
    }

    /// One thread per core, at most 16.
    pub fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, |n| n.get().min(16)))
    }

    /// Threads that share a job, the caller's among them.
    pub fn threads(&self) -> usize {
        self.inner.threads.len() + 1
    }

    /// Wakes the workers, so that the first job of a frame finds them awake.
    pub fn wake(&self) {
        for (asleep, thread) in self.inner.shared.sleeping.iter().zip(&self.inner.threads) {
            if asleep.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
    }

    /// Calls `task(thread, item)` once for every item below `items`; `thread` is below `threads()` and unique at any time.
    ///
    /// # Panics
    /// If the task panics on any thread.
    pub fn run(&self, items: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        let alone = || (0..items).for_each(|i| task(0, i));
        if items <= 1 || self.inner.threads.is_empty() {
            return alone();
        }
        let Ok(_turn) = self.inner.submit.try_lock() else {
            return alone();
        };
        let shared = &*self.inner.shared;
        shared.next.store(0, Ordering::Relaxed);
        // SAFETY: the gate is closed and empty here, so nobody else looks at the job. The lifetime is erased, but `Close`
        // below shuts the gate and waits until it is empty before this function can return or unwind.
        unsafe {
            let task = std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task as *const Task<'_>);
            *shared.job.get() = Job { task, items };
        }
        let closed = shared.gate.load(Ordering::Relaxed) & !(INSIDE | OPEN);
        shared.gate.store(closed.wrapping_add(NUMBER) | OPEN, Ordering::SeqCst);
        let close = Close(shared);
        self.wake();
        loop {
            let i = shared.next.fetch_add(1, Ordering::Relaxed);
            if i >= items {
                break;
            }
            task(0, i);
        }
        drop(close);
        assert!(!shared.failed.swap(false, Ordering::Relaxed), "a compute task panicked on a worker thread");
    }
}

/// Shuts the gate and waits for those inside, also when the caller unwinds.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0u32;
        while self.0.gate.load(Ordering::Acquire) & INSIDE != 0 {
            turns += 1;
            if turns.is_multiple_of(512) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

fn worker(shared: &Shared, index: usize) {
    let mut done = 0u64;
    let mut idle_since = None;
    let mut turns = 0u32;
    loop {
        let gate = shared.gate.load(Ordering::SeqCst);
        let number = gate & !(INSIDE | OPEN);
        if gate & OPEN != 0 && number != done {
            if shared.gate.compare_exchange_weak(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            done = number;
            // SAFETY: we are counted inside an open gate, so the caller keeps the task alive until we leave.
            let (task, items) = unsafe {
                let job = &*shared.job.get();
                (&*job.task, job.items)
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    let i = shared.next.fetch_add(1, Ordering::Relaxed);
                    if i >= items {
                        break;
                    }
                    task(index + 1, i);
                }
            }));
            if outcome.is_err() {
                shared.failed.store(true, Ordering::Relaxed);
            }
            shared.gate.fetch_sub(1, Ordering::AcqRel);
            idle_since = None;
            continue;
        }
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        turns = turns.wrapping_add(1);
        std::hint::spin_loop();
        if !turns.is_multiple_of(64) {
            continue;
        }
        let since = *idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() < SPIN {
            continue;
        }
        shared.sleeping[index].store(true, Ordering::SeqCst);
        // A job opened before the flag was up would not have woken us.
        let gate = shared.gate.load(Ordering::SeqCst);
        let missed = gate & OPEN != 0 && gate & !(INSIDE | OPEN) != done;
        if !missed && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.sleeping[index].store(false, Ordering::SeqCst);
        idle_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_runs_once_for_any_number_of_threads() {
        for threads in [1, 2, 3, 5] {
            let pool = Pool::new(threads);
            for items in [0usize, 1, 2, 7, 100] {
                for _ in 0..200 {
                    let seen: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(items, &|thread, i| {
                        assert!(thread < pool.threads());
                        seen[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn callers_at_once_do_not_wait_for_each_other() {
        let pool = Pool::new(2);
        let total = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..500 {
                        pool.run(8, &|_, i| {
                            total.fetch_add(i, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 3 * 500 * 28);
    }

    #[test]
    fn jobs_after_sleep_still_reach_everyone() {
        let pool = Pool::new(2);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(3));
            let sum = AtomicUsize::new(0);
            pool.run(10, &|_, i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 45);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        for _ in 0..20 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, &|_, i| {
                    std::thread::yield_now();
                    assert!(i != 13, "item 13");
                });
            }));
            assert!(caught.is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.run(10, &|_, i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }
}
