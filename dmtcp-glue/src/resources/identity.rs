//! Who the process is: what a restart can't change, and so must not have changed since the start.

use super::limits::status;
use anyhow::{bail, Result};

/// Lines of a status file, and what a change of each is.
const LINES: [(&str, &str); 5] = [
    ("Uid", "has changed its user"),
    ("Gid", "has changed its group"),
    ("Groups", "has changed its groups"),
    ("Seccomp", "has a seccomp filter"),
    ("Seccomp_filters", "has a seccomp filter"),
];

/// Those lines as they were at the start.
#[derive(Clone, Debug, Default)]
pub struct Identity([Option<String>; LINES.len()]);

fn read(path: &str) -> [Option<String>; LINES.len()] {
    LINES.map(|(key, _)| status(path, key))
}

impl Identity {
    /// What they are now.
    pub fn here() -> Self {
        Identity(read("/proc/self/status"))
    }

    /// Refuses a process that is not what it was.
    pub fn check(&self, tids: &[u32]) -> Result<()> {
        for tid in tids {
            let now = read(&format!("/proc/self/task/{tid}/status"));
            for ((was, now), (_, change)) in self.0.iter().zip(now).zip(LINES) {
                if now.is_some() && *was != now {
                    bail!("the program (thread {tid}) {change}; it can't be checkpointed");
                }
            }
        }
        Ok(())
    }
}
