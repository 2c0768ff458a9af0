//! Glass to glass: a click goes in as sound, and the first picture that shows it comes out, as a browser shows it and as a native
//! client decodes it. First the meter proves itself: it must find a delay that it was not told, and its two ways must agree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use odori_engine::metrics::beats::Level;
use serde_json::{Value, json};

use super::beats;
use super::browser::{self, Browser};
use super::emulator::Profile;
use super::report::{Better, Curve, Line, Section, Spread, median, quantile, round};
use super::stand::{self, Clip, Danced, FRAME_MS, SoundTimes, Stand};
use super::viewer::{self, Does, Viewer};
use crate::built_in;
use crate::commands::eval::set;
use crate::engine::{Machine, Options};

/// Left out at the start: encoders, estimates and jitter buffers settle.
const WARM_UP_S: f64 = 4.0;
/// The delay that calibration puts into the network. Not a multiple of a frame or of a screen's refresh.
const INJECTED_MS: f64 = 47.0;
/// What the native client may be off by, and the browser, in milliseconds.
const NATIVE_ERROR_MS: f64 = 5.0;

/// What all of the live benchmarks share.
#[derive(Clone)]
pub struct Setup {
    pub machine: Arc<Machine>,
    /// How the machine was opened; for opening it again with one thing changed.
    pub options: Options,
    pub side: u32,
    pub seconds: f64,
    pub seed: u64,
    pub browser: Option<PathBuf>,
    pub epoch: Instant,
}

/// What one viewer saw, in milliseconds since the meter's epoch.
#[derive(Clone, Copy)]
struct Frame {
    tick: u32,
    clicks: u8,
    at_ms: f64,
    change: f64,
}

/// One way of looking at one session.
struct View {
    name: &'static str,
    frames: Vec<Frame>,
}

/// What a session dances to.
enum Play<'a> {
    Clip(Clip),
    /// By its name.
    Song(&'a str),
}

/// One stretch of a session, watched.
struct Take {
    views: Vec<View>,
    native: viewer::Board,
    browser: Option<browser::Board>,
    /// `None` when no clip was fed.
    times: Option<SoundTimes>,
    statuses: Vec<Value>,
    /// Every frame of a song's dance.
    danced: Vec<Danced>,
    feed_late_ms: f64,
    clip: Option<Clip>,
    clip_start_ms: f64,
    /// Where warm-up ends, in milliseconds since the epoch.
    from_ms: f64,
    until_ms: f64,
}

impl Setup {
    fn ms(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.epoch).as_secs_f64() * 1e3
    }

    /// Watches a session for as long as the clip, or for `seconds` of the song.
    async fn take(&self, stand: &Stand, profile: &Profile, play: Play<'_>, seconds: f64) -> anyhow::Result<Take> {
        let (source, clip) = match play {
            Play::Clip(clip) => (json!({ "kind": "stdin" }), Some(clip)),
            Play::Song(id) => (json!({ "kind": "song", "id": id, "loop": false }), None),
        };
        let session = stand.session(source, self.seed).await?;
        // Viewers come first where the song counts from its first sample; a fed clip begins when all are there.
        let live = stand.start(&session).await?;
        if clip.is_none() {
            live.tap.keep_dance();
        }
        let statuses = stand.follow(&live);
        let native = Viewer::join(stand, &live, profile, self.seed, Does::Sees(live.tap.clone())).await?;
        let browser = match &self.browser {
            Some(path) => Some(Browser::watch(path, stand, &live, profile, self.seed + 1, self.epoch).await?),
            None => None,
        };
        let start = Instant::now();
        let feeder = clip.as_ref().map(|c| stand.feed(c));
        let length = clip.as_ref().map_or(seconds, Clip::seconds);
        tokio::time::sleep(Duration::from_secs_f64(length)).await;
        let end = Instant::now();
        // What is on its way may still arrive.
        tokio::time::sleep(Duration::from_millis(900)).await;
        let browser_board = browser.as_ref().map(Browser::board).transpose()?;
        drop(browser);
        let native = native.leave().await;
        let statuses = statuses.lock().expect("no panic while held").clone();
        let times = match (&clip, &feeder) {
            (Some(clip), Some(feeder)) => Some(SoundTimes::new(clip, feeder, &live.tap)?),
            _ => None,
        };
        stand.close(&live).await;
        let mut views = vec![View {
            name: "native client",
            frames: native.seen.iter().map(|s| Frame { tick: s.code.tick, clicks: s.code.clicks, at_ms: self.ms(s.at), change: s.change }).collect(),
        }];
        if let Some(board) = &browser_board {
            let frames = board.frames.iter().map(|s| Frame { tick: s.tick, clicks: s.clicks, at_ms: s.at_ms, change: s.change }).collect();
            views.push(View { name: "Chromium", frames });
        }
        Ok(Take {
            views,
            native,
            browser: browser_board,
            times,
            statuses,
            danced: live.tap.take_dance(),
            feed_late_ms: feeder.as_ref().map_or(0.0, |f| f.worst_ms()),
            clip_start_ms: feeder.as_ref().map_or(0.0, |f| self.ms(f.sounded(0))),
            clip,
            from_ms: self.ms(start) + WARM_UP_S * 1e3,
            until_ms: self.ms(end),
        })
    }
}

