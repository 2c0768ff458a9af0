//! Keeps a worker off the core its caller runs on.
//!
//! A busy machine wakes threads that talk to each other on one core, where two that compute share it: half the speed for as
//! long as the scheduler sees nothing wrong. Only Linux can be told; elsewhere nothing happens. Knows nothing of jobs.

#[cfg(target_os = "linux")]
mod system {
    /// The cores this thread could use when it started.
    pub struct Cores(libc::cpu_set_t);

    /// The core this thread is on.
    pub fn current_core() -> usize {
        // SAFETY: no arguments; -1 on failure becomes a core that nobody has.
        unsafe { libc::sched_getcpu() as usize }
    }

    impl Cores {
        pub fn of_this_thread() -> Option<Self> {
            // SAFETY: all zeros is a valid, empty set.
            let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: the set is ours and as large as stated; 0 is the calling thread.
            let ok = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } == 0;
            ok.then_some(Self(set))
        }

        /// Moves this thread to any of its cores but this one.
        pub fn leave(&self, core: usize) {
            if core >= libc::CPU_SETSIZE as usize {
                return;
            }
            let mut set = self.0;
            // SAFETY: `core` is inside the set's size, which was checked; the set is ours.
            unsafe {
                libc::CPU_CLR(core, &mut set);
                if libc::CPU_COUNT(&set) > 0 {
                    // A refusal leaves everything as it was, which is what happens elsewhere too.
                    libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// Cores cannot be chosen here.
    pub struct Cores;

    pub fn current_core() -> usize {
        usize::MAX
    }

    impl Cores {
        pub fn of_this_thread() -> Option<Self> {
            None
        }

        pub fn leave(&self, _: usize) {}
    }
}

pub use system::{Cores, current_core};
