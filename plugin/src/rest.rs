//! A transfer that a checkpoint has cut short goes on: no TLS but the switch block, no allocation, no libc.
//!
//! A write to a full pipe, or a `recv` of so many bytes, waits in the kernel with a part of its work done, and ends
//! with that part when a signal comes. A program without signals of its own never sees that. So the context of
//! a thread that is found behind such a call is changed: it goes on in `splitproc_rest`, which makes
//! the call for the rest and comes back with the sum. What it needs lies in the switch block, for the kernel's signal frame is
//! where the stack would have room; RBX points there meanwhile. Vectors (`writev`, `sendmsg`) are left as they are.

use crate::{block, raw};
use core::arch::global_asm;
use core::mem::{offset_of, MaybeUninit};
use lh_loader::layout::{owner, Owner, PAGE};

const RIP: usize = libc::REG_RIP as usize;
const RSP: usize = libc::REG_RSP as usize;
const RAX: usize = libc::REG_RAX as usize;
const RBX: usize = libc::REG_RBX as usize;
const RDX: usize = libc::REG_RDX as usize;
const RSI: usize = libc::REG_RSI as usize;
const RDI: usize = libc::REG_RDI as usize;
const R10: usize = libc::REG_R10 as usize;

/// `mov $number,%eax; syscall`.
const SITE: usize = 7;
/// How many calls of one thread can be going on so, with signal handlers between them.
pub const NESTED: usize = 3;

/// A call that goes on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rest {
    /// Where the program goes on after it; 0: the place is free.
    rip: usize,
    /// The program's registers.
    rbx: usize,
    rsi: usize,
    rdx: usize,
    /// The call's number.
    number: usize,
    /// Bytes that are through.
    total: usize,
}

global_asm!(
    ".text",
    ".type splitproc_rest, @function",
    "splitproc_rest:",
    ".cfi_startproc",
    ".cfi_signal_frame",
    ".cfi_def_cfa rsp, 0",
    ".cfi_escape 0x10, 16, 2, 0x73, {rip}", // RIP and RBX are saved where RBX points
    ".cfi_escape 0x10, 3, 2, 0x73, {rbx}",
    ".fill 8, 1, 0x90",
    "splitproc_rest_call:",
    "syscall",
    "splitproc_rest_done:",
    "test rax, rax",
    "js 2f", // what was through before is the result, as natively
    "add [rbx + {total}], rax",
    "2:",
    "mov rax, [rbx + {total}]",
    "mov rsi, [rbx + {rsi}]",
    "mov rdx, [rbx + {rdx}]",
    "mov rcx, [rbx + {rip}]", // as `syscall` leaves it
    ".cfi_register rip, rcx",
    "mov r11, rbx",
    "mov rbx, [rbx + {rbx}]",
    ".cfi_same_value rbx",
    "mov qword ptr [r11 + {rip}], 0",
    "jmp rcx",
    ".cfi_endproc",
    ".size splitproc_rest, . - splitproc_rest",
    rip = const offset_of!(Rest, rip),
    rbx = const offset_of!(Rest, rbx),
    rsi = const offset_of!(Rest, rsi),
    rdx = const offset_of!(Rest, rdx),
    total = const offset_of!(Rest, total),
);

unsafe extern "C" {
    fn splitproc_rest_call();
    fn splitproc_rest_done();
}

/// Where a call of the program's has ended with a part of what it is to transfer: the instruction behind it, the stack
/// pointer, the call's number.
///
/// # Safety
/// `context` is what the kernel passed to a signal handler.
pub unsafe fn cut(context: *const libc::ucontext_t) -> Option<(usize, usize, usize)> {
    // SAFETY: the kernel's context; behind a page's first bytes the same page holds the bytes before.
    unsafe {
        let g = &(*context).uc_mcontext.gregs;
        let (rip, part, whole) = (g[RIP] as usize, g[RAX], g[RDX]);
        let upper = matches!(owner(rip), Owner::Upper | Owner::Elsewhere);
        if part <= 0 || part >= whole || !upper || rip % PAGE < SITE {
            return None;
        }
        let (at, flags) = (g[RSP] as usize, g[R10] as i32);
        if rip == splitproc_rest_done as *const () as usize {
            return Some((rip, at, (*(g[RBX] as *const Rest)).number));
        }
        let [0xb8, a, b, c, d, 0x0f, 0x05] = *((rip - SITE) as *const [u8; SITE]) else {
            return None;
        };
        let number = u32::from_le_bytes([a, b, c, d]) as usize;
        waits(number as libc::c_long, g[RDI] as usize, flags).then_some((rip, at, number))
    }
}

