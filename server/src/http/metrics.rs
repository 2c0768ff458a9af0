//! Figures of all sessions in Prometheus' text form. Sessions are named by a number, not by their secret.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;

pub async fn metrics(State(app): State<App>) -> Response {
    let sessions = app.sessions.list();
    let statuses: Vec<_> = sessions.iter().map(|s| (s.short_id(), s.status())).collect();
    let mut text = String::new();
    let live = statuses.iter().filter(|(_, s)| s.state == "live").count();
    let _ = writeln!(text, "# TYPE odori_sessions gauge\nodori_sessions {}", sessions.len());
    let _ = writeln!(text, "# TYPE odori_sessions_live gauge\nodori_sessions_live {live}");
    type Read = fn(&crate::session::Status) -> f64;
    let series: [(&str, &str, Read); 10] = [
        ("odori_viewers", "gauge", |s| s.viewers as f64),
        ("odori_frames_per_second", "gauge", |s| f64::from(s.fps)),
        ("odori_frames_total", "counter", |s| s.frames as f64),
        ("odori_late_frames_total", "counter", |s| s.late_frames as f64),
        ("odori_dropped_pictures_total", "counter", |s| s.drops.pictures as f64),
        ("odori_dropped_video_total", "counter", |s| s.drops.video as f64),
        ("odori_dropped_audio_total", "counter", |s| s.drops.audio as f64),
        ("odori_dropped_sound_seconds_total", "counter", |s| s.drops.sound_ms as f64 / 1000.0),
        ("odori_bitrate_bits_per_second", "gauge", |s| f64::from(s.bitrate_kbps) * 1000.0),
        ("odori_tempo_bpm", "gauge", |s| f64::from(s.beat.bpm)),
    ];
    for (name, kind, read) in series {
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (id, status) in &statuses {
            let _ = writeln!(text, "{name}{{session=\"{id}\"}} {}", read(status));
        }
    }
    let _ = writeln!(text, "# TYPE odori_latency_seconds gauge");
    for (id, status) in &statuses {
        let total = std::iter::once(("total", status.total)).chain(status.stages.iter().map(|s| (s.name, s.cost)));
        for (stage, cost) in total {
            for (quantile, ms) in [("0.5", cost.p50_ms), ("0.95", cost.p95_ms)] {
                let _ = writeln!(text, "odori_latency_seconds{{session=\"{id}\",stage=\"{stage}\",quantile=\"{quantile}\"}} {}", ms / 1000.0);
            }
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
