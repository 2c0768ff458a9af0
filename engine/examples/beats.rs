//! Measures the beat trackers: synthetic grids whose beats are exact, and real tracks for stability.
//!
//! `cargo run --release -p odori-engine --features aubio --example beats -- [FOLDER]`, where FOLDER holds songs,
//! and drum one-shots under `loops/`. Without it, only the built-in sounds are used. `--each` prints every case, `--own` leaves
//! aubio out,
//! `--weights FILE` takes other weights, `--songs FOLDER` the songs that `odori_training.eval_beat --keep FOLDER` made.

use std::time::Instant;

use odori_engine::audio::{Limits, Song, decode};
use odori_engine::beat::{BeatSource, PredictedBeat};
use odori_engine::features::{Features, HOP_SAMPLES};
use odori_kernels::{Backend, Weights, cpu};

const RATE: f64 = 24_000.0;
const TEMPI: [f64; 12] = [60.0, 72.0, 84.0, 93.0, 100.0, 110.0, 120.0, 128.0, 140.0, 152.0, 165.0, 180.0];
/// Beats before this are the tracker's to find its feet.
const WARM_S: f64 = 6.0;

struct Rng(u64);
impl Rng {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
    fn noise(&mut self) -> f32 {
        (self.next() * 2.0 - 1.0) as f32
    }
}

struct Kit {
    kick: Vec<f32>,
    snare: Vec<f32>,
    hat: Vec<f32>,
    tom: Vec<f32>,
}

impl Kit {
    fn built_in() -> Self {
        let mut rng = Rng(7);
        let shape = |n: usize, fall: f32, f: &mut dyn FnMut(f32) -> f32| -> Vec<f32> {
            (0..n).map(|i| f(i as f32) * (-(i as f32) / fall).exp()).collect()
        };
        Self {
            kick: shape(6_000, 1_800.0, &mut |i| (0.35 * i.powf(0.62)).sin()),
            snare: shape(4_000, 900.0, &mut |i| 0.6 * rng.noise() + 0.4 * (i * 0.047).sin()),
            hat: Vec::new(),
            tom: shape(6_000, 2_000.0, &mut |i| (i * 0.026).sin()),
        }
        .with_hat()
    }

    fn with_hat(mut self) -> Self {
        let mut rng = Rng(11);
        let mut last = 0.0;
        self.hat = (0..1_500)
            .map(|i| {
                let n = rng.noise();
                let high = n - last;
                last = n;
                0.4 * high * (-(i as f32) / 300.0).exp()
            })
            .collect();
        self
    }

    fn load(folder: &str, names: [&str; 4]) -> Option<Self> {
        let one = |name: &str| -> Option<Vec<f32>> {
            let file = std::fs::File::open(format!("{folder}/loops/{name}.flac")).ok()?;
            let song = Song::load(Box::new(file), "a.flac", Limits::default()).ok()?;
            let loud = song.model.iter().fold(1e-6_f32, |m, x| m.max(x.abs()));
            // One-shots may begin with a little silence: the hit is where they reach a tenth of their peak.
            let start = song.model.iter().position(|x| x.abs() > 0.1 * loud)?;
            Some(song.model[start..].iter().map(|x| x / loud).collect())
        };
        Some(Self { kick: one(names[0])?, snare: one(names[1])?, hat: one(names[2])?, tom: one(names[3])? })
    }
}

struct Case {
    name: String,
    audio: Vec<f32>,
    beats: Vec<f64>,
    downbeats: Vec<f64>,
}

fn put(audio: &mut [f32], sound: &[f32], at_s: f64, gain: f32) {
    let start = (at_s * RATE).round() as usize;
    for (i, x) in sound.iter().enumerate() {
        match audio.get_mut(start + i) {
            Some(y) => *y += gain * x,
            None => break,
        }
    }
}

/// Beat times at a tempo that may change: `bpm_at(seconds)`.
fn grid(seconds: f64, bpm_at: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut beats = vec![0.7];
    while beats[beats.len() - 1] < seconds {
        let t = beats[beats.len() - 1];
        beats.push(t + 60.0 / bpm_at(t));
    }
    beats.pop();
    beats
}