/// Does the call wait until all is through?
fn waits(number: libc::c_long, fd: usize, flags: i32) -> bool {
    let stream = match number {
        libc::SYS_write => kind(fd),
        libc::SYS_sendto if flags & libc::MSG_DONTWAIT == 0 => kind(fd),
        libc::SYS_recvfrom
            if flags & (libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_PEEK)
                == libc::MSG_WAITALL =>
        {
            kind(fd)
        }
        _ => return false,
    };
    let limit = match number {
        libc::SYS_recvfrom => libc::SO_RCVTIMEO,
        _ => libc::SO_SNDTIMEO,
    };
    // SAFETY: F_GETFL takes no address.
    let status = unsafe { raw::syscall(libc::SYS_fcntl, [fd, libc::F_GETFL as usize, 0, 0, 0, 0]) };
    status >= 0
        && status as i32 & libc::O_NONBLOCK == 0
        && match stream {
            libc::S_IFIFO | libc::S_IFCHR => true,
            libc::S_IFSOCK => {
                let [kind, _] = option::<2>(fd, libc::SO_TYPE);
                kind == libc::SOCK_STREAM && option::<4>(fd, limit) == [0; 4]
            }
            _ => false,
        }
}

/// What a descriptor is; 0: not known.
fn kind(fd: usize) -> u32 {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the kernel writes one structure, which zeroes are valid for.
    unsafe {
        raw::syscall(
            libc::SYS_fstat,
            [fd, stat.as_mut_ptr() as usize, 0, 0, 0, 0],
        );
        stat.assume_init().st_mode & libc::S_IFMT
    }
}

/// A socket's option, in words of four bytes.
fn option<const WORDS: usize>(fd: usize, which: i32) -> [i32; WORDS] {
    let mut value = [0; WORDS];
    let mut len = size_of::<[i32; WORDS]>() as u32;
    let (to, len) = (value.as_mut_ptr() as usize, &raw mut len as usize);
    let args = [fd, libc::SOL_SOCKET as usize, which as usize, to, len, 0];
    // SAFETY: the kernel writes at most as many bytes as the length says.
    unsafe { raw::syscall(libc::SYS_getsockopt, args) };
    value
}

/// Has the thread make the call for the rest, when it goes on.
///
/// # Safety
/// `context` is what the kernel passed to the handler, which is about to return or to be saved; [`cut`] has found
/// the call with this number there.
pub unsafe fn go_on(context: *mut libc::ucontext_t, number: usize) {
    // SAFETY: the caller's; the block is this thread's own, and RBX points to a place in it while the rest is made.
    unsafe {
        let g = &mut (*context).uc_mcontext.gregs;
        let part = g[RAX] as usize;
        let rest = if g[RIP] as usize == splitproc_rest_done as *const () as usize {
            g[RBX] as *mut Rest
        } else {
            let rests = &mut (*block::current()).rests;
            let Some(free) = rests.iter_mut().find(|r| r.rip == 0) else {
                return;
            };
            *free = Rest {
                rip: g[RIP] as usize,
                rbx: g[RBX] as usize,
                rsi: g[RSI] as usize,
                rdx: g[RDX] as usize,
                number,
                total: 0,
            };
            free
        };
        (*rest).total += part;
        g[RBX] = rest as i64;
        g[RSI] += part as i64;
        g[RDX] -= part as i64;
        g[RAX] = number as i64;
        g[RIP] = splitproc_rest_call as *const () as i64;
    }
}
