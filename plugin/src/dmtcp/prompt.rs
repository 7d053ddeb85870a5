//! The coordinator's answers come at once. The thread that sees to it has no TLS of its own, and allocates nothing.
//!
//! DMTCP writes a request in three pieces, and its coordinator writes an answer in two. TCP keeps a small piece back until the
//! piece before it has been confirmed, and the other side confirms it late (after 40 ms), in the hope of something to
//! send along. So a question to the coordinator took 88 ms on one machine, where the way there and back takes 50 µs; a cut
//! is some dozens of them for each pair of ranks. Our own pieces need not be kept back (`TCP_NODELAY`). The coordinator's
//! have to be confirmed as they come: the kernel does that if it is told so *after* the request has gone out
//! (`TCP_QUICKACK` lasts until the next one), when DMTCP's thread waits for the answer. So another thread tells it.
//!
//! That one is made by a system call of its own: DMTCP neither knows nor stops it, and it is there as long as somebody
//! asks, at a restart too.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use dmtcp_glue::abi::{COORDINATOR_FD, NAME_SERVICE_FD};
use lh_loader::arch::{block_signals, is_err, restore_signals, syscall6};
use std::sync::Mutex;

/// The connections to the coordinator.
const SOCKETS: [i32; 2] = [COORDINATOR_FD, NAME_SERVICE_FD];

/// While one of these is there, answers come at once.
pub struct Prompt(());

/// How many there are.
static USERS: Mutex<u32> = Mutex::new(0);
/// The thread is to end.
static STOP: AtomicU32 = AtomicU32::new(0);
/// 1 while the thread is there: the kernel clears it.
static THERE: AtomicU32 = AtomicU32::new(0);

/// Bytes of the thread's stack.
const STACK: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK]>);
// SAFETY: only the one thread uses it.
unsafe impl Sync for Stack {}
static ITS_STACK: Stack = Stack(UnsafeCell::new([0; STACK]));

// clone(flags, stack, 0, where the kernel clears the tid): the new thread goes on in `confirm`.
global_asm!(
    ".globl splitproc_prompt_clone",
    ".hidden splitproc_prompt_clone",
    ".type splitproc_prompt_clone, @function",
    "splitproc_prompt_clone:",
    "mov r10, rcx",
    "mov eax, {clone}",
    "syscall",
    "test eax, eax",
    "jnz 2f",
    "xor ebp, ebp",
    "call {confirm}",
    "2:",
    "ret",
    ".size splitproc_prompt_clone, . - splitproc_prompt_clone",
    clone = const libc::SYS_clone,
    confirm = sym confirm,
);

extern "C" {
    fn splitproc_prompt_clone(flags: usize, stack: usize, tid: usize, cleared: usize) -> isize;
}

impl Prompt {
    /// From now on.
    pub fn begin() -> Prompt {
        let mut users = USERS.lock().unwrap_or_else(|e| e.into_inner());
        for fd in SOCKETS {
            set(fd, libc::TCP_NODELAY, true);
        }
        *users += 1;
        if *users == 1 {
            start();
        }
        Prompt(())
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        let mut users = USERS.lock().unwrap_or_else(|e| e.into_inner());
        *users -= 1;
        if *users != 0 {
            return;
        }
        // What DMTCP says by itself goes as it always did: it may expect nothing from the coordinator in between.
        for fd in SOCKETS {
            set(fd, libc::TCP_NODELAY, false);
        }
        STOP.store(1, SeqCst);
        while THERE.load(SeqCst) != 0 {
            // SAFETY: the kernel, which wakes by no private futex here, reads the word.
            unsafe {
                let (nr, word) = (libc::SYS_futex as usize, THERE.as_ptr() as usize);
                syscall6(nr, word, libc::FUTEX_WAIT as usize, 1, 0, 0, 0);
            }
        }
    }
}

/// Makes the thread; without it answers only come late.
fn start() {
    STOP.store(0, SeqCst);
    THERE.store(1, SeqCst);
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND;
    let flags = flags | libc::CLONE_THREAD | libc::CLONE_SYSVSEM | libc::CLONE_CHILD_CLEARTID;
    let top = ITS_STACK.0.get() as usize + STACK;
    // No signal of the program's may come to the thread.
    let mask = block_signals();
    // SAFETY: the stack is that of a thread which is gone (`THERE`), and `confirm` needs nothing else.
    let made = unsafe { splitproc_prompt_clone(flags as usize, top, 0, THERE.as_ptr() as usize) };
    restore_signals(mask);
    if is_err(made) {
        THERE.store(0, SeqCst);
    }
}

/// Switches an option of TCP on or off. False: the descriptor is no connection.
fn set(fd: i32, option: i32, on: bool) -> bool {
    let on = i32::from(on);
    let (nr, level) = (libc::SYS_setsockopt as usize, libc::IPPROTO_TCP as usize);
    let (value, len) = (&raw const on as usize, size_of_val(&on));
    // SAFETY: the kernel reads the value. What is no socket is left as it is.
    !is_err(unsafe { syscall6(nr, fd as usize, level, option as usize, value, len, 0) })
}

/// The thread: has what comes from the coordinator confirmed, when it comes, and again soon: DMTCP's thread may have taken
/// it before this one has seen it. It runs on the FS base of the thread that made it.
extern "C" fn confirm() -> ! {
    const SOON: [usize; 2] = [0, 500_000];
    const MOMENT: [usize; 2] = [0, 50_000];
    let mut list = SOCKETS.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    while STOP.load(SeqCst) == 0 {
        for socket in &mut list {
            if !set(socket.fd, libc::TCP_QUICKACK, true) {
                socket.fd = -1; // there is no such connection: the kernel leaves this out
            }
        }
        let (at, n) = (list.as_mut_ptr() as usize, list.len());
        let time = SOON;
        // SAFETY: the kernel reads and writes the list, and reads the time.
        unsafe {
            let time = time.as_ptr() as usize;
            syscall6(libc::SYS_ppoll as usize, at, n, time, 0, 0, 0);
        }
        if list.iter().any(|socket| socket.revents != 0) {
            for socket in &list {
                set(socket.fd, libc::TCP_QUICKACK, true);
            }
            // SAFETY: the kernel reads the time.
            unsafe {
                let time = MOMENT.as_ptr() as usize;
                syscall6(libc::SYS_nanosleep as usize, time, 0, 0, 0, 0, 0);
            }
        }
    }
    loop {
        // SAFETY: ends this thread alone, of which nobody but the kernel knows.
        unsafe { syscall6(libc::SYS_exit as usize, 0, 0, 0, 0, 0, 0) };
    }
}
