//! `odori-benches`: verify, then time. Prints the limit of this machine beside every figure.
//!
//! Usage: `cargo run --release -p odori-benches -- kernels [--gpu] [--json] [--threads N] [--runs N] [--only TEXT]`,
//! or `-- networks [--json] [--threads N]`.
//! This file parses arguments; it must not measure.

mod kernels;
mod networks;

use std::process::ExitCode;

const USAGE: &str = "usage: odori-benches kernels [--gpu] [--json] [--threads N] [--runs N] [--only TEXT]\n       odori-benches networks [--json] [--threads N]";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let networks = args.peek().is_some_and(|a| a == "networks");
    let parsed = if networks { parse(std::iter::once("kernels".to_owned()).chain(args.skip(1))) } else { parse(args) };
    match parsed {
        Ok(options) if networks => match networks::run(options.threads) {
            Ok(rows) if options.json => println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default()),
            Ok(rows) => networks::print(&rows),
            Err(reason) => {
                eprintln!("{reason}");
                return ExitCode::FAILURE;
            }
        },
        Ok(options) => {
            let report = match kernels::run(&options) {
                Ok(report) => report,
                Err(reason) => {
                    eprintln!("{reason}");
                    return ExitCode::FAILURE;
                }
            };
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
            } else {
                kernels::print(&report);
            }
        }
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<kernels::Options, String> {
    match args.next().as_deref() {
        Some("kernels") => {}
        Some(other) => return Err(format!("there is no benchmark {other}")),
        None => return Err("which benchmark?".into()),
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options = kernels::Options { gpu: false, json: false, threads: cores, runs: 9, only: String::new() };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let mut number = || value()?.parse::<usize>().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| format!("{arg} needs a number from 1 to 1024"));
        match arg.as_str() {
            "--gpu" => options.gpu = true,
            "--json" => options.json = true,
            "--threads" => options.threads = number()?,
            "--runs" => options.runs = number()?,
            "--only" => options.only = value()?,
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    Ok(options)
}
