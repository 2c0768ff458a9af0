//! `odori-benches`: verify, then time. Prints the limit of this machine beside every figure.
//!
//! Usage: `cargo run --release -p odori-benches -- kernels [--json] [--threads N] [--runs N] [--only TEXT]`.
//! This file parses arguments; it must not measure.

mod kernels;

use std::process::ExitCode;

const USAGE: &str = "usage: odori-benches kernels [--json] [--threads N] [--runs N] [--only TEXT]";

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(options) => {
            let report = kernels::run(&options);
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
            } else {
                kernels::print(&report);
            }
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<kernels::Options, String> {
    match args.next().as_deref() {
        Some("kernels") => {}
        Some(other) => return Err(format!("there is no benchmark {other}")),
        None => return Err("which benchmark?".into()),
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options = kernels::Options { json: false, threads: cores, runs: 9, only: String::new() };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let mut number = || value()?.parse::<usize>().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| format!("{arg} needs a number from 1 to 1024"));
        match arg.as_str() {
            "--json" => options.json = true,
            "--threads" => options.threads = number()?,
            "--runs" => options.runs = number()?,
            "--only" => options.only = value()?,
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    Ok(options)
}
