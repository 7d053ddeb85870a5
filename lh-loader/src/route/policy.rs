//! Which system calls are routed, by the half that makes them, and where each is handled.

use super::entry::{kernel, Regs};
use super::{exec, fds, ids, limits, memory, signals, tasks, waits};
use crate::arch::CUT_SHORT;
use crate::layout::Owner;

/// Whether a site of this owner with this fixed number is patched.
pub fn routed(owner: Owner, nr: u32) -> bool {
    let nr = i64::from(nr);
    let both = matches!(
        nr,
        libc::SYS_mmap
            | libc::SYS_munmap
            | libc::SYS_mremap
            | libc::SYS_brk
            | libc::SYS_shmat
            | libc::SYS_shmdt
            | libc::SYS_mprotect
            | libc::SYS_pkey_mprotect
            | libc::SYS_clone
            | libc::SYS_clone3
            | libc::SYS_exit
            | libc::SYS_rt_sigprocmask
            | libc::SYS_rt_sigaction
            | libc::SYS_getrlimit
            | libc::SYS_setrlimit
            | libc::SYS_prlimit64
    );
    both || match owner {
        Owner::Lower(_) => {
            fds::routed(nr)
                || matches!(
                    nr,
                    libc::SYS_sigaltstack | libc::SYS_rseq | libc::SYS_tgkill
                )
        }
        _ => {
            ids::routed(nr)
                || signals::waits_with_mask(nr)
                || waits::routed(nr)
                || nr == libc::SYS_close_range
        }
    }
}

/// Makes the call as it is; again, if a checkpoint has cut it short.
///
/// # Safety
/// As for the system call.
pub unsafe fn native(r: &Regs) -> isize {
    loop {
        // SAFETY: the caller's.
        let done = unsafe { kernel(r, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]) };
        if done.result != CUT_SHORT {
            return done.result;
        }
    }
}

/// Makes the call as the owner's policy has it.
///
/// # Safety
/// As for the system call; `r` must be where the entry pushed it.
pub unsafe fn call(owner: Owner, r: &mut Regs) -> isize {
    let lower = matches!(owner, Owner::Lower(_));
    let nr = r.rax as i64;
    // SAFETY: the program asked for this call with these arguments.
    unsafe {
        match nr {
            libc::SYS_mmap => memory::mmap(owner, r),
            libc::SYS_munmap => memory::munmap(r),
            libc::SYS_mremap => memory::mremap(owner, r),
            libc::SYS_brk => memory::brk(owner, r.rdi),
            libc::SYS_shmat => memory::shmat(owner, r),
            libc::SYS_shmdt => memory::shmdt(r),
            libc::SYS_mprotect | libc::SYS_pkey_mprotect => memory::mprotect(owner, r),
            libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork | libc::SYS_vfork => {
                tasks::clone(owner, r)
            }
            libc::SYS_exit => tasks::exit(owner, r),
            libc::SYS_rt_sigprocmask => signals::sigprocmask(owner, r),
            libc::SYS_rt_sigaction => signals::sigaction(owner, r),
            libc::SYS_rt_sigreturn => signals::sigreturn(r),
            libc::SYS_tgkill if lower => signals::tgkill(r),
            libc::SYS_sigaltstack if lower => signals::no_altstack(r),
            // The main thread's one rseq area is the upper half's. A thread born here registers its own, and
            // must: libc inherits the wish from the creating thread, which may be an upper-half one.
            libc::SYS_rseq if lower && !tasks::is_lower_task() => -(libc::ENOSYS as isize),
            libc::SYS_close_range if !lower => fds::close_range(r),
            libc::SYS_execve | libc::SYS_execveat if !lower => exec::call(r),
            _ if limits::concerns(r) => limits::call(owner, r),
            _ if lower && fds::routed(nr) => fds::call(r),
            _ if !lower && ids::routed(nr) => ids::call(r),
            _ if !lower && signals::waits_with_mask(nr) => signals::wait_with_mask(r),
            _ if !lower && waits::limited(nr) => waits::call(r),
            _ => native(r),
        }
    }
}
