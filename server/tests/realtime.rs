//! The way of a frame, from its sound to the encoder, allocates nothing: a real session of the real engine runs under an
//! allocator that counts, by thread.
#![cfg(target_os = "linux")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use odori_server::clock::MediaClock;
use odori_server::dancer;
use odori_server::engine::{Compute, Draw, Machine, Options};
use odori_engine::picture::camera::Framing;
use odori_engine::render::Background;
use odori_server::live::{Cast, DanceSettings, Scene};
use odori_server::measure::Meters;
use odori_server::session::run::{FPS, Run, RunSetup, Wishes};
use odori_server::session::sound::Source;
use odori_server::session::stats::{LATE, Stats};
use odori_server::session::viewers::{Variant, Viewer, Viewers};

static ARMED: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);
/// Of the allocations that must not be, so many are told apart by where they were made.
const SHOWN: u64 = 4;

thread_local! {
    static ON_THE_WAY: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether this thread is the dancer or one of its kernel workers, by its name.
fn on_the_way() -> bool {
    ON_THE_WAY.get().unwrap_or_else(|| {
        let mut name = [0u8; 16];
        // SAFETY: PR_GET_NAME writes at most 16 bytes, ending in zero, to where the argument points.
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        let is = name.starts_with(b"dancer\0") || name.starts_with(b"odori-cpu-");
        ON_THE_WAY.set(Some(is));
        is
    })
}

struct Counting;

// SAFETY: everything is passed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ARMED.load(Ordering::Relaxed) {
            let on_the_way = on_the_way();
            let counter = if on_the_way { &ALLOCATIONS } else { &ELSEWHERE };
            if counter.fetch_add(1, Ordering::Relaxed) < SHOWN && on_the_way {
                ON_THE_WAY.set(Some(false));
                eprintln!("{} bytes:\n{}", layout.size(), std::backtrace::Backtrace::force_capture());
                ON_THE_WAY.set(Some(true));
            }
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn wait(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what} did not happen in {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_frame_on_its_way_to_the_encoder_allocates_nothing() {
    let options = Options { compute: Compute::Cpu, draw: Draw::Cpu, ..Options::default() };
    let engine = Arc::new(dancer::engine(Arc::new(Machine::open(&options).unwrap()), &[], &[], (512, 512)).unwrap());
    let clock = Arc::new(MediaClock::new(Instant::now()));
    let stats = Arc::new(Stats::new(Arc::new(Meters::default()), Instant::now(), LATE));
    let viewers = Arc::new(Viewers::default());
    let viewer = Arc::new(Viewer::new("v".into(), Variant::ALL[0], 2_000_000));
    viewer.connect();
    viewers.add(viewer);
    let song = &engine.songs[0];
    let avatars = engine.avatars();
    let cast = |who: &[usize]| Arc::new(Cast(who.iter().map(|n| avatars[*n].clone()).collect()));
    let stage = Scene { framing: Framing::Auto, background: Background::Stage };
    let first = Wishes { cast: cast(&[0, 1]), prompt: None, dance: DanceSettings::default(), scene: Arc::new(stage), target: LATE, fps: FPS };
    let wishes = Arc::new(ArcSwap::from_pointee(first.clone()));
    let run = Run::start(RunSetup {
        clock,
        viewers,
        stats: stats.clone(),
        wishes: wishes.clone(),
        horizon: Arc::default(),
        source: Source::File { bytes: song.file.clone(), name: song.id.clone(), looped: true },
        max_bitrate_bps: 2_000_000,
        span: tracing::Span::none(),
        engine: engine.clone(),
    });
    let made = || odori_engine::ladder::Rung::ALL.iter().map(|r| stats.meters.frames(*r)).sum::<u64>();
    wait("a warm session", Duration::from_secs(60), || made() > 60);
    let before = made();
    ARMED.store(true, Ordering::SeqCst);
    wait("two seconds of frames", Duration::from_secs(60), || made() > before + 60);
    // Others dance, one more comes, two leave again; close up, before a colour.
    let close = Scene { framing: Framing::Half, background: Background::Colour([90, 20, 60]) };
    for (who, scene) in [(&[2, 1, 3][..], &first.scene), (&[1][..], &Arc::new(close))] {
        let before = made();
        wishes.store(Arc::new(Wishes { cast: cast(who), scene: scene.clone(), ..first.clone() }));
        run.wishes_changed();
        wait("frames of other dancers", Duration::from_secs(60), || made() > before + 75);
    }
    ARMED.store(false, Ordering::SeqCst);
    run.stop();
    assert!(ELSEWHERE.load(Ordering::SeqCst) > 0, "the allocator counts: sound and encoder hand packets on");
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst), 0, "allocations of dancer and kernels in 60 frames");
}
