//! The park handler: where an upper-half thread waits while the process is saved.
//!
//! A signal handler: no TLS but the switch block, no allocation, no libc. It may come in on a borrowed TCB, which
//! it leaves in place: what it notes is the thread's own FS base. The kernel's frame on the thread's
//! stack already holds every register and the mask; the handler notes where it is and what else the
//! kernel keeps for the thread. After a restart nothing comes back here: the thread leaves through that frame.

use crate::block::{self, OUTSIDE, REEXECUTABLE};
use crate::{interrupt, raw, tcb, ways};
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::{AtomicUsize, Ordering};
use lh_loader::lhinfo::{self, Thread, MAX_THREADS, PARK_SIGNAL};

/// `PR_GET_TID_ADDRESS`: where the kernel clears the tid at the thread's end.
const PR_GET_TID_ADDRESS: usize = 40;
/// `ARCH_GET_GS`.
const ARCH_GET_GS: usize = 0x1004;

/// Offset of glibc's rseq area from FS and its size; 0 size: glibc registers none.
static RSEQ: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Thread states in `lhinfo::Thread::state`.
const ASKED: u32 = 1;
const PARKED: u32 = 2;

/// Installs the handler and publishes it, as `[handler, flags, restorer, mask]`, for a restart.
pub fn init() {
    // SAFETY: symbols of glibc ≥ 2.35; null where they are missing.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
        if !offset.is_null() && !size.is_null() && *size != 0 {
            RSEQ[0].store(*offset as usize, Ordering::Relaxed);
            // glibc registers the original structure's 32 bytes, or more on newer kernels.
            RSEQ[1].store((*size).max(32) as usize, Ordering::Relaxed);
        }
    }
    let action = raw::action(handler as *const () as usize);
    // SAFETY: lhInfo is mapped; the kernel reads 32 bytes of `action`.
    unsafe {
        (*lhinfo::ptr()).upper.actions[PARK_SIGNAL as usize] = action;
        lhinfo::get()
            .upper
            .park_handler
            .store(handler as *const () as usize, Ordering::Release);
        let at = action.as_ptr() as usize;
        raw::syscall(
            libc::SYS_rt_sigaction,
            [PARK_SIGNAL as usize, at, 0, 8, 0, 0],
        );
    }
}

unsafe extern "C" fn handler(
    _signal: i32,
    info: *const libc::siginfo_t,
    context: *mut libc::ucontext_t,
) {
    // SAFETY: the kernel passes valid structures; the host owns the slot named in the signal's value until
    // it reads `PARKED`, and lhInfo is mapped.
    unsafe {
        let slot = (*info).si_value().sival_ptr as usize;
        if slot >= MAX_THREADS {
            return;
        }
        let thread: *mut Thread = addr_of_mut!((*lhinfo::ptr()).threads[slot]);
        if (*thread).state.load(Ordering::Acquire) != ASKED {
            return;
        }
        describe(thread, context);
        interrupt::mend(context);
        (*thread).state.store(PARKED, Ordering::Release);
        raw::futex_wake(&(*thread).state);
        let release = &*addr_of!((*lhinfo::ptr()).upper.release);
        while release.load(Ordering::Acquire) == 0 {
            if (*thread).state.load(Ordering::Acquire) == lhinfo::DRAIN {
                drain();
                (*thread).state.store(PARKED, Ordering::Release);
            }
            raw::futex_wait(release, 0, None);
        }
    }
}

/// Gives the host the signals that are pending for this thread: only the thread itself can see them whole.
unsafe fn drain() {
    const SIGINFO: usize = 128;
    // SAFETY: the host has put room for so many there, and waits.
    unsafe {
        let upper = &lhinfo::get().upper;
        let to = upper.drain.load(Ordering::Acquire);
        let (all, no_time) = (!0_u64, [0_usize; 2]);
        let mut count = 0;
        while count < lhinfo::DRAIN_MOST {
            let args = [
                &raw const all as usize,
                to + count * SIGINFO,
                no_time.as_ptr() as usize,
                8,
                0,
                0,
            ];
            if raw::syscall(libc::SYS_rt_sigtimedwait, args) < 0 {
                break;
            }
            count += 1;
        }
        upper.drained.store(count as u32, Ordering::Release);
    }
}