impl Take {
    fn within<'a>(&self, view: &'a View) -> impl Iterator<Item = &'a Frame> {
        let (from, until) = (self.from_ms, self.until_ms);
        view.frames.iter().filter(move |f| (from..until).contains(&f.at_ms))
    }

    /// For every frame: from the newest sound that it can show, to its being seen.
    fn frame_latencies(&self, setup: &Setup, view: &View) -> Vec<f64> {
        let Some(times) = &self.times else { return Vec::new() };
        let mut last = None;
        self.within(view)
            .filter(|f| last.replace(f.tick) != Some(f.tick))
            .filter_map(|f| Some(f.at_ms - setup.ms(times.of_tick(f.tick)?)))
            .collect()
    }

    /// For every click: to the first picture that counts it.
    fn click_latencies(&self, setup: &Setup, view: &View) -> Vec<f64> {
        let Some(times) = &self.times else { return Vec::new() };
        let frames: Vec<&Frame> = self.within(view).collect();
        let mut at = 0;
        times
            .clicks()
            .filter_map(|(n, when)| {
                let (number, sounded) = ((n + 1) as u8, setup.ms(when));
                if sounded < self.from_ms || sounded > self.until_ms - 500.0 {
                    return None;
                }
                // Counted modulo 256; clicks come four a second and nothing takes half a minute.
                at += frames[at..].iter().position(|f| f.clicks.wrapping_sub(number) < 128)?;
                Some(frames[at].at_ms - sounded)
            })
            .collect()
    }

    /// Frames that should have been seen between the first and the last, and those that were not.
    fn missed(&self, view: &View) -> (usize, usize) {
        let mut ticks: Vec<u32> = self.within(view).map(|f| f.tick).collect();
        ticks.sort_unstable();
        ticks.dedup();
        let expected = ticks.first().zip(ticks.last()).map_or(0, |(a, b)| (b - a + 1) as usize);
        (expected, expected - ticks.len())
    }

    /// Longest time between two pictures.
    fn longest_gap_ms(&self, view: &View) -> f64 {
        let at: Vec<f64> = self.within(view).map(|f| f.at_ms).collect();
        at.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max)
    }

    /// The figures that the server gave during the take, newest last.
    fn status(&self) -> impl Iterator<Item = &Value> {
        self.statuses.iter().filter(|s| s["media_s"].as_f64().unwrap_or(0.0) > WARM_UP_S)
    }

    fn rungs(&self) -> Vec<(String, f64)> {
        let mut counts: Vec<(String, f64)> = Vec::new();
        for status in self.status() {
            let name = status["rung"].as_str().unwrap_or("unknown");
            match counts.iter_mut().find(|(n, _)| n == name) {
                Some((_, count)) => *count += 1.0,
                None => counts.push((name.to_owned(), 1.0)),
            }
        }
        let total: f64 = counts.iter().map(|c| c.1).sum();
        counts.iter_mut().for_each(|c| c.1 /= total.max(1.0));
        counts
    }

    /// Spreads, misses, picture quality and what the server said of itself.
    fn describe(&self, setup: &Setup, section: &mut Section, label: &str) {
        for view in &self.views {
            let named = |what: &str| format!("{what}, {}{label}", view.name);
            section.spread("latency", &named("click in to picture seen"), "ms", self.click_latencies(setup, view));
            section.spread("latency", &named("newest sound in a frame to frame seen"), "ms", self.frame_latencies(setup, view));
        }
        for view in &self.views {
            let named = |what: &str| format!("{what}, {}{label}", view.name);
            let (expected, missed) = self.missed(view);
            section.value(&named("frames never seen"), "%", 100.0 * missed as f64 / expected.max(1) as f64, Better::Lower);
            section.value(&named("longest time between two pictures"), "ms", self.longest_gap_ms(view), Better::Lower);
        }
        let (psnr, ssim): (Vec<f64>, Vec<f64>) = self.native.quality.iter().copied().unzip();
        for (name, unit, list) in [("PSNR of the figure as seen against as drawn", "dB", psnr), ("SSIM of the figure as seen against as drawn", "", ssim)] {
            section.spreads.push(Spread::of_merit("quality", &format!("{name}{label}"), unit, list));
        }
        for (rung, share) in self.rungs() {
            section.value(&format!("frames at {rung}{label}"), "%", 100.0 * share, Better::Neither);
        }
        let totals: Vec<&Value> = self.status().collect();
        if !totals.is_empty() {
            let of = |key: &str| median(totals.iter().filter_map(|s| s["total"][key].as_f64()).collect());
            section.value(&format!("sound in to packet out by the server's own account, p50{label}"), "ms", of("p50_ms"), Better::Lower);
            section.value(&format!("sound in to packet out by the server's own account, p95{label}"), "ms", of("p95_ms"), Better::Lower);
        }
        section.value(&format!("video bitrate{label}"), "kbit/s", self.native.bytes as f64 * 8e-3 / self.native_seconds(), Better::Neither);
    }

    fn native_seconds(&self) -> f64 {
        let units = &self.native.units;
        units.first().zip(units.last()).map_or(1.0, |(a, b)| (b.1 - a.1).as_secs_f64().max(1e-3))
    }
}

