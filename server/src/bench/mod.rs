//! `odori bench`: the latency instrument. It measures a real server in this process from outside, over HTTP and WebRTC, says how
//! much of what it says can be believed, and writes a report: table, JSON (`docs/bench.schema.json`) and one HTML page.
//!
//! It must not make anything faster or slower for an ordinary session: nothing outside this folder knows it.

pub mod beats;
pub mod browser;
pub mod code;
pub mod emulator;
pub mod glass;
pub mod manifest;
pub mod quality;
pub mod report;
pub mod stand;
pub mod table;
pub mod viewer;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};

use self::emulator::Profile;
use self::glass::Setup;
use self::report::{FORMAT, Report, Section};
use crate::cli::{BenchCommand, BenchArgs};
use crate::commands::write_whole;
use crate::engine::Machine;

/// # Errors
/// What could not be measured or written; also if the meter is broken.
pub fn run(command: &BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Glass(args) => measure(args, |bench| Ok(bench.block_on(glass::run(&bench.setup))??)),
    }
}

/// One run of a benchmark.
struct Bench {
    setup: Setup,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// Runs to the end, or until Ctrl-C.
    fn block_on<T>(&self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Ok(done),
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            }
        })
    }
}

fn measure(args: &BenchArgs, work: impl FnOnce(&Bench) -> anyhow::Result<Vec<Section>>) -> anyhow::Result<()> {
    let machine = Arc::new(Machine::open(&args.engine.options())?);
    let mut manifest = manifest::begin(&machine, args.seed);
    let browser = if args.no_browser { None } else { browser::find() };
    if browser.is_none() && !args.no_browser {
        eprintln!("odori bench: {}", browser::NO_BROWSER);
    }
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let setup = Setup { machine, side: args.size.0, seconds: args.seconds, seed: args.seed, browser, epoch: start };
    manifest.browser = setup.browser.as_deref().map(browser::version);
    let bench = Bench { setup, runtime };
    let sections = work(&bench)?;
    manifest.took_s = report::round(start.elapsed().as_secs_f64());
    manifest.load_after = manifest::load();
    let report = Report { format: FORMAT.into(), manifest, sections };
    if let Some(path) = &args.output {
        let json = serde_json::to_string(&report).context("a report is plain data")?;
        write_whole(&path.with_extension("json"), json.as_bytes())?;
        eprintln!("written: {}", path.with_extension("json").display());
    }
    if args.json {
        println!("{}", serde_json::to_string(&report).context("a report is plain data")?);
    } else {
        table::print(&mut std::io::stdout().lock(), &report)?;
    }
    if !report.meter_is_sound() {
        bail!("the meter is broken on this machine at this moment: see the checks marked BROKEN. If other programs are at work, end them and measure again");
    }
    Ok(())
}

/// The profiles that were asked for by name.
fn profiles(names: &[String]) -> anyhow::Result<Vec<Profile>> {
    names.iter().map(|n| Profile::named(n).with_context(|| format!("there is no network {n:?}"))).collect()
}