/// Fills the thread's slot.
unsafe fn describe(thread: *mut Thread, context: *mut libc::ucontext_t) {
    // SAFETY: as in `handler`; the calls write to the places named.
    unsafe {
        let b = block::current();
        let fs = match (*b).fs {
            0 => tcb::current(), // not in the registry, so never on another TCB
            own => own,
        };
        (*thread).frame = context as usize;
        (*thread).fs = fs;
        let gs = addr_of_mut!((*thread).gs) as usize;
        raw::syscall(libc::SYS_arch_prctl, [ARCH_GET_GS, gs, 0, 0, 0, 0]);
        let tid = addr_of_mut!((*thread).clear_tid) as usize;
        raw::syscall(libc::SYS_prctl, [PR_GET_TID_ADDRESS, tid, 0, 0, 0, 0]);
        let head = addr_of_mut!((*thread).robust[0]) as usize;
        let len = addr_of_mut!((*thread).robust[1]) as usize;
        raw::syscall(libc::SYS_get_robust_list, [0, head, len, 0, 0, 0]);
        let name = addr_of_mut!((*thread).name) as usize;
        raw::syscall(
            libc::SYS_prctl,
            [libc::PR_GET_NAME as usize, name, 0, 0, 0, 0],
        );
        let prctl =
            |what: i32, at: usize| raw::syscall(libc::SYS_prctl, [what as usize, at, 0, 0, 0, 0]);
        prctl(
            libc::PR_GET_PDEATHSIG,
            addr_of_mut!((*thread).settings[0]) as usize,
        );
        (*thread).settings[1] = prctl(libc::PR_GET_NO_NEW_PRIVS, 0).max(0) as u32;
        (*thread).slack = prctl(libc::PR_GET_TIMERSLACK, 0).max(0) as usize;
        (*thread).rseq = rseq(fs);

        let rip = (*context).uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        let state = (*b).doing.state.load(Ordering::SeqCst);
        let call = (*b).call;
        (*thread).in_call = match (state, call) {
            _ if in_kernel_vdso(rip) || (*b).interrupts != 0 => 2,
            (OUTSIDE, 0) => 0,
            (REEXECUTABLE, c) if c != 0 && !ways::contains(rip) => 1,
            _ => 2,
        };
        (*thread).reentry = [ways::reentry(), call.wrapping_sub(ways::SAVED)];
    }
}

/// The thread's registered rseq area and its length, or zeros.
///
/// A thread that has just been born has none yet, and its libc ends the program if another has registered one
/// for it. What the area holds says nothing: the stack may be one of an ended thread. So the kernel is asked.
unsafe fn rseq(fs: usize) -> [usize; 2] {
    /// `RSEQ_FLAG_UNREGISTER`.
    const UNREGISTER: usize = 1;
    let size = RSEQ[1].load(Ordering::Relaxed);
    if size == 0 {
        return [0, 0];
    }
    let area = fs.wrapping_add(RSEQ[0].load(Ordering::Relaxed));
    let call = |flags| {
        let args = [area, size, flags, lhinfo::RSEQ_SIGNATURE, 0, 0];
        // SAFETY: glibc's area for this thread, in its TCB; what is registered here is taken back at once.
        unsafe { raw::syscall(libc::SYS_rseq, args) }
    };
    // SAFETY: the pointer to the running critical section, behind two numbers; the kernel has ended
    // any when it delivered this signal, and an ended thread's must not be taken for ours.
    unsafe { ((area + 8) as *mut u64).write_volatile(0) };
    match -call(0) as i32 {
        0 => {
            call(UNREGISTER);
            [0, 0]
        }
        libc::EBUSY | libc::EINVAL => [area, size], // it is there, perhaps with another length
        _ => [0, 0],
    }
}

/// Is this address in the running kernel's vDSO? Another kernel's has other code at another place, so a
/// thread can't be saved there; it leaves within nanoseconds.
#[inline(always)]
pub fn in_kernel_vdso(rip: usize) -> bool {
    /// The kernel's image has two pages; our slots point to functions in it.
    const REACH: usize = 4 * lh_loader::layout::PAGE;
    // SAFETY: lhInfo is mapped.
    let slots = unsafe { &lhinfo::get().vdso_slots };
    slots.iter().any(|slot| {
        let function = slot.load(Ordering::Relaxed);
        let near = function.abs_diff(rip) < REACH;
        near && lh_loader::layout::owner(function) == lh_loader::layout::Owner::Elsewhere
    })
}