/// The quick end of a list: what the delay moves and a passing load does not.
fn tenth(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    quantile(&list, 0.1)
}

/// Finds a delay it was not told: three takes through the emulator, with nothing, with [`INJECTED_MS`] and with nothing again.
async fn calibrate(setup: &Setup, stand: &Stand) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "glass-calibration",
        "Does the meter tell the truth?",
        "The same clip three times through the network emulator: with no delay, with a known one, with none again. The quickest tenth of the frames must move by it.",
    );
    let mut quick: Vec<Vec<f64>> = Vec::new();
    for (n, delay_ms) in [0.0, INJECTED_MS, 0.0].into_iter().enumerate() {
        let profile = Profile::delay(Duration::from_secs_f64(delay_ms / 1e3));
        let take = setup.take(stand, &profile, Play::Clip(Clip::clicks(WARM_UP_S + 8.0, setup.seed)?), 0.0).await?;
        let lists: Vec<Vec<f64>> = take.views.iter().map(|v| take.frame_latencies(setup, v)).collect();
        if let Some(view) = take.views.iter().zip(&lists).find(|(_, l)| l.len() < 60).map(|(v, _)| v.name) {
            bail!("calibration: the {view} read too few time codes");
        }
        for (view, list) in take.views.iter().zip(&lists) {
            section.spread("calibration", &format!("take {}, {delay_ms:.0} ms put in, {}", n + 1, view.name), "ms", list.clone());
        }
        quick.push(lists.into_iter().map(tenth).collect());
    }
    let names: Vec<&str> = if setup.browser.is_some() { vec!["native client", "Chromium"] } else { vec!["native client"] };
    for (v, name) in names.into_iter().enumerate() {
        let found = quick[1][v] - 0.5 * (quick[0][v] + quick[2][v]);
        let allowed = if v == 0 { NATIVE_ERROR_MS } else { FRAME_MS };
        section.meter(
            &format!("{name} finds the delay"),
            (found - INJECTED_MS).abs() <= allowed,
            format!("put in {INJECTED_MS:.1} ms, found {found:.1} ms; may be off by {allowed:.1} ms"),
        );
    }
    Ok(section)
}

