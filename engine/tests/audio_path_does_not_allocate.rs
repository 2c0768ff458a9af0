//! Once warm, resampling, features and the beat tracker run without touching the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use odori_engine::audio::{Downmix, Intake};
use odori_engine::beat::BeatTracker;
use odori_engine::features::Features;
use odori_kernels::{Backend, Weights, cpu};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above with this `layout`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn tracker() -> BeatTracker {
    let weights = Weights::from_safetensors(include_bytes!("../../models/beat.safetensors")).expect("the built-in weights");
    BeatTracker::new(&Backend::Cpu(cpu::Pool::new(1)), &weights).expect("the built-in weights")
}

#[test]
fn the_audio_path_does_not_allocate() {
    let mut intake = Intake::new(44_100, Downmix::from_count(2).unwrap()).unwrap();
    let (mut features, mut tracker) = (Features::new(), tracker());
    let input: Vec<f32> = (0..882).map(|i| (i as f32 * 0.1).sin() * (i % 441) as f32 / 441.0).collect();
    let (mut listen, mut model) = (Vec::with_capacity(8_192), Vec::with_capacity(8_192));
    let mut second = |seconds: usize| {
        let before = COUNT.get();
        for _ in 0..100 * seconds {
            listen.clear();
            model.clear();
            intake.push(&input, &mut listen, &mut model);
            features.push(&model);
            while let Some(hop) = features.next_hop() {
                let hop = *hop;
                tracker.step(&hop, features.samples());
                tracker.take_predicted();
            }
        }
        COUNT.get() - before
    };
    second(2);
    assert_eq!(second(10), 0);
}
