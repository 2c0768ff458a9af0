//! Who dances changes while they dance: what takes long is done elsewhere, and no frame is lost over it, by the session's
//! own count.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use odori_server::clock::MediaClock;
use odori_server::live::{Cast, DanceSettings};
use odori_server::measure::Meters;
use odori_server::session::run::{FPS, Run, RunSetup, Wishes};
use odori_server::session::sound::Source;
use odori_server::session::stats::{LATE, Stats};
use odori_server::session::viewers::{Variant, Viewer, Viewers};

#[test]
fn another_cast_costs_no_frame() {
    let (engine, _) = common::engine();
    let stats = Arc::new(Stats::new(Arc::new(Meters::default()), Instant::now(), LATE));
    let viewers = Arc::new(Viewers::default());
    let viewer = Arc::new(Viewer::new("v".into(), Variant::ALL[0], 2_000_000));
    viewer.connect();
    viewers.add(viewer);
    let avatar = engine.avatars()[0].clone();
    let first = Wishes { cast: Arc::new(Cast(vec![avatar.clone()])), prompt: None, dance: DanceSettings::default(), scene: Arc::default(), target: LATE, fps: FPS };
    let wishes = Arc::new(ArcSwap::from_pointee(first.clone()));
    let run = Run::start(RunSetup {
        clock: Arc::new(MediaClock::new(Instant::now())),
        viewers,
        stats: stats.clone(),
        wishes: wishes.clone(),
        horizon: Arc::default(),
        source: Source::File { bytes: engine.songs[0].file.clone(), name: "sine.wav".into(), looped: true },
        max_bitrate_bps: 2_000_000,
        span: tracing::Span::none(),
        engine: engine.clone(),
    });
    let made = || odori_engine::ladder::Rung::ALL.iter().map(|r| stats.meters.frames(*r)).sum::<u64>();
    let wait_for = |frames: u64| {
        let start = Instant::now();
        while made() < frames {
            assert!(start.elapsed() < Duration::from_secs(30), "{} of {frames} frames", made());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(20);
    // The wardrobe takes twelve frames' time for each of these.
    let (from, dropped) = (made(), stats.drops().pictures);
    for dancers in [2, 1, 3] {
        wishes.store(Arc::new(Wishes { cast: Arc::new(Cast(vec![avatar.clone(); dancers])), ..first.clone() }));
        run.wishes_changed();
        wait_for(made() + 20);
    }
    let lost = stats.drops().pictures - dropped;
    run.stop();
    // Other work on the machine may cost one; a single change on the dancer's own thread would cost ten.
    assert!(lost < 5, "{lost} frames lost of {}", made() - from);
    assert_eq!(run.fault(), None);
}
