//! Live sessions under load and over time: endurance, how many sessions at once, how many viewers. Viewers here only receive, so
//! that the meter costs next to nothing; latency is the server's own account, from sound in to packet out.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::emulator::Profile;
use super::glass::Setup;
use super::manifest;
use super::report::{Better, Curve, Limit, Line, Section, Spread, median, round};
use super::stand::{FRAME_MS, Live, Stand};
use super::viewer::{Board, Does, Viewer};

const WARM_UP: Duration = Duration::from_secs(4);
/// Share of frames that may miss their deadline.
const MISSES: f64 = 0.005;

/// One session with its viewers.
struct Place {
    live: Live,
    statuses: Arc<Mutex<Vec<Value>>>,
    viewers: Vec<Viewer>,
}

impl Place {
    async fn open(stand: &Stand, seed: u64, viewers: usize) -> anyhow::Result<Self> {
        let session = stand.session(json!({ "kind": "song", "id": "odori-groove", "loop": true }), seed).await?;
        let live = stand.start(&session).await?;
        let statuses = stand.follow(&live);
        let clean = Profile::named("clean").expect("it is in the list");
        let mut place = Self { live, statuses, viewers: Vec::new() };
        for n in 0..viewers {
            place.viewers.push(Viewer::join(stand, &place.live, &clean, seed + n as u64, Does::Receives).await?);
        }
        Ok(place)
    }

    fn newest(&self) -> Value {
        self.statuses.lock().expect("no panic while held").last().cloned().unwrap_or_default()
    }

    async fn close(self, stand: &Stand) {
        for viewer in self.viewers {
            viewer.leave().await;
        }
        stand.close(&self.live).await;
    }
}

/// Pictures that came between two moments.
#[derive(Default)]
struct Came {
    fps: f64,
    /// Pictures of the media clock that never came, as a share.
    missed: f64,
    gaps_ms: Vec<f64>,
}

fn came(board: &Board, from: Instant, until: Instant) -> Came {
    let units: Vec<(u32, Instant)> = board.units.iter().copied().filter(|(_, at)| (from..until).contains(at)).collect();
    let Some((first, last)) = units.first().zip(units.last()) else { return Came { missed: 1.0, ..Came::default() } };
    // 90 kHz, 30 a second.
    let expected = f64::from(last.0.wrapping_sub(first.0)) / 3000.0 + 1.0;
    Came {
        fps: (units.len() - 1) as f64 / (last.1 - first.1).as_secs_f64().max(1e-3),
        missed: (1.0 - units.len() as f64 / expected).max(0.0),
        gaps_ms: units.windows(2).map(|w| (w[1].1 - w[0].1).as_secs_f64() * 1e3).collect(),
    }
}

fn count(status: &Value, key: &str) -> f64 {
    status[key].as_f64().unwrap_or(0.0)
}

/// What a number of sessions and viewers did to the machine.
struct Load {
    fps: f64,
    missed: f64,
    late: f64,
    p50_ms: f64,
    p95_ms: f64,
    /// Share of statuses that name the best rung.
    best_rung: f64,
    /// Cores' worth of processor time.
    cores: f64,
    memory_mb: f64,
}

impl Load {
    fn holds(&self) -> bool {
        self.late < MISSES && self.missed < MISSES && self.fps > 29.5
    }
}

/// Lets the places run for `seconds` after warm-up. The worst session counts.
async fn load(places: &[Place], seconds: f64, best: &str) -> Load {
    tokio::time::sleep(WARM_UP).await;
    let (from, cpu) = (Instant::now(), manifest::cpu_s().unwrap_or(0.0));
    let before: Vec<(Value, usize)> = places.iter().map(|p| (p.newest(), p.statuses.lock().expect("no panic while held").len())).collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let until = Instant::now();
    let mut out = Load {
        fps: f64::INFINITY,
        missed: 0.0,
        late: 0.0,
        p50_ms: 0.0,
        p95_ms: 0.0,
        best_rung: 1.0,
        cores: (manifest::cpu_s().unwrap_or(0.0) - cpu) / (until - from).as_secs_f64(),
        memory_mb: manifest::resident_mb().unwrap_or(0.0),
    };
    for (place, (then, seen)) in places.iter().zip(before) {
        let now = place.newest();
        let frames = count(&now, "frames") - count(&then, "frames");
        out.late = out.late.max((count(&now, "late_frames") - count(&then, "late_frames")) / frames.max(1.0));
        let statuses = place.statuses.lock().expect("no panic while held");
        let since = &statuses[seen.min(statuses.len())..];
        let of = |key: &str| median(since.iter().filter_map(|s| s["total"][key].as_f64()).collect());
        out.p50_ms = out.p50_ms.max(of("p50_ms"));
        out.p95_ms = out.p95_ms.max(of("p95_ms"));
        let at_best = since.iter().filter(|s| s["rung"] == best).count() as f64 / since.len().max(1) as f64;
        out.best_rung = out.best_rung.min(at_best);
        drop(statuses);
        for viewer in &place.viewers {
            let came = came(&viewer.board(), from, until);
            out.fps = out.fps.min(came.fps);
            out.missed = out.missed.max(came.missed);
        }
    }
    out
}