/// Sound in, picture out, over the clean path.
async fn latency(setup: &Setup, stand: &Stand) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "glass",
        "Sound in to picture seen",
        "Music with a click every 200 to 300 ms is played in as a sound card would, block by block. A click is a fact in the next frame's time \
         code; its latency ends when a picture that counts it is on show: in the browser by its compositor's own account, in the native client when it is decoded.",
    );
    let take = setup.take(stand, &Profile::named("clean").expect("it is in the list"), Play::Clip(Clip::clicks(WARM_UP_S + setup.seconds, setup.seed)?), 0.0).await?;
    take.describe(setup, &mut section, "");
    let medians: Vec<f64> = take.views.iter().map(|v| median(take.frame_latencies(setup, v))).collect();
    if let [native, browser] = medians[..] {
        let apart = browser - native;
        section.meter("both ways agree within a frame", apart.abs() <= FRAME_MS, format!("medians {native:.1} and {browser:.1} ms: {apart:.1} ms apart, at most {FRAME_MS:.1}"));
    }
    section.meter("sound was put in on time", take.feed_late_ms < 10.0, format!("latest block by {:.2} ms, at most 10", take.feed_late_ms));
    let view = take.views.last().expect("there is the native one");
    let mut clicks = take.click_latencies(setup, view);
    clicks.sort_by(f64::total_cmp);
    let (p50, p95) = (quantile(&clicks, 0.5), quantile(&clicks, 0.95));
    section.bar("sound in to picture seen, median 70 ms, p95 100 ms", p50 <= 70.0 && p95 <= 100.0, format!("{}: median {p50:.1} ms, p95 {p95:.1} ms over {} clicks", view.name, clicks.len()));
    for board in take.browser.iter() {
        section.value("frames that the compositor replaced unseen, Chromium", "", board.skipped as f64, Better::Lower);
        section.value("freezes, Chromium", "", board.freezes as f64, Better::Lower);
        section.value("jitter buffer, Chromium", "ms", board.buffer_ms, Better::Lower);
        section.value("best clock exchange, Chromium", "ms", board.clock_took_ms, Better::Lower);
        section.value("time codes that could not be read, Chromium", "", board.unread as f64, Better::Lower);
    }
    section.value("time codes that could not be read, native client", "", take.native.unread as f64, Better::Lower);
    section.value("pictures that did not decode, native client", "", take.native.undecoded as f64, Better::Lower);
    let mut over_time = Curve { name: "Latency of every frame".into(), x: "seconds".into(), y: "ms".into(), ..Curve::default() };
    for view in &take.views {
        let Some(times) = &take.times else { continue };
        let points = take.within(view).filter_map(|f| Some([round((f.at_ms - take.from_ms) / 1e3), round(f.at_ms - setup.ms(times.of_tick(f.tick)?))])).collect();
        over_time.lines.push(Line { name: view.name.into(), points });
    }
    section.curves.push(over_time);
    Ok(section)
}

