//! Cancellation of a thread that is in a routed call: it leaves from the program's own code.
//!
//! libc's handler for a cancelled thread unwinds the thread's stack from where the signal came, and (from
//! glibc 2.41 on) first looks whether that is inside `__syscall_cancel_arch`. The router's frames mean nothing
//! to the program's unwinder. So the context that the handler gets is made to be the program's own: at the
//! system call, if the kernel has not made it or will make it again; behind it, if it ended with EINTR. What the
//! handler then does is right, and if it returns, so is that the thread goes on there.
//!
//! A signal handler: no TLS, no allocation.

use super::entry::{kernel_site, Regs};
use super::patch::Place;
use core::mem::{offset_of, size_of};

/// The red zone, which a stub steps over.
const RED_ZONE: usize = 128;
/// Bytes of the sixteen SSE registers.
const SSE: usize = 256;

/// Takes a thread out of the routed call that it is in, if it is in one.
///
/// # Safety
/// `context` is what the kernel passed to the handler of a signal.
pub unsafe fn leave(context: *mut libc::ucontext_t) {
    // SAFETY: the kernel's context. While a thread is between the two addresses, its r12 points to registers
    // that the router's entry pushed, or a copy; the originals lie above, and above them the program's stack.
    unsafe {
        let mut g = (*context).uc_mcontext.gregs;
        let get = |g: &[i64; 23], n: i32| g[n as usize] as usize;
        let [call, done] = kernel_site();
        let rip = get(&g, libc::REG_RIP);
        let cut = rip == done && g[libc::REG_RAX as usize] == -i64::from(libc::EINTR);
        if rip != call && !cut {
            return;
        }
        let origin = (*(get(&g, libc::REG_R12) as *const Regs)).origin;
        let regs = (origin - offset_of!(Regs, flags)) as *const Regs;
        let sp = regs as usize + size_of::<Regs>() + RED_ZONE;
        let to = Place::of((*regs).ret).and_then(|p| if cut { p.over() } else { p.again() });
        let Some(to) = to else { return };
        let r = *regs;
        let rax = if cut { get(&g, libc::REG_RAX) } else { r.rax };
        let [rbx, rbp, r12, r13, r14, r15] = r.rest;
        let values = [
            (libc::REG_RIP, to),
            (libc::REG_RSP, sp),
            (libc::REG_RAX, rax),
            (libc::REG_RDI, r.rdi),
            (libc::REG_RSI, r.rsi),
            (libc::REG_RDX, r.rdx),
            (libc::REG_R10, r.r10),
            (libc::REG_R8, r.r8),
            (libc::REG_R9, r.r9),
            (libc::REG_RBX, rbx),
            (libc::REG_RBP, rbp),
            (libc::REG_R12, r12),
            (libc::REG_R13, r13),
            (libc::REG_R14, r14),
            (libc::REG_R15, r15),
            (libc::REG_EFL, r.flags),
            // See `Place::new`.
            (libc::REG_R11, ((sp + 8) as *const usize).read()),
        ];
        for (register, value) in values {
            g[register as usize] = value as i64;
        }
        (*context).uc_mcontext.gregs = g;
        vectors((*context).uc_mcontext.fpregs.cast(), regs as usize);
    }
}

/// Puts the SSE registers into the kernel's frame that the entry saved below `regs`.
unsafe fn vectors(state: *mut u8, regs: usize) {
    /// In the legacy area: the registers, and the mark and header of an extended one.
    const XMM: usize = 160;
    const MAGIC: usize = 464;
    const EXTENDED: u32 = 0x4650_5853;
    const PRESENT: usize = 512;
    if state.is_null() {
        return;
    }
    let saved = ((regs - SSE) & !15) as *const u8;
    // SAFETY: the kernel's state, of 512 bytes or as long as its mark says; the entry's stack is as it left it.
    unsafe {
        core::ptr::copy_nonoverlapping(saved, state.add(XMM), SSE);
        if state.add(MAGIC).cast::<u32>().read_unaligned() == EXTENDED {
            let present = state.add(PRESENT).cast::<u64>();
            present.write_unaligned(present.read_unaligned() | 2);
        }
    }
}
