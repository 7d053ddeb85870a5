//! The application's signal handlers, run under the upper half's DTV.
//!
//! The router installs `trampoline` in place of each handler and keeps the application's own action in
//! lhInfo. A signal handler: no TLS but the switch block, no allocation.

use crate::{block, crossing, interrupt};
use core::ffi::c_void;
use core::ptr::addr_of;
use core::sync::atomic::Ordering;
use lh_loader::lhinfo;

type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

/// Publishes the trampoline for the router.
pub fn init() {
    // SAFETY: lhInfo is mapped.
    let upper = unsafe { &lhinfo::get().upper };
    upper
        .signal_trampoline
        .store(trampoline as *const () as usize, Ordering::Release);
}

unsafe extern "C" fn trampoline(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the router recorded a function before it installed this one; if the thread is inside a
    // crossing, `upper_dtv` is its own DTV, and everything is put back after the handler.
    unsafe {
        let action = addr_of!((*lhinfo::ptr()).upper.actions[signal as usize][0]).read_volatile();
        if action <= libc::SIG_IGN as u64 {
            return;
        }
        let handler: Handler = core::mem::transmute(action as usize);
        translate_sender(info);
        let b = block::mine();
        let call = (*b).call;
        if call == 0 {
            handler(signal, info, context);
            return interrupt::note(context.cast());
        }
        // `fs:8` is the half's, or still (or again) the upper half's, for a few instructions of the crossing.
        let upper = (*b).upper_dtv;
        let found = crossing::dtv_swap(upper);
        (*b).call = 0;
        let before = generation();
        handler(signal, info, context);
        (*b).call = call;
        if generation() != before {
            return call_again(b, context.cast());
        }
        let now = crossing::dtv_swap(found);
        (*b).upper_dtv = now;
        if found == upper {
            crossing::dtv_swap(now);
        }
        interrupt::note(context.cast());
    }
}

/// Restarts so far.
fn generation() -> u32 {
    // SAFETY: lhInfo is mapped.
    let upper = unsafe { &lhinfo::get().upper };
    upper.generation.load(Ordering::Acquire)
}

/// The process was saved and restarted while the handler ran, and the half that the thread was in is gone: the
/// thread comes in at the crossing's end, as if it had not called.
unsafe fn call_again(b: *mut block::Block, context: *mut libc::ucontext_t) {
    // SAFETY: the caller's block and context; a thread is saved inside a half only in a call that may be made
    // again. Its DTV is the upper half's own now.
    unsafe {
        let own = crossing::dtv_swap((*b).upper_dtv);
        crossing::dtv_swap(own);
        (*b).upper_dtv = own;
        let registers = &mut (*context).uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] = crossing::reentry() as i64;
        registers[libc::REG_RSP as usize] = ((*b).call - crossing::SAVED) as i64;
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