/// The first picture after `turn_ms` that shows that music began or stopped, in milliseconds after it; `None` if none does.
fn noticed(frames: &[Frame], turn_ms: f64, began: bool) -> Option<f64> {
    let changes = |from: f64, until: f64| -> Vec<f64> {
        let mut list: Vec<f64> = frames.iter().filter(|f| (turn_ms + from..turn_ms + until).contains(&f.at_ms)).map(|f| f.change).collect();
        list.sort_by(f64::total_cmp);
        list
    };
    let after: Vec<&Frame> = frames.iter().filter(|f| (turn_ms..turn_ms + 2400.0).contains(&f.at_ms)).collect();
    // Of resting the last second: before it one may still settle.
    let before = changes(if began { -1000.0 } else { -1200.0 }, 0.0);
    if before.len() < 12 || after.len() < 24 {
        return None;
    }
    if began {
        // More change than nearly all pictures before it, twice in a row: what idling does not do.
        let bar = 1.5 * quantile(&before, 0.98) + 0.02;
        return after.windows(2).find(|w| w.iter().all(|f| f.change > bar)).map(|w| w[0].at_ms - turn_ms);
    }
    // Less than half way, by ratio, between dancing and rest, for five pictures.
    let (dancing, resting) = (quantile(&before, 0.5), quantile(&changes(1600.0, 2400.0), 0.5));
    if resting > 0.6 * dancing {
        return None;
    }
    let bar = (dancing * resting.max(0.01)).sqrt();
    after.windows(5).find(|w| w.iter().all(|f| f.change < bar)).map(|w| w[0].at_ms - turn_ms)
}

/// Music begins and stops; when does it show?
async fn surprise(setup: &Setup, stand: &Stand) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "surprise",
        "Surprise to visible change",
        "Music begins out of silence and stops without warning, at times that the seed chooses. A beginning shows when two pictures in a row change more \
         than resting does; a stop, when five in a row change less than half way between dancing and rest.",
    );
    let cycles = ((setup.seconds / 6.0) as usize).clamp(4, 24);
    let take = setup.take(stand, &Profile::named("clean").expect("it is in the list"), Play::Clip(Clip::turns(cycles, setup.seed)?), 0.0).await?;
    let Some(clip) = &take.clip else { bail!("a clip was played") };
    let offset = take.clip_start_ms;
    for view in &take.views {
        for (began, what) in [(true, "music begins to change seen"), (false, "music stops to change seen")] {
            let turns: Vec<f64> = clip.turns.iter().filter(|(_, b)| *b == began).map(|(n, _)| offset + *n as f64 / 48.0).collect();
            let list: Vec<f64> = turns.iter().filter_map(|t| noticed(&view.frames, *t, began)).collect();
            section.value(&format!("{what}: not seen within 2.4 s, {}", view.name), "", (turns.len() - list.len()) as f64, Better::Lower);
            let mut sorted = list.clone();
            sorted.sort_by(f64::total_cmp);
            let p95 = quantile(&sorted, 0.95);
            section.bar(&format!("{what}: p95 200 ms, {}", view.name), list.len() == turns.len() && p95 <= 200.0, format!("p95 {p95:.0} ms over {} of {} turns", list.len(), turns.len()));
            let mut around = Curve { name: format!("Change of the picture where {}, {}", if began { "music begins" } else { "music stops" }, view.name), x: "seconds".into(), y: "light".into(), ..Curve::default() };
            for (n, turn) in turns.iter().enumerate() {
                let near = view.frames.iter().filter(|f| (turn - 1200.0..turn + 2400.0).contains(&f.at_ms));
                around.lines.push(Line { name: format!("turn {}", n + 1), points: near.map(|f| [round((f.at_ms - turn) / 1e3), round(f.change)]).collect() });
            }
            section.curves.push(around);
            section.spread("surprise", &format!("{what}, {}", view.name), "ms", list);
        }
    }
    Ok(section)
}

/// A song to dance to, whose beats are known.
pub struct KnownSong {
    /// As sessions call it.
    pub id: String,
    /// Seconds.
    pub beats: Vec<f64>,
    pub seconds: f64,
}

