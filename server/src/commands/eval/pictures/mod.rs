//! `odori eval render`: held-out characters in motion, the puppet and the denoiser's steps against true renders.
//!
//! Every clip runs as the live engine runs it: causally, on the denoiser's own outputs, composed at the frames' own
//! size. The first frame of a clip has no past and is left out of the figures.

mod frames;
mod measures;
mod sheet;

use std::time::Instant;

use anyhow::Context;
use odori_engine::denoiser::{DenoiseInput, DenoiseOutput, Denoiser, Doubt, MANY_STEPS, Precision};
use odori_engine::picture::{DOUBT_GAIN, interleave};
use odori_engine::render::compose::Composer;
use odori_engine::render::cpu::PuppetPicture;
use odori_engine::render::Size;
use serde::Serialize;

use crate::cli::EvalRenderArgs;
use crate::engine::Machine;
use frames::{Clip, Tokens};
use measures::Picture;

/// What is kept from the network, or done otherwise than live, to see what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    Doubt,
    Reference,
    /// Live it is told no tokens.
    Silence,
    Past,
    /// The head moves as the network has it, not smoothed.
    Smoothing,
    Detail,
    /// Eight bits, where the live picture is made with them.
    Rounding,
    /// No network: the true picture, this many pixels aside. What an error of place alone costs.
    Place(usize),
}

/// One way to make the picture.
#[derive(Clone, Copy, Debug)]
struct Method {
    name: &'static str,
    /// 0 is the puppet alone.
    steps: u32,
    without: Without,
}

const METHODS: [Method; 4] = [
    Method { name: "puppet", steps: 0, without: Without::Nothing },
    Method { name: "1 step", steps: 1, without: Without::Nothing },
    Method { name: "2 steps", steps: 2, without: Without::Nothing },
    Method { name: "4 steps", steps: 4, without: Without::Nothing },
];
const ABLATIONS: [Method; 10] = [
    Method { name: "16 steps", steps: MANY_STEPS, without: Without::Nothing },
    Method { name: "1, in full precision", steps: 1, without: Without::Rounding },
    Method { name: "1, wherever it likes", steps: 1, without: Without::Doubt },
    Method { name: "1, no reference", steps: 1, without: Without::Reference },
    Method { name: "1, told the tokens", steps: 1, without: Without::Silence },
    Method { name: "1, no past", steps: 1, without: Without::Past },
    Method { name: "1, head not smoothed", steps: 1, without: Without::Smoothing },
    Method { name: "1, no detail lent", steps: 1, without: Without::Detail },
    Method { name: "the truth, 1 px aside", steps: 0, without: Without::Place(1) },
    Method { name: "the truth, 2 px aside", steps: 0, without: Without::Place(2) },
];

/// Means over clips.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub method: &'static str,
    pub psnr_db: f32,
    pub ssim: f32,
    /// Share of clips with a higher structural similarity than the puppet's.
    pub ssim_better: f32,
    /// Share of clips with a PSNR lower than the puppet's by 0.1 dB or more.
    pub psnr_worse: f32,
    pub edge_alpha_error: f32,
    /// Change from frame to frame over the true render's.
    pub flicker: f32,
    pub false_change: f32,
    /// Share of frames whose colours are nearest to the reference of their own character.
    pub identity: f32,
    /// Median cost of denoising and composing a frame, milliseconds.
    pub cost_ms: f32,
}

/// Figures of one clip by one method.
#[derive(Clone, Debug, Default)]
struct Judged {
    psnr: f32,
    ssim: f32,
    edge: f32,
    flicker: f32,
    false_change: f32,
    identities: Vec<Vec<f32>>,
    costs: Vec<f32>,
}

struct Studio {
    denoiser: Denoiser,
    /// The same in full precision, for ablations.
    full: Option<Denoiser>,
    out: DenoiseOutput,
    doubt: Doubt,
    composer: Composer,
    interleaved: Vec<f32>,
}

