//! What a program calls to use lower halves of its own (`--half NAME=LIBRARY`): see `include/splitproc.h`.
//!
//! All of it runs as the upper half. A program that was not started by splitproc finds no half.

use crate::block::ORDINARY;
use crate::gate::{self, Call, Inside};
use crate::service::{self, Function};
use crate::{adopt, crossing, raw};
use core::cell::Cell;
use core::ffi::{c_char, c_int, c_long, c_uint, c_void};
use core::mem::ManuallyDrop;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};
use lh_loader::layout::PAGE;
use lh_loader::lhinfo;
use std::ffi::CStr;

/// Most functions that lower halves can be given at one time.
const CALLBACKS: usize = 64;

/// Brackets (`splitproc_enter`) that a thread is in, and what the outermost one holds.
type Brackets = (u32, Option<ManuallyDrop<Inside>>);

thread_local! {
    /// Without a destructor: a thread that ends may still call.
    static BRACKETS: Cell<Brackets> = const { Cell::new((0, None)) };
}

/// The index of the lower half `name`; -1: there is none.
///
/// # Safety
/// `name` must be a C string.
#[no_mangle]
pub unsafe extern "C" fn splitproc_half(name: *const c_char) -> c_int {
    if !raw::present() || name.is_null() {
        return -1;
    }
    // SAFETY: as the caller says; lhInfo is present, and names do not change while the program runs.
    let (name, info) = unsafe { (CStr::from_ptr(name).to_bytes(), lhinfo::get()) };
    let same = |i: &usize| {
        let theirs = &info.halves[*i].name;
        name.len() < theirs.len() && theirs.starts_with(name) && theirs[name.len()] == 0
    };
    let count = info.half_count as usize;
    // Half 0 is the host, which is never entered.
    (1..count).find(same).map_or(-1, |i| i as c_int)
}

/// Restarts so far.
#[no_mangle]
pub extern "C" fn splitproc_generation() -> c_uint {
    if !raw::present() {
        return 0;
    }
    // SAFETY: lhInfo is present.
    unsafe { lhinfo::get() }
        .upper
        .generation
        .load(Ordering::Acquire)
}

/// Keeps checkpoints away until [`splitproc_leave`]; gives the generation, which is fixed until then.
#[no_mangle]
pub extern "C" fn splitproc_enter() -> c_uint {
    if raw::present() {
        let inside = ManuallyDrop::new(gate::enter(Call::MustComplete));
        BRACKETS.set(match BRACKETS.take() {
            (0, _) => (1, Some(inside)),
            (n, outermost) => (n + 1, outermost),
        });
    }
    splitproc_generation()
}

/// Ends the thread's last [`splitproc_enter`].
#[no_mangle]
pub extern "C" fn splitproc_leave() {
    match BRACKETS.take() {
        (0 | 1, outermost) => drop(outermost.map(ManuallyDrop::into_inner)),
        (n, outermost) => BRACKETS.set((n - 1, outermost)),
    }
}

/// The address of a symbol in a lower half, good until the next restart; null: it has none.
///
/// # Safety
/// `symbol` must be a C string.
#[no_mangle]
pub unsafe extern "C" fn splitproc_symbol(half: c_int, symbol: *const c_char) -> *mut c_void {
    adopt::check(half as usize);
    let _inside = gate::enter(Call::MustComplete);
    // SAFETY: as the caller says.
    crossing::sym(half as usize, unsafe { CStr::from_ptr(symbol) }) as *mut c_void
}

/// The call's arguments.
///
/// # Safety
/// `args` must be the address of `count` words (or anything, for none), which stay while they are used.
unsafe fn arguments<'a>(count: c_int, args: *const c_long) -> &'a [u64] {
    match usize::try_from(count) {
        Ok(0) | Err(_) => &[],
        // SAFETY: as the caller says.
        Ok(n) => unsafe { core::slice::from_raw_parts(args.cast(), n) },
    }
}

/// What a call without arguments passes.
static NOTHING: [c_long; 3] = [0; 3];

