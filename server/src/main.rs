//! The `odori` binary: reads the command line, runs the command, and says what went wrong.

use clap::Parser;
use odori_server::cli::{AvatarCommand, Cli, Command};
use odori_server::commands;
use tracing_subscriber::EnvFilter;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => "warn,odori_server=info,odori_engine=info",
        1 => "info,odori_server=debug,odori_engine=debug,odori_kernels=debug",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("ODORI_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match &cli.command {
        Command::Demo(args) => commands::serve::run(args, true),
        Command::Serve(args) => commands::serve::run(args, false),
        Command::Render(args) => commands::render::run(args),
        Command::Beats(args) => commands::beats::run(args),
        Command::Avatar(AvatarCommand::Import(args)) => commands::avatar::import(args),
        Command::Doctor(args) => commands::doctor::run(args),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