impl Studio {
    /// The clip's frames by one method, and what each cost in milliseconds.
    fn make(&mut self, clip: &Clip, method: Method) -> anyhow::Result<(Vec<Picture>, Vec<f32>)> {
        if let Without::Place(by) = method.without {
            return Ok((clip.frames.iter().map(|f| aside(&f.truth, by)).collect(), vec![0.0; clip.frames.len()]));
        }
        let size = Size::square(clip.side);
        let denoiser = self.full.as_mut().filter(|_| method.without == Without::Rounding).unwrap_or(&mut self.denoiser);
        if method.steps > 0 {
            let bytes: Vec<u8> = clip.reference.rgba.iter().map(|v| (v * 255.0 + 0.5) as u8).collect();
            let mut reference = frames::at_work(&bytes, clip.side, denoiser.size(), 4);
            if method.without == Without::Reference {
                reference.fill(0.0);
            }
            denoiser.set_reference(&reference)?;
        }
        let (mut pictures, mut costs) = (Vec::new(), Vec::new());
        let mut bytes = vec![0u8; size.pixels() * 4];
        for (n, frame) in clip.frames.iter().enumerate() {
            let mut puppet = PuppetPicture::default();
            puppet.resize(clip.side, clip.side);
            puppet.rgba.copy_from_slice(&frame.puppet);
            let start = Instant::now();
            let mut denoised = None;
            if method.steps > 0 {
                let warp = frames::at_work(&frame.puppet, clip.side, denoiser.size(), 4);
                let tokens = if method.without == Without::Silence { &frame.tokens[..] } else { &[] };
                let head = if method.without == Without::Smoothing { &[][..] } else { &frame.head };
                let input = DenoiseInput { warp: &warp, validity: &frame.validity, keypoints: &frame.keypoints, facing: &frame.facing, tokens, head };
                if method.without == Without::Past {
                    denoiser.reset();
                }
                denoiser.step(input, method.steps, 1, n as u64 + 1, &mut self.out)?;
                if method.without != Without::Doubt {
                    self.doubt.apply(&input, denoiser.size(), DOUBT_GAIN, &mut self.out);
                }
                if method.without == Without::Detail {
                    self.out.mask.fill(0.0);
                }
                interleave(&self.out, &mut self.interleaved);
                denoised = Some(&self.interleaved[..]);
            }
            bytes.fill(0);
            self.composer.compose(&puppet, Size::square(denoiser.size()), denoised, 1.0, None, &mut bytes);
            costs.push(start.elapsed().as_secs_f32() * 1e3);
            pictures.push(frames::picture(&bytes, clip.side));
        }
        Ok((pictures, costs))
    }
}

/// A picture moved to the right.
fn aside(picture: &Picture, by: usize) -> Picture {
    let row = picture.side * 4;
    let mut rgba = vec![0.0; picture.rgba.len()];
    for (to, from) in rgba.chunks_exact_mut(row).zip(picture.rgba.chunks_exact(row)) {
        to[by * 4..].copy_from_slice(&from[..row - by * 4]);
    }
    Picture { side: picture.side, rgba }
}

fn judge(clip: &Clip, pictures: &[Picture], costs: Vec<f32>) -> Judged {
    let mut out = Judged { costs, ..Judged::default() };
    let count = (clip.frames.len().max(2) - 1) as f32;
    let (mut change, mut true_change) = (0.0, 0.0);
    let masks: Vec<Vec<bool>> = clip.frames.iter().map(|f| measures::figure(&f.truth, &frames::picture(&f.puppet, clip.side))).collect();
    for n in 1..clip.frames.len() {
        let (truth, before) = (&clip.frames[n].truth, &clip.frames[n - 1].truth);
        out.psnr += measures::psnr(&pictures[n], truth, &masks[n]) / count;
        out.ssim += measures::ssim(&pictures[n], truth, &masks[n]) / count;
        out.edge += measures::edge_error(&pictures[n], truth) / count;
        let both: Vec<bool> = masks[n].iter().zip(&masks[n - 1]).map(|(a, b)| *a || *b).collect();
        change += measures::change(&pictures[n - 1], &pictures[n], &both);
        true_change += measures::change(before, truth, &both);
        out.false_change += measures::false_change([&pictures[n - 1], before], [&pictures[n], truth], &both) / count;
        out.identities.push(measures::identity(&pictures[n]));
    }
    out.flicker = change / true_change.max(1e-4);
    out
}

/// References by look: what a frame's colours are held against.
#[derive(Default)]
struct Known(Vec<(i32, Vec<f32>)>);

impl Known {
    fn learn(&mut self, clip: &Clip) {
        if self.0.iter().all(|(look, _)| *look != clip.look) {
            self.0.push((clip.look, measures::identity(&clip.reference)));
        }
    }

    fn nearest(&self, identity: &[f32]) -> Option<i32> {
        let distance = |k: &(i32, Vec<f32>)| measures::identity_distance(&k.1, identity);
        self.0.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map(|k| k.0)
    }
}