#[derive(Clone, Copy, PartialEq)]
enum Groove {
    Clicks,
    Rock,
    Floor,
    Swing,
    Fills,
    Bassline,
    Noisy,
    Talk,
    Human,
}

fn render(kit: &Kit, groove: Groove, beats: &[f64], seconds: f64, seed: u64) -> Vec<f32> {
    let mut audio = vec![0.0; (seconds * RATE) as usize];
    let mut rng = Rng(seed);
    for (i, pair) in beats.windows(2).enumerate() {
        let (t, period) = (pair[0], pair[1] - pair[0]);
        let beat = i % 4;
        let bar = i / 4;
        let jitter = if groove == Groove::Human { 0.012 * (rng.next() + rng.next() - 1.0) } else { 0.0 };
        let t = t + jitter;
        match groove {
            Groove::Clicks => {
                let click: Vec<f32> =
                    (0..700).map(|i| (-(i as f32) / 150.0).exp() * (i as f32 * 0.26).sin()).collect();
                put(&mut audio, &click, t, 0.7);
            }
            Groove::Floor | Groove::Bassline => {
                put(&mut audio, &kit.kick, t, 0.8);
                put(&mut audio, &kit.hat, t + period / 2.0, 0.4);
                if beat % 2 == 1 {
                    put(&mut audio, &kit.snare, t, 0.5);
                }
                if groove == Groove::Bassline {
                    let root = [55.0, 55.0, 73.4, 65.4][bar % 4];
                    for (k, step) in [0.0, 0.25, 0.5, 0.75].iter().enumerate() {
                        let hz = root * if k == 2 { 2.0 } else { 1.0 };
                        let len = (period * 0.22 * RATE) as usize;
                        let tone: Vec<f32> = (0..len)
                            .map(|i| {
                                let x = (i as f64 / RATE * hz).fract() as f32;
                                (x - 0.5) * (1.0 - i as f32 / len as f32)
                            })
                            .collect();
                        put(&mut audio, &tone, t + period * step, 0.5);
                    }
                }
            }
            _ => {
                if beat % 2 == 0 {
                    put(&mut audio, &kit.kick, t, 0.8);
                } else {
                    put(&mut audio, &kit.snare, t, 0.7);
                }
                put(&mut audio, &kit.hat, t, 0.3);
                let off = if groove == Groove::Swing { 0.66 } else { 0.5 };
                put(&mut audio, &kit.hat, t + off * period, 0.3);
                if beat == 2 && bar % 2 == 1 {
                    put(&mut audio, &kit.kick, t + 0.5 * period, 0.7);
                }
                if groove == Groove::Fills && bar % 4 == 3 && beat >= 2 {
                    for k in 0..4 {
                        put(&mut audio, &kit.tom, t + period * f64::from(k) / 4.0, 0.6);
                    }
                }
            }
        }
    }
    if groove == Groove::Noisy {
        audio.iter_mut().for_each(|x| *x += 0.15 * rng.noise());
    }
    if groove == Groove::Talk {
        // Syllables of 80 to 300 ms: voiced bursts with formants at random, pauses between.
        let mut at = 0.0;
        while at < seconds {
            let (len, hz) = (0.08 + 0.22 * rng.next(), 100.0 + 80.0 * rng.next());
            let formant = 400.0 + 1_500.0 * rng.next();
            let n = (len * RATE) as usize;
            let tone: Vec<f32> = (0..n)
                .map(|i| {
                    let t = i as f64 / RATE;
                    let env = (std::f64::consts::PI * i as f64 / n as f64).sin();
                    let pulse = 1.0 - 2.0 * (t * hz).fract();
                    (env * pulse * (0.5 + 0.5 * (std::f64::consts::TAU * formant * t).sin())) as f32
                })
                .collect();
            put(&mut audio, &tone, at, 0.35);
            at += len + if rng.next() < 0.2 { 0.4 } else { 0.05 * rng.next() };
        }
    }
    let loud = audio.iter().fold(1e-6_f32, |m, x| m.max(x.abs()));
    audio.iter_mut().for_each(|x| *x *= 0.8 / loud);
    audio
}

struct Outcome {
    f: f64,
    downbeat_f: f64,
    median_lag_ms: f64,
    lock_s: f64,
    confidence: f64,
}