/// Until the clock has found the beat, seconds.
const FIND_BEAT_S: f64 = 8.0;
/// A visible beat is on a heard one if they are no further apart.
const ON_THE_BEAT_MS: f64 = 60.0;

/// Visible beat against heard beat, on songs whose beats are exact.
async fn beat_offset(setup: &Setup, stand: &Stand, songs: &[KnownSong]) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "beat",
        "Visible beat against heard beat",
        "Songs whose beats are known to the sample, danced live. A visible beat is a moment at which the body's keypoints slow down most \
         (the least of their mean speed, smoothed over 83 ms), in the frames of the session itself. Every beat that the dance counts after the first eight seconds is held to the \
         visible beat nearest to it, and moved by how far the viewer's picture runs ahead of its sound. Positive: seen after heard. A dance counts each beat, every \
         other one or twice as many, by how many visible beats it has; the figure for each beat of the song, however it counts, stands beside. The control: the same \
         dances held to beats moved by an eighth to seven eighths of a beat.",
    );
    let (mut as_danced, mut at_viewer, mut each, mut control, mut skews, mut dropped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    let profile = Profile::named("clean").expect("it is in the list");
    for song in songs {
        let seconds = song.seconds.min(setup.seconds.clamp(20.0, 70.0));
        let take = setup.take(stand, &profile, Play::Song(&song.id), seconds).await?;
        dropped += take.statuses.last().map_or(0, |s| s["drops"]["sound_ms"].as_u64().unwrap_or(0));
        let visible = beats::visible(&take.danced);
        let (level, counted) = beats::counted(&visible, &song.beats, FIND_BEAT_S, seconds);
        let offsets = beats::offsets_ms(&visible, &counted, FIND_BEAT_S, seconds);
        // Heard at a native client when its packet came: without a browser there is no account of when sound plays.
        let skew: Option<Vec<f64>> = take.browser.as_ref().map(|b| b.skews_ms.iter().copied().skip(b.skews_ms.len() / 4).collect());
        let ahead_ms = skew.as_ref().map_or(0.0, |s| median(s.clone()));
        let seen = |offsets: &[f64]| -> Vec<f64> { offsets.iter().map(|o| o - ahead_ms).collect() };
        let time = if level == Level::Beat { String::new() } else { format!(", in {} time", level.name()) };
        section.value(&format!("on the beat, {}{time}", song.id), "%", 100.0 * beats::near(&seen(&offsets), ON_THE_BEAT_MS), Better::Higher);
        at_viewer.extend(seen(&offsets));
        each.extend(seen(&beats::offsets_ms(&visible, &song.beats, FIND_BEAT_S, seconds)));
        for eighth in 1..8 {
            let moved = beats::shifted(&counted, f64::from(eighth) / 8.0);
            control.extend(seen(&beats::offsets_ms(&visible, &moved, FIND_BEAT_S, seconds)));
        }
        as_danced.extend(offsets);
        skews.extend(skew.unwrap_or_default());
    }
    section.meter("no sound was dropped on the way to the dancer", dropped == 0, format!("{dropped} ms dropped"));
    if setup.browser.is_some() {
        section.spread("skew", "picture ahead of sound, Chromium's own account", "ms", skews);
        let (middle, near) = (median(at_viewer.clone()), beats::near(&at_viewer, ON_THE_BEAT_MS));
        section.bar("median within 20 ms, 90 % within 60 ms", middle.abs() <= 20.0 && near >= 0.9, format!("median {middle:.0} ms, {:.0} % within 60 ms", 100.0 * near));
        section.value("visible beats within 60 ms of the heard beat, at the viewer", "%", 100.0 * near, Better::Higher);
        section.value("the same of each beat of the songs, however they are counted", "%", 100.0 * beats::near(&each, ON_THE_BEAT_MS), Better::Higher);
        section.value("the same for the control", "%", 100.0 * beats::near(&control, ON_THE_BEAT_MS), Better::Neither);
        section.spreads.push(Spread::of("beat", "visible beat against heard beat, at the viewer", "ms", at_viewer).better(Better::Neither));
    }
    section.spreads.push(Spread::of("beat", "visible beat against the song's beat, as danced", "ms", as_danced).better(Better::Neither));
    Ok(section)
}

