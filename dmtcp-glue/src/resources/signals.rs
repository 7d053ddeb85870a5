//! Signal actions as the kernel has them, and signals that are pending.

use super::limits::status;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Number of the highest signal.
const LAST: usize = 64;

/// What the process has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Signals {
    /// `[handler, flags, restorer, mask]` of signals 1 to 64.
    actions: Vec<[u64; 4]>,
    /// Pending for the process.
    shared: u64,
    /// Pending for each thread.
    threads: Vec<(u32, u64)>,
}

fn mask(path: &str, key: &str) -> u64 {
    status(path, key)
        .and_then(|text| u64::from_str_radix(&text, 16).ok())
        .unwrap_or(0)
}

/// The signals of a mask.
fn members(mask: u64) -> impl Iterator<Item = usize> {
    (1..=LAST).filter(move |n| mask >> (n - 1) & 1 == 1)
}

impl Signals {
    /// Reads it.
    pub fn capture(tids: &[u32]) -> Result<Self> {
        let mut actions = Vec::with_capacity(LAST);
        for signal in 1..=LAST {
            let mut action = [0_u64; 4];
            let args = [signal, 0, action.as_mut_ptr() as usize, 8, 0, 0];
            // SAFETY: the kernel writes one action, of 32 bytes.
            unsafe { crate::sys::raw(libc::SYS_rt_sigaction, args) }
                .with_context(|| format!("the action of signal {signal} can't be read"))?;
            actions.push(action);
        }
        let park = 1 << (lh_loader::lhinfo::PARK_SIGNAL - 1);
        let pending = |&tid: &u32| {
            let mask = mask(&format!("/proc/self/task/{tid}/status"), "SigPnd") & !park;
            (mask != 0).then_some((tid, mask))
        };
        Ok(Signals {
            actions,
            shared: mask("/proc/self/status", "ShdPnd"),
            threads: tids.iter().filter_map(pending).collect(),
        })
    }

    /// Sets all actions.
    pub fn install(&self) -> Result<()> {
        for (signal, action) in (1..).zip(&self.actions) {
            if signal == libc::SIGKILL as usize || signal == libc::SIGSTOP as usize {
                continue;
            }
            let args = [signal, action.as_ptr() as usize, 0, 8, 0, 0];
            // SAFETY: handlers lie in the upper half, whose memory is back; every thread blocks all
            // signals until it runs there.
            unsafe { crate::sys::raw(libc::SYS_rt_sigaction, args) }
                .with_context(|| format!("the action of signal {signal} can't be set"))?;
        }
        Ok(())
    }

    /// Sends what was pending again; all threads still block everything.
    pub fn arm(&self, real_tid: &dyn Fn(u32) -> Option<u32>) {
        let pid = std::process::id() as usize;
        for signal in members(self.shared) {
            // SAFETY: a signal to ourselves that was there before.
            let _ = unsafe { crate::sys::raw(libc::SYS_kill, [pid, signal, 0, 0, 0, 0]) };
        }
        for (tid, mask) in &self.threads {
            let Some(tid) = real_tid(*tid) else { continue };
            for signal in members(*mask) {
                // SAFETY: as above, to one of our threads.
                let _ = unsafe {
                    crate::sys::raw(libc::SYS_tgkill, [pid, tid as usize, signal, 0, 0, 0])
                };
            }
        }
    }
}
