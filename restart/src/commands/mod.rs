//! The commands, one module each, and what they share.

pub mod checkpoint;
pub mod cli;
mod client;
mod cuda;
pub mod dmtcp;
pub mod doctor;
mod elf;
mod images;
pub mod inspect;
pub mod launch;
mod loader;
mod mpi;
mod program;
mod progress;
mod replace;
pub mod restart;
mod room;
pub mod status;
pub mod verify;

use clap::CommandFactory;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a command ended without success, and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What to tell the user.
    pub error: anyhow::Error,
}

/// What a command returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// A failure with an exit code of its own.
    pub fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure {
            code,
            error: anyhow::Error::msg(message.into()),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure {
            code: 1,
            error: error.into(),
        }
    }
}

/// Writes a shell's completion script to standard output.
pub fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::Cli::command(), "splitproc", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints to standard output; a reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// How long ago a time (seconds since 1970) was, for people.
fn ago(time: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |t| t.as_secs());
    match now.saturating_sub(time) {
        s @ 0..=119 => format!("{s} s ago"),
        s @ 120..=7199 => format!("{} min ago", s / 60),
        s @ 7200..=172_799 => format!("{} h ago", s / 3600),
        s => format!("{} days ago", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 40), "3.0 TiB");
        assert_eq!(size(5000 << 40), "5000.0 TiB");
    }

    #[test]
    fn the_command_line_is_consistent() {
        cli::Cli::command().debug_assert();
    }
}