fn f_measure(found: &[f64], truth: &[f64]) -> (f64, Vec<f64>) {
    let mut lags = Vec::new();
    let mut used = vec![false; found.len()];
    for t in truth {
        let near = (0..found.len())
            .filter(|i| !used[*i] && (found[*i] - t).abs() <= 0.070)
            .min_by(|a, b| (found[*a] - t).abs().total_cmp(&(found[*b] - t).abs()));
        if let Some(i) = near {
            used[i] = true;
            lags.push(found[i] - t);
        }
    }
    let f = 2.0 * lags.len() as f64 / (found.len() + truth.len()).max(1) as f64;
    (f, lags)
}

fn track(source: &mut BeatSource, audio: &[f32]) -> (Vec<PredictedBeat>, Vec<f32>, f64) {
    let mut features = Features::new();
    let (mut beats, mut bpm, mut spent) = (Vec::new(), Vec::new(), 0.0_f64);
    for block in audio.chunks_exact(HOP_SAMPLES) {
        features.push(block);
        if let Some(hop) = features.next_hop() {
            let hop = *hop;
            let start = Instant::now();
            let state = source.step(&hop, block, features.samples());
            spent += start.elapsed().as_secs_f64();
            bpm.push(state.bpm);
            beats.extend(source.take_predicted());
        }
    }
    let hops = bpm.len().max(1) as f64;
    (beats, bpm, spent / hops * 1e6)
}

fn judge(beats: &[PredictedBeat], case: &Case) -> Outcome {
    let after = |x: &[f64]| x.iter().copied().filter(|t| *t > WARM_S).collect::<Vec<_>>();
    let times: Vec<f64> = beats.iter().map(|b| b.time).collect();
    let (f, mut lags) = f_measure(&after(&times), &after(&case.beats));
    lags.sort_by(f64::total_cmp);
    let downs: Vec<f64> = beats.iter().filter(|b| b.downbeat).map(|b| b.time).collect();
    let (downbeat_f, _) = f_measure(&after(&downs), &after(&case.downbeats));
    // Locked: from here on, four beats in a row are right.
    let hit = |t: &f64| times.iter().any(|x| (x - t).abs() < 0.070);
    let lock = case.beats.windows(4).find(|w| w.iter().all(hit)).map_or(f64::NAN, |w| w[0]);
    Outcome {
        f,
        downbeat_f,
        median_lag_ms: lags.get(lags.len() / 2).map_or(f64::NAN, |x| x * 1e3),
        lock_s: lock,
        confidence: beats.iter().map(|b| f64::from(b.confidence)).sum::<f64>() / beats.len().max(1) as f64,
    }
}

fn own() -> BeatSource {
    let args: Vec<String> = std::env::args().collect();
    let given = args.iter().position(|a| a == "--weights").and_then(|i| args.get(i + 1));
    let bytes = given.map_or_else(|| include_bytes!("../../models/beat.safetensors").to_vec(), |path| std::fs::read(path).expect("the weights file"));
    let weights = Weights::from_safetensors(&bytes).expect("beat weights");
    BeatSource::own(&Backend::Cpu(cpu::Pool::new(1)), &weights).expect("the built-in weights")
}

