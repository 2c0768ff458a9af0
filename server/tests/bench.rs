//! The latency instrument against a server whose dancer is a pattern: what it must find, it finds.

mod common;

use std::sync::Arc;
use std::time::Duration;

use odori_server::bench::emulator::Profile;
use odori_server::bench::stand::{Clip, SoundTimes, Stand};
use odori_server::bench::viewer::{Board, Does, Viewer};
use serde_json::json;

struct Watched {
    board: Board,
    /// From the newest sound in a frame to its being decoded, in milliseconds.
    latencies: Vec<f64>,
    clicks: usize,
}

async fn watch(stand: &Stand, profile: Profile) -> Watched {
    let clip = Clip::clicks(5.0, 3).unwrap();
    let session = stand.session(json!({ "kind": "stdin" }), 1).await.unwrap();
    let live = stand.start(&session).await.unwrap();
    let viewer = Viewer::join(stand, &live, &profile, 1, Does::Sees(live.tap.clone())).await.unwrap();
    let feeder = stand.feed(&clip);
    tokio::time::sleep(Duration::from_secs_f64(clip.seconds() + 0.6)).await;
    let board = viewer.leave().await;
    let times = SoundTimes::new(&clip, &feeder, &live.tap).unwrap();
    stand.close(&live).await;
    let latencies = board.seen.iter().filter_map(|s| Some((s.at - times.of_tick(s.code.tick)?).as_secs_f64() * 1e3)).collect();
    Watched { board, latencies, clicks: times.clicks().count() }
}

/// The quickest frame: what a busy machine does to the others is not the network's.
fn quickest(watched: &Watched) -> f64 {
    watched.latencies.iter().copied().fold(f64::INFINITY, f64::min)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_in_the_network_is_found_and_every_click_is_seen() {
    let engine = Arc::into_inner(common::engine().0).unwrap();
    let stand = Stand::serve(engine, 4).await.unwrap();
    let near = watch(&stand, Profile::delay(Duration::ZERO)).await;
    let far = watch(&stand, Profile::delay(Duration::from_millis(150))).await;
    let found = quickest(&far) - quickest(&near);
    assert!((found - 150.0).abs() < 34.0, "put in 150 ms, found {found:.1}");

    for watched in [near, far] {
        let Watched { board, latencies, clicks } = watched;
        assert!(latencies.len() > 60, "{} frames", latencies.len());
        assert!(clicks >= 12, "{clicks} clicks heard in 4.5 s");
        assert_eq!((board.unread, board.undecoded), (0, 0));
        assert_eq!(usize::from(board.seen.last().unwrap().code.clicks), clicks, "the picture counted every click");
        assert!(board.seen.windows(2).all(|w| w[0].code.tick < w[1].code.tick), "frames come in order");
        assert!(!board.quality.is_empty(), "pictures were compared with what was drawn");
        assert!(board.quality.iter().all(|(psnr, ssim)| *psnr > 25.0 && *ssim > 0.8), "{:?}", board.quality);
        assert!(board.heard_clicks.len() >= clicks / 2, "clicks are heard in the sound too: {}", board.heard_clicks.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_through_a_lossy_network() {
    let engine = Arc::into_inner(common::engine().0).unwrap();
    let stand = Stand::serve(engine, 4).await.unwrap();
    let watched = watch(&stand, Profile::named("loss5").unwrap()).await;
    assert!(watched.latencies.len() > 40, "{} frames at 5 % loss", watched.latencies.len());
    assert_eq!(watched.board.undecoded, 0, "what is not whole is never decoded");
}
