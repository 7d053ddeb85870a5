//! Stopping the upper half's threads, and letting them go on.
//!
//! Every task that is not a lower half's gets a slot in lhInfo and the parking signal; its handler fills
//! the slot and waits. A thread keeps its slot from one checkpoint to the next, because after a restart
//! the slots are also what the router translates tids with.

use super::mailbox::{futex_wait, futex_wake};
use anyhow::{bail, Context, Result};
use lh_loader::futex;
use lh_loader::lhinfo::{self, LhInfo, Thread, MAX_THREADS, PARK_SIGNAL};
use std::collections::HashSet;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// `Thread::state`: asked to park, parked.
const ASKED: u32 = 1;
const PARKED: u32 = 2;
/// How often the list of tasks is read until it is whole.
const LISTINGS: u32 = 10_000;
/// How long threads that park late are waited for before all are let go for another try.
const TRY: Duration = Duration::from_millis(1000);

/// The region.
fn info() -> &'static LhInfo {
    // SAFETY: the loader mapped it before it started the host.
    unsafe { lhinfo::get() }
}

/// Stopped threads; they go on when this is dropped.
pub struct Stopped {
    slots: Vec<usize>,
}

impl Stopped {
    /// The slots of the stopped threads.
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        release();
    }
}

/// Lets all parked threads go on.
pub fn release() {
    let release = &info().upper.release;
    release.store(1, Ordering::Release);
    futex_wake(release);
}

/// Stops every upper-half thread within `bound`.
pub fn stop(bound: Duration) -> Result<Stopped> {
    if info().upper.park_handler.load(Ordering::Acquire) == 0 {
        bail!("the program has not started yet");
    }
    let deadline = Instant::now() + bound;
    let mut pause = Duration::from_millis(2);
    loop {
        let until = deadline.min(Instant::now() + TRY);
        match attempt(until)? {
            Ok(slots) => return Ok(Stopped { slots }),
            Err(reason) if Instant::now() + pause >= deadline => {
                release();
                bail!("{reason}");
            }
            Err(_) => {
                release();
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(200));
            }
        }
    }
}

/// One try. The inner error: some thread did not park in time or was at a wrong place.
fn attempt(until: Instant) -> Result<Result<Vec<usize>, String>> {
    info().upper.release.store(0, Ordering::Release);
    let mut slots: Vec<usize> = Vec::new();
    loop {
        // Before the list is made: a thread that parks afterwards may have made another first, which is not in it.
        let parked: HashSet<usize> = slots
            .iter()
            .copied()
            .filter(|&s| state(s) == PARKED)
            .collect();
        let alive = upper_tasks()?;
        let known: HashSet<u32> = slots.iter().map(|&s| real_tid(s)).collect();
        let new: Vec<u32> = alive
            .iter()
            .copied()
            .filter(|t| !known.contains(t))
            .collect();
        if new.is_empty()
            && slots
                .iter()
                .all(|&s| parked.contains(&s) || !alive.contains(&real_tid(s)))
        {
            break;
        }
        for tid in new {
            let slot = slot_for(tid, &alive)?;
            if ask(slot, tid)? {
                slots.push(slot);
            }
        }
        for &slot in &slots {
            let thread = &info().threads[slot];
            if state(slot) == ASKED {
                futex_wait(&thread.state, ASKED, Duration::from_millis(5));
            }
        }
        if Instant::now() >= until {
            let late = slots.iter().find(|&&s| state(s) == ASKED);
            let late = late.map(|&s| (real_tid(s), name_of(real_tid(s))));
            for &slot in &slots {
                // A handler that comes late finds that nobody asks any more.
                let _ = info().threads[slot].state.compare_exchange(
                    ASKED,
                    0,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
            return Ok(Err(match late {
                Some((tid, name)) => format!("thread {tid} ({name}) can't be stopped"),
                None => "new threads appear faster than they can be stopped".to_owned(),
            }));
        }
    }
    slots.retain(|&s| state(s) == PARKED);
    match slots.iter().find(|&&s| info().threads[s].in_call == 2) {
        Some(&slot) => {
            let tid = real_tid(slot);
            Ok(Err(format!(
                "thread {tid} ({}) is inside a lower half",
                name_of(tid)
            )))
        }
        None => {
            forget_dead(&slots);
            Ok(Ok(slots))
        }
    }
}

fn state(slot: usize) -> u32 {
    info().threads[slot].state.load(Ordering::Acquire)
}

fn real_tid(slot: usize) -> u32 {
    info().threads[slot].real_tid.load(Ordering::Acquire)
}

/// The upper half's tasks: all of the process's but those born in lower halves. No task is made meanwhile.
fn upper_tasks() -> Result<Vec<u32>> {
    futex::lock(&info().clone_lock);
    let lower: HashSet<u32> = info()
        .lower_tasks
        .iter()
        .map(|t| t.load(Ordering::Acquire))
        .collect();
    let tasks = all_tasks();
    futex::unlock(&info().clone_lock);
    let mut tasks = tasks?;
    tasks.retain(|tid| !lower.contains(tid) && !is_dead(*tid));
    Ok(tasks)
}

/// All tasks, while none is made. The kernel's list ends early where a task ends while it is read: so they are counted first.
fn all_tasks() -> Result<Vec<u32>> {
    for _ in 0..LISTINGS {
        let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix("Threads:"));
        let count: usize = count.map_or(Ok(0), |n| n.trim().parse())?;
        let tasks = fs::read_dir("/proc/self/task")
            .context("/proc/self/task")?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().parse()?))
            .collect::<Result<Vec<u32>>>();
        match tasks {
            Ok(tasks) if tasks.len() >= count => return Ok(tasks),
            _ => std::thread::yield_now(),
        }
    }
    bail!("the process's threads can't be counted")
}

