//! Upper-half functions that lower halves call.
//!
//! A thread of the program that is inside a lower half is switched back for the call. A thread that was *born*
//! in a lower half has no upper-half TLS: what it calls is run by an upper-half service thread. Code that
//! runs on it (`post`) uses no TLS, no libc and no heap.

use crate::{block, crossing, helper, raw};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};
use lh_loader::lhinfo;
use std::sync::Once;

/// A function of the program: up to six words, one back.
pub type Function = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;

/// States of a request.
const FREE: u32 = 0;
const FILLING: u32 = 1;
const POSTED: u32 = 2;
const RUNNING: u32 = 3;
const DONE: u32 = 4;

/// A call that a thread born in a lower half waits for.
struct Request {
    state: AtomicU32,
    /// Restarts so far when it was posted: after one more nobody waits for it.
    generation: AtomicU32,
    /// Written by whoever the state says owns it.
    call: UnsafeCell<Call>,
}

#[derive(Clone, Copy)]
struct Call {
    function: Option<Function>,
    words: [u64; 6],
    result: u64,
}

// SAFETY: the state says which one thread uses `call`.
unsafe impl Sync for Request {}

static REQUESTS: [Request; 16] = [const {
    Request {
        state: AtomicU32::new(FREE),
        generation: AtomicU32::new(0),
        call: UnsafeCell::new(Call {
            function: None,
            words: [0; 6],
            result: 0,
        }),
    }
}; 16];

/// Counts posts; the service thread sleeps on it.
static POSTS: AtomicU32 = AtomicU32::new(0);

/// Calls `function` as the upper half, whatever thread this is.
///
/// # Safety
/// `function` must take these words.
pub unsafe fn upper(function: Function, words: [u64; 6]) -> u64 {
    if block::current().is_null() {
        return post(function, words);
    }
    // SAFETY: as the caller says.
    crossing::upper(|| unsafe { call(function, words) })
}

unsafe fn call(function: Function, w: [u64; 6]) -> u64 {
    // SAFETY: as the caller says.
    unsafe { function(w[0], w[1], w[2], w[3], w[4], w[5]) }
}

fn generation() -> u32 {
    // SAFETY: lhInfo is mapped: a lower half is calling.
    let info = unsafe { lhinfo::get() };
    info.upper.generation.load(Ordering::Acquire)
}

/// Hands a call to the service thread and waits for its result.
fn post(function: Function, words: [u64; 6]) -> u64 {
    let take = |r: &&Request| {
        let state = &r.state;
        state
            .compare_exchange(FREE, FILLING, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    let request = loop {
        match REQUESTS.iter().find(take) {
            Some(request) => break request,
            // SAFETY: sched_yield has no memory arguments.
            None => unsafe { raw::syscall(libc::SYS_sched_yield, [0; 6]) },
        };
    };
    // SAFETY: FILLING makes the request this thread's, DONE makes it that again.
    unsafe {
        (*request.call.get()).function = Some(function);
        (*request.call.get()).words = words;
        request.generation.store(generation(), Ordering::Relaxed);
        request.state.store(POSTED, Ordering::Release);
        POSTS.fetch_add(1, Ordering::Release);
        raw::futex_wake(&POSTS);
        loop {
            match request.state.load(Ordering::Acquire) {
                DONE => break,
                state => raw::futex_wait(&request.state, state, None),
            };
        }
        let result = (*request.call.get()).result;
        request.state.store(FREE, Ordering::Release);
        result
    }
}

/// Starts the service thread, once.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let name = "splitproc-call".into();
        helper::own_thread(std::thread::Builder::new().name(name), serve);
    });
}

fn serve() {
    raw::take_only_own_signals(0);
    // A thread that is inside a call may be waiting for one of these: the gate must not hold them.
    // SAFETY: the block is this thread's own.
    unsafe { (*block::mine()).exempt = 1 };
    loop {
        let seen = POSTS.load(Ordering::Acquire);
        for request in &REQUESTS {
            let state = &request.state;
            if state
                .compare_exchange(POSTED, RUNNING, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            // SAFETY: RUNNING makes the request this thread's.
            let wanted = unsafe { *request.call.get() };
            if let Some(function) = wanted.function {
                // SAFETY: whoever posted it vouches for the function and its words.
                unsafe { (*request.call.get()).result = call(function, wanted.words) };
            }
            let waits = request.generation.load(Ordering::Relaxed) == generation();
            state.store(if waits { DONE } else { FREE }, Ordering::Release);
            raw::futex_wake(state);
        }
        raw::futex_wait(&POSTS, seen, None);
    }
}

/// After a restart: the threads that waited were the old halves'.
pub fn forget() {
    for request in &REQUESTS {
        if request.state.load(Ordering::Acquire) != RUNNING {
            request.state.store(FREE, Ordering::Release);
        }
    }
}
