//! The helper: an upper-half thread that serves the host's events.
//!
//! It is saved and restored like any other thread of the upper half; between events it waits on a futex.

use crate::{adopt, block, cuda, gate, mpi, raw, registry, service, symbols, trigger};
use core::sync::atomic::{AtomicU32, Ordering};
use lh_loader::lhinfo;
use std::time::{Duration, Instant};

/// A checkpoint is wanted: when this succeeds the threads may be stopped. The host says how many seconds a device is waited for.
pub const PRESUSPEND: u32 = 1;
/// The checkpoint is done or given up.
pub const RESUME: u32 = 2;
/// The process was restarted, with fresh lower halves.
pub const RESTART: u32 = 3;

/// How long calls that must complete are waited for where there is no MPI.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a checkpoint waits for a moment in which no CUDA stream is captured.
const CAPTURES: Duration = Duration::from_secs(5);

/// Starts the thread.
pub fn start() {
    let name = "splitproc".into();
    own_thread(
        std::thread::Builder::new().name(name).stack_size(1 << 20),
        serve,
    );
}

/// Starts a thread of ours in the upper half, which the application does not notice: its signals never reach it, and
/// libc does not count it. libc ends the process with the last thread that it knows, once the main one has left.
pub fn own_thread(builder: std::thread::Builder, run: fn()) {
    let mask = raw::block_signals();
    let made = builder.spawn(run);
    raw::restore_signals(mask);
    match made {
        Err(e) => lh_loader::die!(70, "a thread of splitproc's can't be made: {e}"),
        Ok(_) => {
            if let Some(count) = symbols::find(c"__nptl_nthreads") {
                // SAFETY: libc's number of threads, an `unsigned int` that it changes atomically (since glibc 2.34
                // in libc.so, where debuggers find it too). The calling thread is counted, so that it stays above 0.
                unsafe { AtomicU32::from_ptr(count as *mut u32) }.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn serve() {
    // SAFETY: the block is this thread's own; lhInfo is mapped.
    let mail = unsafe {
        (*block::mine()).exempt = 1;
        let tid = raw::syscall(libc::SYS_gettid, [0; 6]) as u32;
        lhinfo::get().upper.helper_tid.store(tid, Ordering::Release);
        raw::take_only_own_signals(trigger::init());
        &raw mut (*lhinfo::ptr()).events
    };
    registry::register();
    let mut reply: String;
    loop {
        // SAFETY: the host fills the mailbox before it sets the state to 1 and reads the reply after 2.
        unsafe {
            let state = &(*mail).state;
            loop {
                let seen = state.load(Ordering::Acquire);
                if seen == 1 {
                    break;
                }
                // Of what was seen: an event that comes in between must not be waited for.
                raw::futex_wait(state, seen, None);
            }
            if (*mail).op == RESTART {
                raw::take_only_own_signals(trigger::init());
            }
            if (*mail).op == PRESUSPEND && (*mail).len == 8 {
                let seconds = ((*mail).arg as *const u64).read_unaligned();
                cuda::wait_at_most(seconds);
                mpi::wait_at_most(seconds);
            }
            let result = event((*mail).op);
            (*mail).result = if result.is_ok() {
                0
            } else {
                i64::from(libc::EBUSY)
            };
            reply = result.unwrap_or_else(|why| why);
            (*mail).out = reply.as_ptr() as usize;
            (*mail).out_len = reply.len();
            state.store(2, Ordering::Release);
            raw::futex_wake(state);
        }
    }
}

/// Does what the host's event asks for, on a thread that the gate does not hold. A cut's reply is what
/// `splitproc inspect` shows of MPI, or nothing.
///
/// # Errors
/// A checkpoint can't be taken now, or a restart can't go on: why.
pub fn event(op: u32) -> Result<String, String> {
    let done = Ok(String::new());
    match op {
        PRESUSPEND => {
            let said = if mpi::active() {
                cuda::wait_for_captures(CAPTURES);
                mpi::presuspend()?;
                mpi::describe()
            } else {
                close_between_captures()?;
                String::new()
            };
            if let Err(why) = cuda::presuspend() {
                mpi::end_cut();
                return Err(why);
            }
            Ok(said)
        }
        RESUME => {
            if cuda::active() {
                cuda::resume();
            }
            if mpi::active() {
                mpi::end_cut();
            }
            gate::open();
            done
        }
        RESTART => {
            gate::init();
            registry::forget_adoptions();
            adopt::choose();
            service::forget();
            cuda::restart()?;
            if mpi::active() {
                mpi::restart()?;
            }
            gate::open();
            done
        }
        other => Err(format!("unknown event {other}")),
    }
}

/// Closes the gate while no CUDA stream is captured, if such a moment comes.
fn close_between_captures() -> Result<(), String> {
    let start = Instant::now();
    loop {
        cuda::wait_for_captures(CAPTURES.saturating_sub(start.elapsed()));
        close()?;
        if cuda::open_captures() == 0 || start.elapsed() > CAPTURES {
            return Ok(());
        }
        gate::open();
    }
}

/// Closes the gate, where there is no MPI, and waits for calls that must complete.
fn close() -> Result<(), String> {
    gate::close();
    let start = Instant::now();
    loop {
        // SAFETY: the block's thread can't end meanwhile.
        let Some(note) = gate::busy(|b| unsafe { (*b).function.load(Ordering::Relaxed) }) else {
            return Ok(());
        };
        if start.elapsed() > PATIENCE {
            return Err(match cuda::noted(note) {
                Some(name) => format!("a thread is inside {name}, which must complete"),
                None => "a thread is inside a lower half's function that must complete".into(),
            });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