/// A first thread that has ended stays in the list as a zombie.
fn is_dead(tid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap_or_default();
    let state = stat.rfind(") ").and_then(|at| stat.as_bytes().get(at + 2));
    matches!(state, None | Some(b'Z' | b'X'))
}

/// The name that a thread has now.
pub fn name_of(tid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// The slot that thread `tid` has, or a free one.
fn slot_for(tid: u32, alive: &[u32]) -> Result<usize> {
    let used = (info().thread_count.load(Ordering::Acquire) as usize).min(MAX_THREADS);
    if let Some(slot) = (0..used).find(|&s| real_tid(s) == tid) {
        return Ok(slot);
    }
    let free = (0..used).find(|&s| !alive.contains(&real_tid(s)));
    let slot = free.unwrap_or(used);
    if slot >= MAX_THREADS {
        bail!("the program has more than {MAX_THREADS} threads");
    }
    let thread = &info().threads[slot];
    thread.state.store(0, Ordering::Release);
    thread.tid.store(tid, Ordering::Release);
    thread.real_tid.store(tid, Ordering::Release);
    if free.is_none() {
        info()
            .thread_count
            .store(used as u32 + 1, Ordering::Release);
    }
    Ok(slot)
}

/// Asks a thread to park. False: it has ended.
fn ask(slot: usize, tid: u32) -> Result<bool> {
    info().threads[slot].state.store(ASKED, Ordering::Release);
    // SAFETY: a siginfo is plain data, for which zeroes are valid.
    let mut signal: libc::siginfo_t = unsafe { std::mem::zeroed() };
    signal.si_signo = PARK_SIGNAL;
    signal.si_code = libc::SI_QUEUE;
    // Behind the three numbers: pid, uid and the value, at offsets 16, 20 and 24 of the structure.
    // SAFETY: the structure has 128 bytes.
    unsafe {
        let at = (&raw mut signal).cast::<u8>();
        at.add(16).cast::<u32>().write(std::process::id());
        at.add(24).cast::<usize>().write(slot);
    }
    let args = [
        std::process::id() as usize,
        tid as usize,
        PARK_SIGNAL as usize,
        &raw const signal as usize,
        0,
        0,
    ];
    // SAFETY: the kernel reads one siginfo.
    match unsafe { crate::sys::raw(libc::SYS_rt_tgsigqueueinfo, args) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("can't signal thread {tid}")),
    }
}

/// Frees the slots of threads that have ended.
fn forget_dead(parked: &[usize]) {
    let used = (info().thread_count.load(Ordering::Acquire) as usize).min(MAX_THREADS);
    for slot in (0..used).filter(|s| !parked.contains(s)) {
        let thread: &Thread = &info().threads[slot];
        thread.state.store(0, Ordering::Release);
        thread.tid.store(0, Ordering::Release);
        thread.real_tid.store(0, Ordering::Release);
    }
}
