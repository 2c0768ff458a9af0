//! The `odori` binary: reads the command line, runs one command, turns faults into words and an exit code.

use std::process::ExitCode;

use std::sync::Arc;

use clap::Parser;
use odori_server::cli::{AvatarCommand, Cli, Command, EvalCommand, ServeArgs};
use odori_server::commands;
use odori_server::dancer;
use odori_server::engine::Machine;
use odori_server::vmc::{Face, Vmc};

fn serve(args: &ServeArgs, open_browser: bool) -> anyhow::Result<()> {
    let machine = Arc::new(Machine::open(&args.engine.options())?);
    tracing::info!(compute = machine.backend_name(), reason = %machine.reason, "engine ready");
    let mut engine = dancer::engine(machine, &args.avatars, &args.songs, args.size)?;
    if !args.vmc.is_empty() {
        engine = engine.with_vmc(Vmc::open(&args.vmc)?);
    }
    if let Some(address) = &args.vmc_face {
        engine = engine.with_face(Face::listen(address)?);
    }
    let engine = Arc::new(engine);
    // Frames have their own threads: these carry packets and requests.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(commands::serve::run(engine, args, open_browser && !args.no_open))
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Demo(args) => serve(args, true),
        Command::Serve(args) => serve(args, false),
        Command::Render(args) => commands::render::run(args),
        Command::Beats(args) => commands::beats::run(args),
        Command::Avatar(AvatarCommand::Import(args)) => commands::avatar::import(args),
        Command::Eval(EvalCommand::Motion(args)) => commands::eval::motion(args),
        Command::Eval(EvalCommand::Render(args)) => commands::eval::pictures::render(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Bench(command) => odori_server::bench::run(command),
    }
}

/// Vulkan drivers look for a Wayland display and complain on standard error, several times, where there is no session
/// to have one. Told of a place without a display, they are quiet.
fn quiet_drivers() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the first thing that runs, before any other thread exists.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

fn main() -> ExitCode {
    quiet_drivers();
    let cli = Cli::parse();
    commands::start_logging(cli.verbose);
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("odori: {error:#}");
            ExitCode::FAILURE
        }
    }
}