#[allow(clippy::type_complexity)] // A table of names and makers.
fn sources() -> Vec<(&'static str, fn() -> BeatSource)> {
    #[allow(unused_mut)]
    let mut sources = vec![("own", own as fn() -> BeatSource)];
    #[cfg(feature = "aubio")]
    if !std::env::args().any(|a| a == "--own") {
        sources.push(("aubio", || BeatSource::Aubio(Box::new(odori_engine::beat::AubioTempo::new().expect("aubio")))));
    }
    sources
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let each = args.iter().any(|a| a == "--each");
    if let Some(i) = args.iter().position(|a| a == "--songs") {
        let Some(songs) = args.get(i + 1).and_then(|folder| kept(folder)) else {
            return eprintln!("--songs wants a folder that `python -m odori_training.eval_beat --keep FOLDER` made");
        };
        let (mut groups, mut totals): (Vec<(String, Vec<Case>)>, _) = (Vec::new(), vec![Vec::new(); sources().len()]);
        for (group, case) in songs {
            match groups.last_mut() {
                Some((name, cases)) if *name == group => cases.push(case),
                _ => groups.push((group, vec![case])),
            }
        }
        for (group, cases) in &groups {
            report(group, cases, each, &mut totals);
        }
        for (i, (name, _)) in sources().iter().enumerate() {
            println!("all: {name} F {:.3} over {} cases", totals[i].iter().sum::<f64>() / totals[i].len() as f64, totals[i].len());
        }
        return;
    }
    let folder = args.iter().find(|a| !a.starts_with("--"));
    let mut kits = vec![("synth", Kit::built_in())];
    if let Some(folder) = folder {
        let sets = [
            ("kit", ["drum_heavy_kick", "drum_snare_hard", "drum_cymbal_closed", "drum_tom_mid_hard"]),
            ("soft", ["elec_soft_kick", "elec_snare", "elec_tick", "elec_fuzz_tom"]),
        ];
        kits.extend(sets.into_iter().filter_map(|(n, names)| Some((n, Kit::load(folder, names)?))));
    }
    let grooves = [
        ("clicks", Groove::Clicks),
        ("rock", Groove::Rock),
        ("floor", Groove::Floor),
        ("swing", Groove::Swing),
        ("fills", Groove::Fills),
        ("bassline", Groove::Bassline),
        ("noisy", Groove::Noisy),
        ("talk", Groove::Talk),
        ("human", Groove::Human),
    ];
    println!("{:22} {:6} {:>5} {:>6} {:>8} {:>7} {:>5}", "synthetic, mean of 12", "source", "F", "F down", "lag ms", "lock s", "conf");
    let mut totals: Vec<Vec<f64>> = vec![Vec::new(); sources().len()];
    for (kit_name, kit) in &kits {
        for (groove_name, groove) in grooves {
            if groove == Groove::Clicks && *kit_name != "synth" {
                continue;
            }
            let cases: Vec<Case> = TEMPI
                .iter()
                .map(|bpm| {
                    let beats = grid(30.0, |_| *bpm);
                    let audio = render(kit, groove, &beats, 30.0, *bpm as u64);
                    let downbeats = beats.iter().copied().step_by(4).collect();
                    Case { name: format!("{bpm}"), audio, beats, downbeats }
                })
                .collect();
            report(&format!("{kit_name} {groove_name}"), &cases, each, &mut totals);
        }
        let steps: Vec<Case> = [(90.0, 120.0), (120.0, 100.0), (128.0, 150.0), (140.0, 75.0)]
            .iter()
            .map(|(a, b)| {
                let beats = grid(40.0, |t| if t < 20.0 { *a } else { *b });
                let audio = render(kit, Groove::Rock, &beats, 40.0, 5);
                let downbeats = beats.iter().copied().step_by(4).collect();
                Case { name: format!("{a}-{b}"), audio, beats, downbeats }
            })
            .collect();
        report(&format!("{kit_name} tempo steps"), &steps, each, &mut totals);
        let ramps: Vec<Case> = [(90.0, 120.0), (130.0, 105.0)]
            .iter()
            .map(|(a, b)| {
                let beats = grid(40.0, |t| a + (b - a) * t / 40.0);
                let audio = render(kit, Groove::Rock, &beats, 40.0, 6);
                let downbeats = beats.iter().copied().step_by(4).collect();
                Case { name: format!("{a}~{b}"), audio, beats, downbeats }
            })
            .collect();
        report(&format!("{kit_name} tempo ramps"), &ramps, each, &mut totals);
    }
    for (i, (name, _)) in sources().iter().enumerate() {
        println!("all: {name} F {:.3} over {} cases", totals[i].iter().sum::<f64>() / totals[i].len() as f64, totals[i].len());
    }
    if let Some(folder) = folder {
        real(folder);
    }
}

/// Songs of a folder that `odori_training.eval_beat` made.
fn kept(folder: &str) -> Option<Vec<(String, Case)>> {
    let index: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(format!("{folder}/index.json")).ok()?).ok()?;
    let times = |c: &serde_json::Value, key: &str| c[key].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect::<Vec<_>>();
    index
        .iter()
        .map(|c| {
            let file = std::fs::File::open(format!("{folder}/{}", c["wav"].as_str()?)).ok()?;
            let audio = Song::load(Box::new(file), "a.wav", Limits::default()).ok()?.model;
            let end = audio.len() as f64 / RATE - 0.2;
            let times = |key: &str| times(c, key).into_iter().filter(|t| *t < end).collect();
            let case = Case { name: c["name"].as_str()?.to_owned(), audio, beats: times("beats"), downbeats: times("downbeats") };
            Some((c["group"].as_str()?.to_owned(), case))
        })
        .collect()
}

