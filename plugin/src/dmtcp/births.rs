//! Processes that are made while a checkpoint is wanted.
//!
//! DMTCP forks and executes under a lock of its own that keeps a checkpoint out, and asks its coordinator for the
//! child's place. Around a checkpoint three things go wrong in that, for an instant where there is no plugin, and for
//! as long as a cut takes where there is one:
//! - until the threads are stopped DMTCP is in a state (`PRESUSPEND`) in which its coordinator has no answer for a
//!   fork, which waits for one for ever, and in which a program that is executed is lost to DMTCP;
//! - a thread that is stopped while it waits for the lock keeps DMTCP's own thread from it, for ever;
//! - a fork that comes before all processes have gone on after a checkpoint is refused, which ends the process.
//!
//! DMTCP's library calls the two functions behind this by names that a library before it may take: here the
//! state is shown as `RUNNING`, which it is for the program's threads, and threads wait before the lock.

use super::door::{pause, Door};
use crate::symbols;
use core::ffi::c_int;
use dmtcp_glue::abi;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

type State = unsafe extern "C" fn() -> u32;
type Lock = unsafe extern "C" fn();
type Status = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;

/// DMTCP has asked for its state here.
static SEEN: AtomicBool = AtomicBool::new(false);
/// DMTCP's functions; 0 as long as they are not known.
static STATE: AtomicUsize = AtomicUsize::new(0);
static LOCK: AtomicUsize = AtomicUsize::new(0);
static STATUS: AtomicUsize = AtomicUsize::new(0);

/// The program has been told that it is not so.
static TOLD: AtomicBool = AtomicBool::new(false);
/// Through which the program's threads go to wait for the lock.
static DOOR: Door = Door::new();
/// How often the coordinator is to be asked whether all processes run, before it is taken for granted.
static QUESTIONS: AtomicU32 = AtomicU32::new(0);
/// For 10 seconds.
const MOST_QUESTIONS: u32 = 10_000;

thread_local! {
    /// DMTCP's own thread, and who asks the coordinator.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

/// Looks DMTCP's functions up: they are called for every allocation.
pub fn init() {
    let next = |name| symbols::next(name).unwrap_or(0);
    STATE.store(next(abi::CURRENT_STATE), Ordering::Relaxed);
    STATUS.store(next(abi::STATUS), Ordering::Relaxed);
    LOCK.store(next(abi::LOCK_EXCLUSIVE), Ordering::Relaxed);
}

/// The program forks: it is told, once, where the two functions can't be taken over.
pub fn prepare() {
    let missing = LOCK.load(Ordering::Relaxed) == 0 || !SEEN.load(Ordering::Relaxed);
    if missing && !TOLD.swap(true, Ordering::Relaxed) {
        eprintln!(
            "splitproc: this DMTCP does not let a plugin see its forks (its libdmtcp.so is another than 4.2's and 5.0's, or was \
             built with -Bsymbolic): a checkpoint that meets one may hang, or end the program, as with DMTCP alone"
        );
    }
}

/// DMTCP's thread is about to stop the others: nobody waits for the lock any more when this returns.
pub fn close() {
    EXEMPT.set(true);
    DOOR.shut();
    while !DOOR.is_empty() {
        pause();
    }
}

/// The checkpoint or the restart is done in this process, but perhaps not yet in the others.
pub fn open() {
    QUESTIONS.store(MOST_QUESTIONS, Ordering::Relaxed);
    DOOR.open();
}

/// In a forked child no other thread is there.
pub fn forked() {
    DOOR.forked(false);
}

/// Do all processes run again, as far as can be told?
fn all_run() -> bool {
    let questions = QUESTIONS.load(Ordering::Relaxed);
    if questions == 0 {
        return true;
    }
    let left = if ask() { 0 } else { questions - 1 };
    QUESTIONS.store(left, Ordering::Relaxed);
    left == 0
}

/// Asks the coordinator whether all processes run.
fn ask() -> bool {
    let status = STATUS.load(Ordering::Relaxed);
    if status == 0 {
        return true;
    }
    let (mut peers, mut running) = (0, 0);
    EXEMPT.set(true);
    // SAFETY: DMTCP's function has this type.
    unsafe { core::mem::transmute::<usize, Status>(status)(&mut peers, &mut running) };
    EXEMPT.set(false);
    running != 0
}

/// `dmtcp::WorkerState::currentState`.
///
/// # Safety
/// As DMTCP's.
#[export_name = "_ZN5dmtcp11WorkerState12currentStateEv"]
pub unsafe extern "C" fn current_state() -> u32 {
    SEEN.store(true, Ordering::Relaxed);
    let next = STATE.load(Ordering::Relaxed);
    if next == 0 {
        return abi::STATE_UNKNOWN;
    }
    // SAFETY: DMTCP's function has this type.
    match unsafe { core::mem::transmute::<usize, State>(next)() } {
        abi::STATE_PRESUSPEND => abi::STATE_RUNNING,
        other => other,
    }
}

/// `dmtcp::ThreadSync::wrapperExecutionLockLockExcl`: forks, executions and what else keeps a checkpoint out.
///
/// # Safety
/// As DMTCP's.
#[export_name = "_ZN5dmtcp10ThreadSync28wrapperExecutionLockLockExclEv"]
pub unsafe extern "C" fn lock_exclusive() {
    let next = LOCK.load(Ordering::Relaxed);
    if next == 0 {
        return;
    }
    let counted = !EXEMPT.get();
    if counted {
        DOOR.go_in(all_run);
    }
    // SAFETY: DMTCP's function has this type.
    unsafe { core::mem::transmute::<usize, Lock>(next)() };
    if counted {
        DOOR.go_out();
    }
}
