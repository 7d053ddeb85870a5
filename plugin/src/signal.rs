//! The application's signal handlers, run on the upper half's TCB and DTV.
//!
//! The router installs `trampoline` in place of each handler and keeps the application's own action in
//! lhInfo. A signal handler: no TLS but the switch block, no allocation.

use crate::block::{self, Block};
use crate::{cancel, interrupt, park, raw, tcb, ways};
use core::ffi::c_void;
use core::ptr::addr_of;
use core::sync::atomic::{compiler_fence, Ordering};
use lh_loader::lhinfo;

type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

/// glibc's `SIGCANCEL`.
const CANCEL: i32 = 32;

/// Publishes the trampoline for the router.
pub fn init() {
    // SAFETY: lhInfo is mapped.
    let upper = unsafe { &lhinfo::get().upper };
    upper
        .signal_trampoline
        .store(trampoline as *const () as usize, Ordering::Release);
}

/// Runs the application's handler for a signal.
///
/// # Safety
/// The kernel calls it, or a handler of ours with what the kernel gave it.
#[link_section = "splitproc_trampoline"]
pub unsafe extern "C" fn trampoline(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the router recorded a function before it installed this one; if the thread is inside a
    // crossing, `fs` and `upper_dtv` are its own, and everything is put back after the handler.
    unsafe {
        let action = addr_of!((*lhinfo::ptr()).upper.actions[signal as usize][0]).read_volatile();
        if action <= libc::SIG_IGN as u64 {
            return;
        }
        let handler: Handler = core::mem::transmute(action as usize);
        translate_sender(info);
        let b = block::current();
        if b.is_null() {
            return; // born in a lower half: it takes none of the application's signals
        }
        let context: *mut libc::ucontext_t = context.cast();
        let rip = (*context).uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        // While this is not 0 the thread is not saved.
        let interrupted = u32::from(park::in_kernel_vdso(rip) || contains(rip));
        let interrupts = &raw mut (*b).interrupts;
        *interrupts += interrupted;
        let call = (*b).call;
        let state = &(*b).doing.state;
        if signal == CANCEL && (call != 0 || state.load(Ordering::Relaxed) != block::OUTSIDE) {
            *interrupts -= interrupted;
            return cancel::put_off(b);
        }
        // The thread can't be saved where it is, so it can't be either where the handler goes from here.
        let held = state.load(Ordering::Relaxed) == block::REEXECUTABLE
            && (call == 0 || ways::contains(rip));
        if held {
            state.store(block::MUST_COMPLETE, Ordering::Relaxed);
        }
        let over = || {
            if held {
                state.store(block::REEXECUTABLE, Ordering::Relaxed);
            }
            interrupt::note(context);
            if interrupted != 0 {
                let_stop_in(signal, false);
                *interrupts -= interrupted;
            }
        };
        if call == 0 {
            let_stop_in(signal, true);
            handler(signal, info, context.cast());
            return over();
        }
        let place = tcb::current();
        if place != (*b).fs {
            tcb::go((*b).fs);
        }
        // `fs:8` is the half's, or still (or again) the upper half's, for a few instructions of the crossing.
        // On a borrowed TCB's thread it is always the upper half's.
        let upper = (*b).upper_dtv;
        let found = tcb::swap_dtv(upper);
        // The half may move its DTV, as it may have since the call began, in calls that the handler makes.
        let halfs = ways::shared_place(call).as_mut().filter(|_| found != upper);
        let halfs = halfs.map(|dtv| {
            *dtv = found;
            dtv
        });
        (*b).call = 0;
        let before = generation();
        compiler_fence(Ordering::SeqCst);
        let_stop_in(signal, true);
        handler(signal, info, context.cast());
        let_stop_in(signal, false);
        compiler_fence(Ordering::SeqCst);
        if generation() != before {
            *interrupts -= interrupted;
            return call_again(b, call, context);
        }
        let now = tcb::dtv();
        (*b).upper_dtv = now;
        compiler_fence(Ordering::SeqCst);
        (*b).call = call;
        tcb::swap_dtv(halfs.map_or(now, |dtv| *dtv));
        if place != (*b).fs {
            tcb::go(place);
        }
        over();
    }
}

/// The trampoline comes in with the host's stop signal blocked, and lets it in while the handler runs. A thread that was
/// stopped in the trampoline itself, in a lower half's call, would be saved as one that has not called: the handler's frame,
/// and the mask in it, would be lost. The handler of the stop signal itself runs with it blocked, as any.
fn let_stop_in(signal: i32, on: bool) {
    if signal != raw::stop_signal() {
        raw::block_stop(!on);
    }
}

extern "C" {
    #[link_name = "__start_splitproc_trampoline"]
    static FIRST: u8;
    #[link_name = "__stop_splitproc_trampoline"]
    static END: u8;
}

/// Is this address in the trampoline? A signal that came there finds another one whose handler has not begun yet, or is over.
#[inline(always)]
fn contains(rip: usize) -> bool {
    (addr_of!(FIRST).addr()..addr_of!(END).addr()).contains(&rip)
}

/// Restarts so far.
pub fn generation() -> u32 {
    // SAFETY: lhInfo is mapped.
    let upper = unsafe { &lhinfo::get().upper };
    upper.generation.load(Ordering::Acquire)
}

/// The process was saved and restarted while the handler ran, and the half that the thread was in is gone: the
/// thread comes in at the crossing's end, as if it had not called.
unsafe fn call_again(b: *mut Block, call: usize, context: *mut libc::ucontext_t) {
    // SAFETY: the caller's block and context; a thread is saved inside a half only in a call that may be made
    // again. It is on its own TCB now.
    unsafe {
        (*b).upper_dtv = tcb::dtv();
        (*b).call = call;
        let registers = &mut (*context).uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] = ways::reentry() as i64;
        registers[libc::REG_RSP as usize] = (call - ways::SAVED) as i64;
    }
}

/// After a restart the kernel's siginfo names the process by a pid that the application does not know. libc's
/// own handlers compare it: without this a `pthread_cancel` would be taken for a stranger's signal.
unsafe fn translate_sender(info: *mut libc::siginfo_t) {
    // The kernel's siginfo on x86-64: si_signo, si_errno, si_code, a gap, si_pid.
    const PID: usize = 4;
    // SAFETY: the kernel's siginfo lies in the signal frame, which is ours until the handler returns; the codes
    // that are looked for have a pid there.
    unsafe {
        let upper = &lhinfo::get().upper;
        let real = upper.real_pid.load(Ordering::Relaxed);
        let sent = matches!(
            (*info).si_code,
            libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL
        );
        let sender = info.cast::<u32>().add(PID);
        if real != 0 && sent && *sender == real {
            *sender = upper.pid.load(Ordering::Relaxed);
        }
    }
}
