//! The crossing: calls from the upper half into a lower half, and callbacks out of one.
//!
//! *Shared FS*: the thread keeps its TCB; only the DTV pointer (`fs:8`) is the half's while it is inside.
//! *Borrowed TCB*: the thread runs with its donor's FS base; see `tcb`. Which way it is is the half's property
//! (see `adopt`), and the ways nest. Between the two switches no upper-half code runs but signal handlers, which
//! `signal` wraps.

use crate::block::{self, Block, Way};
use crate::{adopt, raw, signal, tcb, ways};
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{compiler_fence, AtomicUsize, Ordering};
use lh_loader::layout::MAX_HALVES;
use lh_loader::lhinfo;
use std::ffi::CStr;

/// The thread was saved inside this call and is now in a restarted process: every lower-half handle is
/// new, and the call has not happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarted;

/// Goes in by the thread's way, by its entry at `$entry`; `ways` tells what is in the registers.
macro_rules! go {
    ($entry:literal, $way:expr, $f:expr, $($operands:tt)*) => {
        asm!(
            concat!("call qword ptr [r11 + ", $entry, "]"),
            in("r10") $f,
            in("r11") $way,
            in("r12") block::mine(),
            $($operands)*
            clobber_abi("C"),
        )
    };
}

/// Goes in with any number of arguments. `$r13` and `$r14_r15`: registers that a restart may lose.
macro_rules! enter {
    ($way:expr, $f:expr, $args:expr, [$($r13:tt)*], [$($r14_r15:tt)*]) => {{
        let args: &[u64] = $args;
        let way: *mut Way = $way;
        let register = |i: usize| args.get(i).copied().unwrap_or(0);
        let (value, restarted): (u64, u64);
        if args.len() <= 2 {
            go!(0, way, $f,
                in("rdi") register(0),
                in("rsi") register(1),
                lateout("rdx") restarted,
                lateout("rax") value,
                $($r13)*
                $($r14_r15)*
            );
        } else if args.len() <= 6 {
            go!(0, way, $f,
                in("rdi") register(0),
                in("rsi") register(1),
                inlateout("rdx") register(2) => restarted,
                in("rcx") register(3),
                in("r8") register(4),
                in("r9") register(5),
                lateout("rax") value,
                $($r13)*
                $($r14_r15)*
            );
        } else if args.len() == 7 {
            go!(8, way, $f,
                in("rdi") args[0],
                in("rsi") args[1],
                inlateout("rdx") args[2] => restarted,
                in("rcx") args[3],
                in("r8") args[4],
                in("r9") args[5],
                inlateout("r13") args[6] => _,
                lateout("rax") value,
                $($r14_r15)*
            );
        } else {
            go!(16, way, $f,
                in("rdi") args[0],
                in("rsi") args[1],
                inlateout("rdx") args[2] => restarted,
                in("rcx") args[3],
                in("r8") args[4],
                in("r9") args[5],
                inlateout("r14") args.as_ptr().add(6) => _,
                inlateout("r15") args.len() - 6 => _,
                lateout("r13") _,
                lateout("rax") value,
            );
        }
        (value, restarted)
    }};
}

/// The calling thread's way into a half.
#[inline(always)]
fn way(half: usize) -> *mut Way {
    // SAFETY: the block is this thread's own.
    unsafe {
        let ways = &raw mut (*block::mine()).ways;
        let way = ways.cast::<Way>().add(half % MAX_HALVES);
        if (*way).entry == 0 {
            first(half);
        }
        way
    }
}

/// Calls `f` in lower half `half`. Integer and pointer arguments only.
///
/// # Errors
/// [`Restarted`], only inside a gate entered as re-executable: translate all handles and call again.
///
/// # Safety
/// `f` must be a function of that half that takes these arguments.
#[inline(always)]
pub unsafe fn cross(half: usize, f: usize, args: &[u64]) -> Result<u64, Restarted> {
    // SAFETY: the block is this thread's own, and a way's fields were set together. The caller vouches for
    // `f` and its arguments.
    let (value, restarted) = unsafe {
        enter!(way(half), f, args, [lateout("r13") _,], [lateout("r14") _, lateout("r15") _,])
    };
    if restarted == 0 {
        Ok(value)
    } else {
        Err(Restarted)
    }
}

/// [`cross`] inside a gate entered as must-complete, where no restart can come.
///
/// # Safety
/// As [`cross`], and the gate must be entered so.
#[inline(always)]
pub unsafe fn cross_must(half: usize, f: usize, args: &[u64]) -> u64 {
    // SAFETY: as in `cross`.
    unsafe { enter!(way(half), f, args, [], []) }.0
}

/// Does the thread go into the half on the shared way?
#[inline(always)]
pub fn is_shared(half: usize) -> bool {
    // SAFETY: the block is this thread's own.
    let ways = unsafe { &(*block::mine()).ways };
    ways.get(half)
        .is_some_and(|way| way.entry == ways::shared())
}