/// All of glass, in order. Beats are held to the songs of a set ([`crate::commands::eval::set`]), or to the built-in one.
///
/// # Errors
/// If something could not be measured at all.
pub async fn run(setup: &Setup, songs: Option<&Path>) -> anyhow::Result<Vec<Section>> {
    let set = songs.map(set::songs).transpose()?.unwrap_or_default();
    let set: Vec<_> = set.into_iter().filter(|s| s.tempo == 1.0).collect();
    let paths: Vec<PathBuf> = set.iter().map(|s| s.path.clone()).collect();
    let mut known: Vec<KnownSong> = set
        .iter()
        .map(|s| KnownSong { id: built_in::id_of(&s.name), beats: s.beats.iter().map(|b| f64::from(*b)).collect(), seconds: f64::from(s.seconds()) })
        .collect();
    drop(set);
    if known.is_empty() {
        known.push(KnownSong { id: "odori-groove".into(), beats: stand::song_beats(), seconds: 70.0 });
    }
    let stand = Stand::open_with(setup.machine.clone(), setup.side, 4, &paths).await?;
    let mut sections = vec![calibrate(setup, &stand).await?];
    sections.push(latency(setup, &stand).await?);
    sections.push(surprise(setup, &stand).await?);
    sections.push(beat_offset(setup, &stand, &known).await?);
    Ok(sections)
}

/// The same clip over every network.
///
/// # Errors
/// If something could not be measured at all.
pub async fn networks(setup: &Setup, profiles: &[Profile]) -> anyhow::Result<Section> {
    let about: Vec<String> = profiles.iter().map(|p| format!("{}: {}", p.name, p.about)).collect();
    let mut section = Section::new(
        "networks",
        "Over networks",
        &format!("Sound in to picture seen as above, the media through an emulated network with a fixed seed. {}.", about.join("; ")),
    );
    let stand = Stand::open(setup.machine.clone(), setup.side, 4).await?;
    for profile in profiles {
        let take = setup.take(&stand, profile, Play::Clip(Clip::clicks(WARM_UP_S + setup.seconds, setup.seed)?), 0.0).await?;
        take.describe(setup, &mut section, &format!(", {}", profile.name));
        section.value(&format!("times that pictures were given up until a keyframe, native client, {}", profile.name), "", take.native.gaps as f64, Better::Lower);
        if let Some(board) = &take.browser {
            section.value(&format!("freezes, Chromium, {}", profile.name), "", board.freezes as f64, Better::Lower);
        }
    }
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(change: impl Fn(f64) -> f64) -> Vec<Frame> {
        (0..240).map(|n| f64::from(n) * FRAME_MS).map(|at_ms| Frame { tick: 0, clicks: 0, at_ms, change: change(at_ms) }).collect()
    }

    #[test]
    fn a_beginning_and_a_stop_are_noticed_where_they_show_and_nothing_where_nothing_does() {
        let wobble = |t: f64| 0.1 + 0.05 * (t / 130.0).sin();
        let begins = frames(|t| if t > 4150.0 { 1.0 } else { wobble(t) });
        let found = noticed(&begins, 4000.0, true).unwrap();
        assert!((150.0..150.0 + FRAME_MS).contains(&found), "{found}");
        let stops = frames(|t| if t > 4510.0 { wobble(t) } else { 1.0 + 5.0 * wobble(t) });
        let found = noticed(&stops, 4000.0, false).unwrap();
        assert!((510.0..510.0 + FRAME_MS).contains(&found), "{found}");
        assert_eq!(noticed(&frames(wobble), 4000.0, true), None);
        assert_eq!(noticed(&frames(wobble), 4000.0, false), None);
    }
}
