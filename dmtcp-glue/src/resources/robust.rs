//! Mutexes in which the kernel compares thread ids: held ones can't be brought back, since a restarted
//! thread has another id for the kernel than the one that stands in the mutex.

use anyhow::{bail, Context, Result};
use lh_loader::lhinfo::{self, MAX_THREADS};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

/// The owner's part of a futex word.
const TID: u32 = 0x3fff_ffff;
/// Longest list that is followed: the kernel's own limit.
const LONGEST: usize = 2048;

/// Refuses held robust mutexes, by thread and address, and a program with priority-inheritance mutexes, of
/// which held ones can't be found. `tids` are the stopped threads.
pub fn check(tids: &[u32]) -> Result<()> {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    if info.upper.pi_mutexes.load(Ordering::Acquire) != 0 {
        bail!("the program uses priority-inheritance mutexes (pthread_mutexattr_setprotocol), which hold thread ids of the kernel: it can't be checkpointed");
    }
    let memory = File::open("/proc/thread-self/mem").context("/proc/thread-self/mem")?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        let read = memory.read_exact_at(&mut bytes, at as u64);
        read.ok().map(|()| usize::from_ne_bytes(bytes))
    };
    let used = (info.thread_count.load(Ordering::Acquire) as usize).min(MAX_THREADS);
    for thread in &info.threads[..used] {
        let real = thread.real_tid.load(Ordering::Acquire);
        let head = thread.robust[0];
        if !tids.contains(&real) || head == 0 {
            continue;
        }
        let offset = word(head + 8).unwrap_or(0);
        let mut at = word(head).unwrap_or(head);
        for _ in 0..LONGEST {
            at &= !1;
            if at == head || at == 0 {
                break;
            }
            let futex = at.wrapping_add(offset);
            let owner = word(futex).unwrap_or(0) as u32 & TID;
            if owner == thread.tid.load(Ordering::Acquire) || owner == real {
                bail!("thread {owner} holds the robust mutex at {futex:#x}: it can't be checkpointed; unlock it first");
            }
            at = word(at).unwrap_or(head);
        }
    }
    Ok(())
}
