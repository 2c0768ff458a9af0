//! The Prometheus page: base units, no session names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::session::Sessions;

/// All sessions together.
pub fn render(sessions: &Sessions) -> String {
    let list = sessions.list();
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, rows: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let plain = |value: f64| vec![(String::new(), value)];
    let sum = |f: &dyn Fn(&crate::stats::Counters) -> u64| list.iter().map(|s| f(&s.live.counters)).sum::<u64>() as f64;
    metric("odori_sessions_running", "gauge", "Sessions that play or are watched.", &plain(sessions.running() as f64));
    metric("odori_sessions_max", "gauge", "Sessions this server runs at once.", &plain(sessions.max_running as f64));
    metric("odori_viewers", "gauge", "Connected viewers.", &plain(list.iter().map(|s| s.live.viewers()).sum::<usize>() as f64));
    metric("odori_frames_sent_total", "counter", "Frames handed to the network.", &plain(sum(&|c| c.sent.load(Ordering::Relaxed))));
    metric("odori_frames_late_total", "counter", "Frames whose picture was skipped because they were late.", &plain(sum(&|c| c.late.load(Ordering::Relaxed))));
    metric("odori_frames_dropped_total", "counter", "Frames lost to slow viewers.", &plain(sum(&|c| c.dropped.load(Ordering::Relaxed))));
    metric("odori_sound_dropped_seconds_total", "counter", "Live sound nobody took in time.", &plain(sum(&|c| c.sound_dropped.load(Ordering::Relaxed)) / 24_000.0));
    metric("odori_clock_restarts_total", "counter", "Times a session's clock was begun anew.", &plain(sum(&|c| c.restarts.load(Ordering::Relaxed))));
    let mut rungs: BTreeMap<&str, u64> = BTreeMap::new();
    let mut stages = Vec::new();
    let mut totals = Vec::new();
    for session in list.iter().filter(|s| s.live.viewers() > 0) {
        let status = session.live.status.borrow();
        for (rung, count) in &status.rungs {
            *rungs.entry(rung).or_default() += count;
        }
        for stage in &status.stages {
            for (quantile, value) in [("0.5", stage.p50_ms), ("0.95", stage.p95_ms), ("0.99", stage.p99_ms)] {
                stages.push((format!("{{stage=\"{}\",quantile=\"{quantile}\"}}", stage.name), value / 1e3));
            }
        }
        totals = vec![("{quantile=\"0.5\"}".to_owned(), status.total.p50_ms / 1e3), ("{quantile=\"0.95\"}".to_owned(), status.total.p95_ms / 1e3)];
    }
    // Of the session watched last where several run: quantiles cannot be added.
    stages.truncate(3 * 8);
    metric("odori_stage_duration_seconds", "summary", "Time of each stage over the last five seconds.", &stages);
    metric("odori_sound_to_packet_seconds", "summary", "From sound in to packet out over the last five seconds.", &totals);
    let rungs: Vec<_> = rungs.iter().map(|(r, n)| (format!("{{rung=\"{r}\"}}"), *n as f64)).collect();
    metric("odori_frames_made_total", "counter", "Frames made on each rung of the ladder.", &rungs);
    out
}