/// The curves that sessions and viewers have in common.
fn curves(section: &mut Section, x: &str, loads: &[(f64, Load)]) {
    let line = |name: &str, of: &dyn Fn(&Load) -> f64| Line { name: name.into(), points: loads.iter().map(|(n, l)| [*n, round(of(l))]).collect() };
    let mut curve = |name: &str, y: &str, lines, limit: Option<Limit>| section.curves.push(Curve { name: name.into(), x: x.into(), y: y.into(), lines, limit, ..Curve::default() });
    curve("Sound in to packet out", "ms, worst session", vec![line("median", &|l| l.p50_ms), line("p95", &|l| l.p95_ms)], Some(Limit { name: "late".into(), y: 66.0 }));
    curve("Processor time", "cores", vec![line("this process", &|l| l.cores)], None);
    curve("Memory", "MB", vec![line("this process", &|l| l.memory_mb)], None);
    for (n, l) in loads {
        let named = |what: &str| format!("{what}, {n} {x}");
        section.value(&named("pictures a second that came, worst"), "1/s", l.fps, Better::Higher);
        section.value(&named("pictures that never came, worst"), "%", 100.0 * l.missed, Better::Lower);
        section.value(&named("pictures sent late, worst"), "%", 100.0 * l.late, Better::Lower);
        section.value(&named("sound in to packet out, p95, worst"), "ms", l.p95_ms, Better::Lower);
        section.value(&named("time at the best rung, worst"), "%", 100.0 * l.best_rung, Better::Higher);
        section.value(&named("processor time"), "cores", l.cores, Better::Lower);
    }
}

/// One session after another, until the machine carries no more.
///
/// # Errors
/// If not even one can be had.
pub async fn sessions(setup: &Setup, most: usize) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "sessions",
        "How many sessions at once",
        "Sessions are added one by one, each with its own dance and one viewer, until frames miss their deadline (0.5 % late or never come), fewer than 29.5 a second \
         arrive, or the server refuses one more. Held means that none of this happened; at full quality, that no session left its best rung for a twentieth of the time.",
    );
    let stand = Stand::open(setup.machine.clone(), setup.side, most).await?;
    let best = setup.options.best.name();
    let (mut places, mut loads) = (Vec::new(), Vec::new());
    let (mut held, mut full) = (0, 0);
    for n in 1..=most {
        match Place::open(&stand, setup.seed + n as u64, 1).await {
            Ok(place) => places.push(place),
            Err(error) if n > 1 => {
                section.bar("the server took every session that it was asked for", true, format!("the one after {} was refused: {error:#}", n - 1));
                break;
            }
            Err(error) => return Err(error),
        }
        let load = load(&places, setup.seconds, best).await;
        let (holds, at_best) = (load.holds(), load.best_rung > 0.95);
        loads.push((n as f64, load));
        if holds {
            held = n;
            full = if at_best { n } else { full };
        } else {
            break;
        }
    }
    section.value("sessions held", "", held as f64, Better::Higher);
    section.value("sessions held at full quality", "", full as f64, Better::Higher);
    curves(&mut section, "sessions", &loads);
    for place in places {
        place.close(&stand).await;
    }
    Ok(section)
}

/// One session, more and more viewers: it is encoded once for all of them.
///
/// # Errors
/// If not even one can be had.
pub async fn viewers(setup: &Setup) -> anyhow::Result<Section> {
    let mut section = Section::new("viewers", "How many viewers of one session", "One session, encoded once; every viewer gets its own packets. Viewers receive on the same machine, which is counted in.");
    let stand = Stand::open(setup.machine.clone(), setup.side, 2).await?;
    let mut place = Place::open(&stand, setup.seed, 1).await?;
    let clean = Profile::named("clean").expect("it is in the list");
    let mut loads = Vec::new();
    for n in [1, 2, 4, 8, 16] {
        while place.viewers.len() < n {
            place.viewers.push(Viewer::join(&stand, &place.live, &clean, n as u64, Does::Receives).await?);
        }
        loads.push((n as f64, load(std::slice::from_ref(&place), setup.seconds, setup.options.best.name()).await));
    }
    curves(&mut section, "viewers", &loads);
    place.close(&stand).await;
    Ok(section)
}