/// [`cross_must`] on the shared way, with up to three arguments of a number that only the caller knows. The entry
/// is here in place: a call less.
///
/// # Safety
/// As [`cross_must`]; [`is_shared`], and three words can be read at `args`.
#[inline(always)]
pub unsafe fn cross_shared(half: usize, f: usize, args: *const u64) -> u64 {
    let b = block::mine();
    let value: u64;
    // SAFETY: as in `cross`. The words are read in the assembly, for the last of them may never have been written.
    unsafe {
        asm!(
            "push rbp",
            "mov rbp, rsp",
            "sub rsp, 24", // 16-byte aligned
            "mov [rbp - 16], r11", // where `shared_place` looks
            ways::shared_in!("rcx", "r11 + {place}", "rbp"),
            "mov [rbp - 24], rcx",
            "mov rdi, [rdx]",
            "mov rsi, [rdx + 8]",
            "mov rdx, [rdx + 16]",
            "xor eax, eax",
            "call r10",
            "mov rdx, fs:[8]",
            "cmp rdx, [rbp - 24]",
            "jne 7f",
            ways::shared_out!(),
            "mov qword ptr [r12 + {call}], 0",
            "add rsp, 24",
            "pop rbp",
            ".pushsection .text.splitproc_rare,\"ax\",@progbits",
            ways::shared_rare!(),
            "7:",
            "mov rcx, [rbp - 16]",
            "mov [rcx + {place}], rdx",
            "jmp 6b",
            ".popsection",
            place = const offset_of!(Way, place),
            call = const offset_of!(Block, call),
            upper_dtv = const offset_of!(Block, upper_dtv),
            in("r10") f,
            in("r11") (&raw mut (*b).ways).cast::<Way>().add(half),
            in("r12") b,
            in("rdx") args,
            lateout("rax") value,
            clobber_abi("C"),
        );
    }
    value
}

/// The thread's first crossing into this half.
#[cold]
#[inline(never)]
fn first(half: usize) {
    adopt::adopt(half);
}

/// Runs `body` as the upper half, on a thread that a lower half has called back.
///
/// On a thread that is not inside a crossing this is a plain call.
pub fn upper<R>(body: impl FnOnce() -> R) -> R {
    let b = block::current();
    if b.is_null() {
        lh_loader::die!(
            70,
            "a lower half called the program back on a thread of its own, which is not supported"
        );
    }
    // SAFETY: the block is this thread's own. Each crossing made by `body` leaves the fields as it found them,
    // but for the DTVs themselves, which are read back.
    unsafe {
        let call = (*b).call;
        if call == 0 {
            return body();
        }
        let tcb = tcb::current();
        let place = ways::shared_place(call);
        let upper = &raw mut (*b).upper_dtv;
        match place.as_mut() {
            None => tcb::go((*b).fs),
            Some(dtv) => {
                *dtv = tcb::dtv();
                // A handler that has just come may have moved the DTV.
                while tcb::dtv() != upper.read_volatile() {
                    tcb::swap_dtv(upper.read_volatile());
                }
            }
        }
        compiler_fence(Ordering::SeqCst);
        (&raw mut (*b).call).write_volatile(0);
        let before = signal::generation();
        let result = outlined(body);
        loop {
            upper.write_volatile(tcb::dtv());
            (&raw mut (*b).call).write_volatile(call);
            compiler_fence(Ordering::SeqCst);
            if tcb::dtv() == upper.read_volatile() {
                break;
            }
            (&raw mut (*b).call).write_volatile(0);
        }
        if signal::generation() != before {
            // What has called us is gone, and nobody takes the result.
            ways::reenter(call);
        }
        match place.as_mut() {
            None => tcb::go(tcb),
            Some(dtv) => {
                tcb::swap_dtv(*dtv);
            }
        }
        result
    }
}

/// A function of its own: what it computes from FS is not computed before FS has changed.
#[inline(never)]
fn outlined<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// The index of the MPI lower half; `usize::MAX` if there is none.
pub fn mpi_half() -> usize {
    static INDEX: AtomicUsize = AtomicUsize::new(usize::MAX);
    let known = INDEX.load(Ordering::Relaxed);
    if known != usize::MAX || !raw::present() {
        return known;
    }
    // SAFETY: lhInfo is present; names are set before the upper half starts.
    let info = unsafe { lhinfo::get() };
    let found = (0..info.half_count as usize).find(|&i| info.halves[i].name.starts_with(b"mpi\0"));
    INDEX.store(found.unwrap_or(usize::MAX), Ordering::Relaxed);
    found.unwrap_or(usize::MAX)
}

/// The index of the lower half of a name, if there is one.
pub fn half_named(name: &[u8]) -> Option<usize> {
    if !raw::present() {
        return None;
    }
    // SAFETY: lhInfo is present; names are set before the upper half starts.
    let info = unsafe { lhinfo::get() };
    let same = |i: &usize| {
        let theirs = &info.halves[*i].name;
        theirs.starts_with(name) && theirs.get(name.len()) == Some(&0)
    };
    (0..info.half_count as usize).find(same)
}

/// Looks a function of a lower half up; 0 if it has none of this name.
pub fn sym(half: usize, name: &CStr) -> usize {
    // SAFETY: the half is ready; its entry takes a C string.
    unsafe {
        let f = lhinfo::get().halves[half].dlsym;
        cross(half, f, &[name.as_ptr() as u64]).map_or(0, |p| p as usize)
    }
}