fn row(method: Method, clips: &[(i32, Judged)], puppet: &[(i32, Judged)], known: &Known) -> Row {
    let n = clips.len().max(1) as f32;
    let mean = |f: fn(&Judged) -> f32| clips.iter().map(|c| f(&c.1)).sum::<f32>() / n;
    let share = |f: &dyn Fn(&Judged, &Judged) -> bool| clips.iter().zip(puppet).filter(|(c, p)| f(&c.1, &p.1)).count() as f32 / n;
    let own: Vec<bool> = clips.iter().flat_map(|(look, j)| j.identities.iter().map(|i| known.nearest(i) == Some(*look))).collect();
    let mut costs: Vec<f32> = clips.iter().flat_map(|c| c.1.costs.iter().copied()).collect();
    costs.sort_by(f32::total_cmp);
    Row {
        method: method.name,
        psnr_db: mean(|j| j.psnr),
        ssim: mean(|j| j.ssim),
        ssim_better: share(&|c, p| c.ssim > p.ssim),
        psnr_worse: share(&|c, p| c.psnr < p.psnr - 0.1),
        edge_alpha_error: mean(|j| j.edge),
        flicker: mean(|j| j.flicker),
        false_change: mean(|j| j.false_change),
        identity: own.iter().filter(|o| **o).count() as f32 / own.len().max(1) as f32,
        cost_ms: costs.get(costs.len() / 2).copied().unwrap_or(0.0),
    }
}

fn table(rows: &[Row], clips: usize, version: &str, work: usize) -> String {
    let mut out = format!("denoiser {version}, working size {work}, {clips} clips\n");
    out += &format!(
        "{:<24}{:>8}{:>8}{:>9}{:>10}{:>8}{:>9}{:>11}{:>10}{:>9}\n",
        "", "PSNR dB", "SSIM", "SSIM up", "PSNR down", "edge", "flicker", "false chg", "identity", "cost ms"
    );
    for r in rows {
        out += &format!(
            "{:<24}{:>8.2}{:>8.3}{:>8.0}%{:>9.0}%{:>8.3}{:>9.2}{:>11.4}{:>9.0}%{:>9.2}\n",
            r.method, r.psnr_db, r.ssim, r.ssim_better * 100.0, r.psnr_worse * 100.0, r.edge_alpha_error, r.flicker, r.false_change, r.identity * 100.0, r.cost_ms
        );
    }
    out
}

/// # Errors
/// What of the frames or of the weights cannot be used.
pub fn render(args: &EvalRenderArgs) -> anyhow::Result<()> {
    let shards = frames::shards(&args.frames)?;
    let tokens = args.tokens.as_deref().map(Tokens::read).transpose()?;
    let machine = Machine::open(&args.engine.options())?;
    let mut studio = Studio {
        denoiser: machine.denoiser(args.engine.working_size, Precision::Short)?,
        full: args.ablations.then(|| machine.denoiser(args.engine.working_size, Precision::Full)).transpose()?,
        out: DenoiseOutput::default(),
        doubt: Doubt::default(),
        composer: Composer::default(),
        interleaved: Vec::new(),
    };
    let mut methods = METHODS.to_vec();
    if args.ablations {
        methods.extend(ABLATIONS);
    }
    let mut judged: Vec<Vec<(i32, Judged)>> = vec![Vec::new(); methods.len()];
    let mut known = Known::default();
    let mut sheet = sheet::Sheet::new(&METHODS.map(|m| m.name));
    let bar = crate::commands::progress_bar(u64::from(args.clips), "drawing");
    let mut seen = 0u32;
    for path in &shards {
        let go_on = frames::read_shard(path, args.engine.working_size, tokens.as_ref(), |clip| {
            if clip.frames.len() > 1 {
                known.learn(&clip);
                let mut shown = Vec::new();
                for (method, judged) in methods.iter().zip(&mut judged) {
                    let (pictures, costs) = studio.make(&clip, *method)?;
                    judged.push((clip.look, judge(&clip, &pictures, costs)));
                    shown.extend(pictures.into_iter().last());
                }
                if args.sheet.is_some() && seen.is_multiple_of(args.sheet_every) {
                    shown.truncate(METHODS.len());
                    sheet.add(&clip, &shown);
                }
                seen += 1;
                bar.inc(1);
            }
            Ok(seen < args.clips)
        })?;
        if !go_on {
            break;
        }
    }
    bar.finish_and_clear();
    anyhow::ensure!(seen > 0, "no clip of at least two frames in {}", args.frames.display());
    let rows: Vec<Row> = methods.iter().zip(&judged).map(|(m, clips)| row(*m, clips, &judged[0], &known)).collect();
    if let Some(path) = &args.sheet {
        crate::commands::write_whole(path, &sheet.png()?).context("the contact sheet")?;
    }
    let version = machine.versions().into_iter().find(|(name, _)| *name == "denoiser").map_or_else(String::new, |(_, v)| v);
    if args.json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "denoiser": version, "working_size": studio.denoiser.size(), "clips": seen, "methods": rows }))?);
    } else {
        print!("{}", table(&rows, seen as usize, &version, studio.denoiser.size()));
    }
    Ok(())
}
