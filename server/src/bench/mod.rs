//! `odori bench`: the latency instrument. It measures a real server in this process from outside, over HTTP and WebRTC, says how
//! much of what it says can be believed, and writes a report: table, JSON (`docs/bench.schema.json`) and one HTML page.
//!
//! It must not make anything faster or slower for an ordinary session: nothing outside this folder knows it.

pub mod beats;
pub mod browser;
pub mod code;
pub mod compare;
pub mod crowd;
pub mod emulator;
pub mod glass;
pub mod html;
pub mod kernels;
pub mod manifest;
pub mod quality;
pub mod report;
pub mod stages;
pub mod stand;
pub mod svg;
pub mod table;
pub mod viewer;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};

use self::emulator::{PROFILES, Profile};
use self::glass::Setup;
use self::report::{FORMAT, Report, Section};
use crate::cli::{BenchArgs, BenchCommand, KernelArgs};
use crate::commands::write_whole;
use crate::engine::Machine;

/// # Errors
/// What could not be measured or written; also if the meter is broken.
pub fn run(command: &BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Glass { common, songs } => measure(common, 60.0, |b| b.block_on(glass::run(&b.setup, songs.songs.as_deref()))),
        BenchCommand::Stages(args) => measure(args, 60.0, |b| Ok(vec![stages::run(&b.setup)?])),
        BenchCommand::Soak(args) => measure(args, 600.0, |b| Ok(vec![b.block_on(crowd::soak(&b.setup))?])),
        BenchCommand::Sessions { common, most } => measure(common, 15.0, |b| Ok(vec![b.block_on(crowd::sessions(&b.setup, usize::from(*most)))?])),
        BenchCommand::Networks { common, networks } => {
            let profiles = profiles(networks)?;
            measure(common, 30.0, |b| Ok(vec![b.block_on(glass::networks(&b.setup, &profiles))?]))
        }
        BenchCommand::Scaling(args) => measure(args, 10.0, scaling),
        BenchCommand::Kernels { common, kernels } => measure(common, 0.0, |_| self::kernels(kernels)),
        BenchCommand::All { common, songs, kernels } => measure(common, 30.0, |b| {
            let mut sections = b.block_on(glass::run(&b.setup, songs.songs.as_deref()))?;
            sections.push(stages::run(&b.setup)?);
            sections.push(b.block_on(glass::networks(&b.setup, &PROFILES))?);
            sections.push(b.block_on(crowd::soak(&b.setup))?);
            sections.extend(scaling(b)?);
            sections.extend(self::kernels(kernels)?);
            Ok(sections)
        }),
        BenchCommand::Compare { before, after, fail_over } => compare::run(before, after, *fail_over),
    }
}

fn scaling(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let seconds = bench.setup.seconds.min(15.0);
    let short = Setup { seconds, ..bench.setup.clone() };
    Ok(vec![stages::scaling(&short)?, bench.block_on(crowd::viewers(&short))?, bench.block_on(crowd::sessions(&short, 16))?])
}

fn kernels(args: &KernelArgs) -> anyhow::Result<Vec<Section>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    kernels::run(args.threads.map_or(cores, usize::from), usize::from(args.runs), args.others.as_deref())
}

/// One run of a benchmark.
struct Bench {
    setup: Setup,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// Runs to the end, or until Ctrl-C.
    fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            }
        })
    }
}

fn measure(args: &BenchArgs, seconds: f64, work: impl FnOnce(&Bench) -> anyhow::Result<Vec<Section>>) -> anyhow::Result<()> {
    let options = args.engine.options();
    let machine = Arc::new(Machine::open(&options)?);
    let mut manifest = manifest::begin(&machine, args.seed);
    let browser = if args.no_browser { None } else { browser::find() };
    if browser.is_none() && !args.no_browser {
        eprintln!("odori bench: {}", browser::NO_BROWSER);
    }
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let setup = Setup { machine, options, side: args.size.0, seconds: args.seconds.unwrap_or(seconds), seed: args.seed, browser, epoch: start };
    manifest.browser = setup.browser.as_deref().map(browser::version);
    let bench = Bench { setup, runtime };
    let sections = work(&bench)?;
    manifest.took_s = report::round(start.elapsed().as_secs_f64());
    manifest.load_after = manifest::load();
    let report = Report { format: FORMAT.into(), manifest, sections };
    let json = serde_json::to_string(&report).context("a report is plain data")?;
    if let Some(path) = &args.output {
        for (ending, text) in [("json", &json), ("html", &html::page(&report))] {
            let path = path.with_added_extension(ending);
            write_whole(&path, text.as_bytes())?;
            eprintln!("written: {}", path.display());
        }
    }
    if args.json {
        println!("{json}");
    } else {
        table::print(&mut std::io::stdout().lock(), &report)?;
    }
    if !report.meter_is_sound() {
        bail!("the meter is broken on this machine at this moment: see the checks marked BROKEN. If other programs are at work, end them and measure again");
    }
    Ok(())
}

/// The profiles that were asked for by name; all if none was.
fn profiles(names: &[String]) -> anyhow::Result<Vec<Profile>> {
    let known: Vec<&str> = PROFILES.iter().map(|p| p.name).collect();
    if names.is_empty() {
        return Ok(PROFILES.to_vec());
    }
    names.iter().map(|n| Profile::named(n).with_context(|| format!("there is no network {n:?}; there are: {}", known.join(", ")))).collect()
}