/// One session for a long time.
///
/// # Errors
/// If it cannot be started, or ends.
pub async fn soak(setup: &Setup) -> anyhow::Result<Section> {
    let mut section = Section::new("soak", "Endurance", "One session dances the built-in song over and over, watched by one receiving viewer. Memory and processor time are those of server and viewer together.");
    let stand = Stand::open(setup.machine.clone(), setup.side, 2).await?;
    let place = Place::open(&stand, setup.seed, 1).await?;
    tokio::time::sleep(WARM_UP).await;
    let (from, then, cpu) = (Instant::now(), place.newest(), manifest::cpu_s().unwrap_or(0.0));
    let step = (setup.seconds / 60.0).clamp(1.0, 30.0);
    let (mut memory, mut latency) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut seen = place.statuses.lock().expect("no panic while held").len();
    while from.elapsed().as_secs_f64() < setup.seconds {
        tokio::time::sleep(Duration::from_secs_f64(step)).await;
        let at = round(from.elapsed().as_secs_f64());
        memory.extend(manifest::resident_mb().map(|mb| [at, round(mb)]));
        let statuses = place.statuses.lock().expect("no panic while held");
        let since = &statuses[seen..];
        seen = statuses.len();
        for (list, key) in latency.iter_mut().zip(["p50_ms", "p95_ms"]) {
            list.push([at, round(median(since.iter().filter_map(|s| s["total"][key].as_f64()).collect()))]);
        }
        drop(statuses);
        if place.newest()["state"] != "live" {
            anyhow::bail!("the session is no longer live: {}", place.newest());
        }
    }
    let (until, now) = (Instant::now(), place.newest());
    let seconds = (until - from).as_secs_f64();
    let board = place.viewers[0].board();
    let came = came(&board, from, until);
    let frames = count(&now, "frames") - count(&then, "frames");
    let late = (count(&now, "late_frames") - count(&then, "late_frames")) / frames.max(1.0);
    section.bar("deadline misses under 0.5 %", late < MISSES, format!("{:.3} % of {frames:.0} frames sent more than 66 ms after their sound", 100.0 * late));
    section.value("frames sent", "", frames, Better::Neither);
    section.value("frames sent late", "%", 100.0 * late, Better::Lower);
    section.value("pictures a second that came", "1/s", came.fps, Better::Higher);
    section.value("pictures that never came", "%", 100.0 * came.missed, Better::Lower);
    for key in ["sound_ms", "pictures", "video", "audio"] {
        section.value(&format!("dropped: {key}"), if key == "sound_ms" { "ms" } else { "" }, count(&now["drops"], key) - count(&then["drops"], key), Better::Lower);
    }
    let statuses = place.statuses.lock().expect("no panic while held").clone();
    let best = setup.options.best.name();
    let at_best = statuses.iter().filter(|s| s["rung"] == best).count() as f64 / statuses.len().max(1) as f64;
    section.value("time at the best rung", "%", 100.0 * at_best, Better::Higher);
    section.value("processor time", "cores", (manifest::cpu_s().unwrap_or(0.0) - cpu) / seconds, Better::Lower);
    if let (Some(first), Some(last)) = (memory.first(), memory.last()) {
        section.value("memory at the start", "MB", first[1], Better::Lower);
        section.value("memory at the end", "MB", last[1], Better::Lower);
        // The first tenth still fills caches and windows.
        let settled = &memory[memory.len() / 10..];
        let growth = slope(settled) * 3600.0;
        section.value("memory growth after the first tenth", "MB/h", growth, Better::Lower);
    }
    section.spreads.push(Spread::of("gap", "time between two pictures, as they came", "ms", came.gaps_ms));
    let line = |name: &str, points: &[[f64; 2]]| Line { name: name.into(), points: points.to_vec() };
    let curve = |name: &str, y: &str, lines, limit| Curve { name: name.into(), x: "seconds".into(), y: y.into(), lines, limit, ..Curve::default() };
    section.curves.push(curve("Sound in to packet out", "ms", vec![line("median", &latency[0]), line("p95", &latency[1])], Some(Limit { name: "a frame's time".into(), y: FRAME_MS })));
    section.curves.push(curve("Memory", "MB", vec![line("this process", &memory)], None));
    place.close(&stand).await;
    Ok(section)
}

/// Least squares slope of y over x.
fn slope(points: &[[f64; 2]]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p[0] / n, y + p[1] / n));
    let (sxy, sxx) = points.iter().fold((0.0, 0.0), |(a, b), p| (a + (p[0] - mx) * (p[1] - my), b + (p[0] - mx).powi(2)));
    if sxx > 0.0 { sxy / sxx } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_never_came_are_found_by_the_media_clock() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_micros(n * 33_333);
        let units = (0..300u64).filter(|n| n % 10 != 5).map(|n| ((n as u32).wrapping_mul(3000).wrapping_sub(7000), at(n))).collect();
        let board = Board { units, ..Board::default() };
        let came = came(&board, start, at(400));
        assert!((came.missed - 0.1).abs() < 0.001, "{}", came.missed);
        assert!((came.fps - 27.0).abs() < 0.1, "{}", came.fps);
        assert!((came.gaps_ms.iter().copied().fold(0.0, f64::max) - 66.67).abs() < 0.1);
        assert_eq!(super::came(&Board::default(), start, at(1)).missed, 1.0);
    }

    #[test]
    fn growth_is_the_slope() {
        assert!((slope(&[[0.0, 5.0], [1.0, 7.0], [2.0, 9.0]]) - 2.0).abs() < 1e-9);
        assert_eq!(slope(&[[0.0, 5.0]]), 0.0);
    }
}
