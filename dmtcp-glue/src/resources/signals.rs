//! Signal actions as the kernel has them, and signals that are pending.

use super::blob::Blob;
use super::limits::status;
use crate::sys::raw;
use anyhow::{anyhow, bail, Context, Result};
use lh_loader::lhinfo::{self, DRAIN, DRAIN_MOST, MAX_THREADS};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Number of the highest signal.
const LAST: usize = 64;
/// Length of the kernel's siginfo.
const SIGINFO: usize = 128;

/// Signals of each thread.
type ByThread = Vec<(u32, Vec<Blob>)>;

/// What the process has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Signals {
    /// `[handler, flags, restorer, mask]` of signals 1 to 64.
    actions: Vec<[u64; 4]>,
    /// Pending for the process: the kernel's siginfo of each.
    shared: Vec<Blob>,
    /// Pending for each thread.
    threads: ByThread,
}

fn mask(path: &str, key: &str) -> u64 {
    status(path, key)
        .and_then(|text| u64::from_str_radix(&text, 16).ok())
        .unwrap_or(0)
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
        let (shared, threads) = pending(tids)?;
        Ok(Signals {
            actions,
            shared,
            threads,
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

    /// What says nothing when it is pending for the process, as a mask: what was, and what the program ignores.
    pub fn expected(&self) -> u64 {
        let bit = |number: u32| 1_u64.checked_shl(number.wrapping_sub(1)).unwrap_or(0);
        let pending = self.shared.iter().map(number);
        let ignored = (1..).zip(&self.actions);
        let ignored = ignored.filter(|(_, action)| action[0] == libc::SIG_IGN as u64);
        pending
            .chain(ignored.map(|(number, _)| number))
            .fold(0, |set, number| set | bit(number))
    }

    /// Sends what was pending again; all threads still block everything.
    pub fn arm(&self, real_tid: &dyn Fn(u32) -> Option<u32>) {
        for info in &self.shared {
            send(None, info);
        }
        for (tid, infos) in &self.threads {
            let Some(tid) = real_tid(*tid) else { continue };
            for info in infos {
                send(Some(tid), info);
            }
        }
    }
}

/// What is pending for the process and for its stopped threads. It is taken out and put back: the kernel has
/// no other way to show it whole.
fn pending(tids: &[u32]) -> Result<(Vec<Blob>, ByThread)> {
    let park = 1 << (lhinfo::PARK_SIGNAL - 1);
    let ours = claimed();
    let mut shared = Vec::new();
    let set = mask("/proc/self/status", "ShdPnd") & !park & !ours;
    // A thread of the host's takes what is pending for the process; nothing is pending for itself.
    while set != 0 && !tids.is_empty() {
        let mut info = vec![0_u8; SIGINFO];
        let none = [0_i64; 2];
        let at = [
            &raw const set as usize,
            info.as_mut_ptr() as usize,
            none.as_ptr() as usize,
        ];
        // SAFETY: the kernel reads the set and the time and writes one siginfo.
        match unsafe { raw(libc::SYS_rt_sigtimedwait, [at[0], at[1], at[2], 8, 0, 0]) } {
            Ok(_) => shared.push(Blob(info)),
            Err(_) => break,
        }
    }
    let mut threads = Vec::new();
    let mut failed = None;
    for &tid in tids {
        let set = mask(&format!("/proc/self/task/{tid}/status"), "SigPnd") & !park;
        if set != 0 {
            match drain(tid) {
                Ok(infos) => threads.push((tid, infos)),
                Err(error) => failed = Some(error),
            }
        }
    }
    for info in &shared {
        send(None, info);
    }
    for (tid, infos) in &threads {
        for info in infos {
            send(Some(*tid), info);
        }
    }
    if let Some((tid, _)) = threads.iter().find(|(_, i)| i.len() == DRAIN_MOST) {
        failed = Some(anyhow!(
            "thread {tid} has more than {DRAIN_MOST} pending signals: it can't be checkpointed"
        ));
    }
    failed.map_or(Ok((shared, threads)), Err)
}

/// Signals that ask for checkpoints: they are ours.
fn claimed() -> u64 {
    // SAFETY: lhInfo is mapped for the life of the process.
    let upper = &unsafe { lhinfo::get() }.upper;
    [&upper.ckpt_signal, &upper.term_signal]
        .map(|s| s.load(Ordering::Acquire))
        .iter()
        .filter(|s| **s != 0)
        .fold(0, |mask, s| mask | 1 << (s - 1))
}

/// Has a stopped thread take what is pending for it.
fn drain(tid: u32) -> Result<Vec<Blob>> {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    let used = (info.thread_count.load(Ordering::Acquire) as usize).min(MAX_THREADS);
    let thread = info.threads[..used]
        .iter()
        .find(|t| t.real_tid.load(Ordering::Acquire) == tid)
        .context("a stopped thread has a slot")?;
    let mut buffer = vec![0_u8; DRAIN_MOST * SIGINFO];
    info.upper.drained.store(0, Ordering::Release);
    let at = buffer.as_mut_ptr() as usize;
    info.upper.drain.store(at, Ordering::Release);
    thread.state.store(DRAIN, Ordering::Release);
    let until = Instant::now() + Duration::from_secs(10);
    while thread.state.load(Ordering::Acquire) == DRAIN {
        if Instant::now() > until {
            bail!("thread {tid} does not give its pending signals");
        }
        crate::host::wake(&info.upper.release);
        std::thread::sleep(Duration::from_micros(200));
    }
    let count = info.upper.drained.load(Ordering::Acquire) as usize;
    let infos = buffer.chunks(SIGINFO).take(count);
    Ok(infos.map(|i| Blob(i.to_vec())).collect())
}

/// The signal's number, the first int of a siginfo.
fn number(info: &Blob) -> u32 {
    info.0[..4].try_into().map_or(0, u32::from_ne_bytes)
}

/// Sends a signal to ourselves, or to one of our threads, as it was sent. What `kill` and the kernel sent can
/// only be sent by `kill` again: then we are the sender.
fn send(tid: Option<u32>, info: &Blob) {
    let pid = std::process::id() as usize;
    let number = number(info) as usize;
    let at = info.0.as_ptr() as usize;
    // SAFETY: the kernel reads one siginfo; a signal to ourselves that was there before.
    let _ = unsafe {
        match tid.map(|tid| tid as usize) {
            None => raw(libc::SYS_rt_sigqueueinfo, [pid, number, at, 0, 0, 0])
                .or_else(|_| raw(libc::SYS_kill, [pid, number, 0, 0, 0, 0])),
            Some(tid) => raw(libc::SYS_rt_tgsigqueueinfo, [pid, tid, number, at, 0, 0])
                .or_else(|_| raw(libc::SYS_tgkill, [pid, tid, number, 0, 0, 0])),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_or_ignored_says_nothing() {
        let mut signals = Signals {
            actions: vec![[0; 4]; LAST],
            ..Signals::default()
        };
        assert_eq!(signals.expected(), 0);
        signals.actions[libc::SIGHUP as usize - 1][0] = libc::SIG_IGN as u64;
        let mut info = vec![0; SIGINFO];
        info[0] = libc::SIGTERM as u8;
        signals.shared.push(Blob(info));
        assert_eq!(
            signals.expected(),
            1 << (libc::SIGHUP - 1) | 1 << (libc::SIGTERM - 1)
        );
    }
}
