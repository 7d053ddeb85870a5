//! `splitproc`: launches, checkpoints and restarts programs.

mod commands;

use clap::Parser;
use commands::cli::{Cli, Command};
use commands::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Launch(args) => commands::launch::run(&args),
        Command::Checkpoint(args) => commands::checkpoint::run(&args),
        Command::Restart(args) => commands::restart::run(&args),
        Command::DmtcpRestart(args) => commands::dmtcp::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Completions { shell } => commands::completions(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, error }) => {
            eprintln!("splitproc: {error:#}");
            ExitCode::from(code)
        }
    }
}