/// Calls a lower half's function with integers and pointers. A checkpoint waits for its end.
///
/// # Safety
/// `function` must be one of the half as it is now, which takes these arguments.
#[no_mangle]
pub unsafe extern "C" fn splitproc_call(
    half: c_int,
    function: *mut c_void,
    count: c_int,
    args: *const c_long,
) -> c_long {
    // SAFETY: as the caller says. Three words can be read where they lie in the page of the first one.
    unsafe {
        let half = half as usize;
        let args = if count == 0 { NOTHING.as_ptr() } else { args };
        let few = count as u32 <= 3 && args as usize % PAGE <= PAGE - 3 * 8;
        if few && gate::enter_quickly::<ORDINARY, 0>() {
            // Asked inside: before that there can have been a restart.
            if crossing::is_shared(half) {
                let value = crossing::cross_shared(half, function as usize, args.cast());
                return gate::leave(value) as c_long;
            }
            gate::leave(());
        }
        call(half, function as usize, count, args)
    }
}

/// `splitproc_call`, whatever the arguments and the thread's state.
///
/// # Safety
/// As `splitproc_call`.
#[cold]
#[inline(never)]
unsafe fn call(half: usize, function: usize, count: c_int, args: *const c_long) -> c_long {
    // SAFETY: as the caller says.
    unsafe {
        let words = arguments(count, args);
        let _inside = gate::enter(Call::MustComplete);
        crossing::cross_must(half, function, words) as c_long
    }
}

/// Calls a function that a checkpoint need not wait for: it must have no effect until it returns.
///
/// 0: done, `result` is stored. 1: the halves are not those of `generation` any more, and the call has not
/// happened (again): look all symbols up and call again.
///
/// # Safety
/// `function` must be one of the half in `generation`; `result` null or a place for it.
#[no_mangle]
pub unsafe extern "C" fn splitproc_try(
    generation: c_uint,
    half: c_int,
    function: *mut c_void,
    count: c_int,
    args: *const c_long,
    result: *mut c_long,
) -> c_int {
    // SAFETY: as the caller says.
    unsafe {
        let words = arguments(count, args);
        // While the thread looks at the generation a checkpoint has to wait for it.
        let inside = gate::enter(Call::MustComplete);
        if splitproc_generation() != generation {
            return 1;
        }
        inside.set(Call::Reexecutable);
        match crossing::cross(half as usize, function as usize, words) {
            Err(crossing::Restarted) => 1,
            Ok(value) => {
                if !result.is_null() {
                    *result = value as c_long;
                }
                0
            }
        }
    }
}

static FUNCTIONS: [AtomicUsize; CALLBACKS] = [const { AtomicUsize::new(0) }; CALLBACKS];

/// What a lower half calls for the function in `SLOT`.
unsafe extern "C" fn callback<const SLOT: usize>(
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
) -> u64 {
    // SAFETY: the program says that its function takes what the lower half passes; words that the lower half
    // did not pass are whatever its registers held, and the function does not look at them.
    unsafe {
        let function =
            core::mem::transmute::<usize, Function>(FUNCTIONS[SLOT].load(Ordering::Relaxed));
        service::upper(function, [a, b, c, d, e, f])
    }
}

macro_rules! pool {
    ($($n:literal)*) => { [$(callback::<$n>),*] };
}
static POOL: [Function; CALLBACKS] = pool!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
);

/// A pointer that a lower half may be given to call `function` of the program: up to six integers or
/// pointers, an integer, pointer or nothing back. Good for ever, also after restarts. Null: there are 64 already.
#[no_mangle]
pub extern "C" fn splitproc_callback(function: *mut c_void) -> *mut c_void {
    let wanted = function as usize;
    if raw::present() {
        service::start();
    }
    for (slot, thunk) in FUNCTIONS.iter().zip(POOL) {
        let free = slot.compare_exchange(0, wanted, Ordering::AcqRel, Ordering::Acquire);
        if free.is_ok() || free == Err(wanted) {
            return thunk as *mut c_void;
        }
    }
    null_mut()
}