fn report(name: &str, cases: &[Case], each: bool, totals: &mut [Vec<f64>]) {
    for (i, (source_name, make)) in sources().iter().enumerate() {
        let mut rows = Vec::new();
        for case in cases {
            let (beats, bpm, _) = track(&mut make(), &case.audio);
            let o = judge(&beats, case);
            if each {
                let end = bpm.last().copied().unwrap_or(0.0);
                println!("    {:12} {source_name:6} F {:.2} down {:.2} lag {:6.1} lock {:5.1} ends at {end:.1}", case.name, o.f, o.downbeat_f, o.median_lag_ms, o.lock_s);
            }
            totals[i].push(o.f);
            rows.push(o);
        }
        let mean = |f: fn(&Outcome) -> f64| {
            let kept: Vec<f64> = rows.iter().map(f).filter(|x| x.is_finite()).collect();
            kept.iter().sum::<f64>() / kept.len().max(1) as f64
        };
        println!(
            "{name:22} {source_name:6} {:5.2} {:6.2} {:8.1} {:7.1} {:5.2}",
            mean(|o| o.f),
            mean(|o| o.downbeat_f),
            mean(|o| o.median_lag_ms),
            mean(|o| o.lock_s),
            mean(|o| o.confidence)
        );
    }
}

/// No labels: how steady the tempo is, how even the beats, and whether the two trackers and a later start agree.
fn real(folder: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "ogg")).collect();
    paths.sort();
    println!("\n{:22} {:6} {:>6} {:>9} {:>8} {:>10} {:>6} {:>7}", "real", "source", "bpm", "off tempo", "uneven %", "later F", "conf", "us/hop");
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(file) = std::fs::File::open(&path) else { continue };
        let audio = match decode(Box::new(file), "a.ogg", Limits::default()) {
            Ok(decoded) => {
                let mut intake = odori_engine::audio::Intake::new(decoded.rate, decoded.downmix.clone()).expect("rate was checked");
                let (mut listen, mut model) = (Vec::new(), Vec::new());
                intake.push(&decoded.samples, &mut listen, &mut model);
                intake.finish(&mut listen, &mut model);
                model
            }
            Err(e) => {
                println!("{name}: {e}");
                continue;
            }
        };
        for (source_name, make) in sources() {
            let (beats, mut bpm, us) = track(&mut make(), &audio);
            let skip = HOP_SAMPLES * 60 * 7 + 137;
            let (late, _, _) = track(&mut make(), &audio[skip.min(audio.len())..]);
            let offset = skip as f64 / RATE;
            let from = offset + WARM_S + 4.0;
            let a: Vec<f64> = beats.iter().map(|b| b.time).filter(|t| *t > from).collect();
            let b: Vec<f64> = late.iter().map(|b| b.time + offset).filter(|t| *t > from).collect();
            let (agree, _) = f_measure(&a, &b);
            let mut bpm: Vec<f32> = bpm.drain(..).skip(60 * 6).collect();
            bpm.sort_by(f32::total_cmp);
            let median = bpm.get(bpm.len() / 2).copied().unwrap_or(0.0);
            let off = bpm.iter().filter(|x| (**x / median - 1.0).abs() > 0.08).count() as f64 / bpm.len().max(1) as f64;
            let gaps: Vec<f64> = a.windows(2).map(|w| w[1] - w[0]).collect();
            let uneven = gaps.windows(2).filter(|w| (w[1] / w[0] - 1.0).abs() > 0.1).count() as f64 / gaps.len().max(1) as f64;
            let conf = beats.iter().map(|b| f64::from(b.confidence)).sum::<f64>() / beats.len().max(1) as f64;
            println!("{name:22} {source_name:6} {median:6.1} {:8.0}% {:7.1}% {agree:10.2} {conf:6.2} {us:7.1}", off * 100.0, uneven * 100.0);
        }
    }
}
