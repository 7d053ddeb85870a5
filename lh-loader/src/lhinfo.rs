//! lhInfo: the one region that all halves and the host share, at a fixed address, saved in the image.
//!
//! `LHINFO_PTR` in the upper half's environment names it. Every field is plain data with a fixed
//! place (`#[repr(C)]`); what one side writes while another reads is atomic. After a restart the
//! region comes back from the image and the fresh halves' entries are written over the old ones.

use crate::elf::BuildIds;
use crate::layout::{LHINFO_BASE, MAX_HALVES};
use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize};

/// "splitlhi"
pub const MAGIC: u64 = u64::from_le_bytes(*b"splitlhi");
/// Bumped whenever a field moves.
pub const VERSION: u32 = 6;
/// Most upper-half threads.
pub const MAX_THREADS: usize = 4096;
/// Most tasks born in lower halves that the registry holds at one time.
pub const MAX_LOWER_TASKS: usize = 4096;
/// The signal that parks upper-half threads for a checkpoint; never blocked, never the application's.
pub const PARK_SIGNAL: i32 = 63;

/// Keys of one block in a glibc thread's table of `pthread_key_t` values, which has 32 blocks.
pub const KEYS_PER_BLOCK: u32 = 32;
/// Keys that the upper half has: the lower halves share the others.
pub const UPPER_KEYS: u32 = 512;

/// First and one-past-last `pthread_key_t` of lower half `index` (at least 1; the host takes none of these),
/// where there are `count` lower halves with the host.
pub fn keys(index: u32, count: u32) -> [u32; 2] {
    let blocks = (32 - UPPER_KEYS / KEYS_PER_BLOCK) / count.saturating_sub(1).max(1);
    let (first, each) = (UPPER_KEYS, blocks * KEYS_PER_BLOCK);
    [first + (index - 1) * each, first + index * each]
}

/// `Thread::state` of a parked thread that is to take its pending signals; then it is 2 again.
pub const DRAIN: u32 = 4;
/// Most signals that are taken so.
pub const DRAIN_MOST: usize = 256;

/// In `Upper::asked`: a checkpoint.
pub const ASKED_CHECKPOINT: u32 = 1;
/// In `Upper::asked`: a checkpoint, and then the program's end.
pub const ASKED_STOP: u32 = 2;
/// In `Upper::turn`: nobody's.
pub const TURN_FREE: u32 = 0;
/// A checkpoint is taken.
pub const TURN_CHECKPOINT: u32 = 1;
/// The program is executing another in its place.
pub const TURN_EXEC: u32 = 2;
/// The signature glibc registers its rseq areas with on x86-64.
pub const RSEQ_SIGNATURE: usize = 0x5305_3053;
/// libc's own signals: SIGCANCEL and SIGSETXID.
pub const LIBC_SIGNALS: [i32; 2] = [32, 33];
/// What tasks of lower halves block: everything but libc's own two signals.
pub const LOWER_MASK: u64 = !(1 << (LIBC_SIGNALS[0] - 1) | 1 << (LIBC_SIGNALS[1] - 1));

/// What glibc calls the table that says where a TCB has its pointers to blocks of keys.
pub const KEY_BLOCKS: &CStr = c"_thread_db_pthread_specific";

/// Their offset in a TCB, from that table: size in bits, count, offset.
pub fn key_blocks(table: Option<&[u32; 3]>) -> Option<u32> {
    match table {
        Some([bits, 1, offset]) if *bits == 1024 / KEYS_PER_BLOCK * 64 => Some(*offset),
        _ => None,
    }
}

/// State of a half: absent, being loaded, ready.
pub const HALF_ABSENT: u32 = 0;
/// The half's entry points may be called.
pub const HALF_READY: u32 = 2;

/// How threads cross into lower halves (`LhInfo::crossing`): on the shared FS where that works.
pub const CROSS_AUTO: u32 = 0;
/// On the shared FS, or not at all.
pub const CROSS_SHARED: u32 = 1;
/// On borrowed TCBs.
pub const CROSS_BORROWED: u32 = 2;
/// On borrowed TCBs, without `wrfsbase`.
pub const CROSS_PRCTL: u32 = 3;
/// Their names, by number.
pub const CROSSINGS: [&str; 4] = ["auto", "shared", "borrowed", "borrowed-prctl"];

/// One lower half. Entry points run in the half's own libc and are called by crossing into it.
#[repr(C)]
pub struct Half {
    /// Name, NUL padded: `host`, `mpi`, `cuda`.
    pub name: [u8; 16],
    /// Window.
    pub base: usize,
    /// Length of the window in bytes.
    pub len: usize,
    /// `HALF_ABSENT`, or `HALF_READY` once the entry points below are valid.
    pub state: AtomicU32,
    /// Number of restarts this half is the product of; 0 at launch.
    pub generation: u32,
    /// `extern "C" fn(*const c_char) -> *mut c_void`: looks a symbol up in the half.
    pub dlsym: usize,
    /// `extern "C" fn(fs: usize, place: *mut usize) -> *mut Donor`: makes a donor for the upper-half
    /// thread whose FS base is given (called on the main TCB). Shared FS: fills the thread's hole and gives its
    /// DTV. Borrowed TCB: gives the donor's FS base.
    pub make_donor: usize,
    /// `extern "C" fn(*mut Donor, fs: usize, dtv: usize)`: takes everything back and lets the donor
    /// exit (called on the main TCB).
    pub retire_donor: usize,
    /// The FS base of the half's own main thread; borrowed, under `main_lock`, to make donors.
    pub main_fs: usize,
    /// Lock word for `main_fs`.
    pub main_lock: AtomicU32,
    /// First byte below FS that is *not* the half's static TLS (its TLS is `[fs - tls_end, fs - tls_start)`).
    pub tls_start: u32,
    /// Distance from FS down to the lowest byte of the half's static TLS.
    pub tls_end: u32,
    /// 1: the half fits in the hole and runs on the shared FS; 0: it needs a borrowed TCB.
    pub shared_fs: u32,
    /// First and one-past-last `pthread_key_t` of the half.
    pub keys: [u32; 2],
    /// Which build of glibc the half runs.
    pub libc: BuildIds,
    /// Address of the half's `Copiers`; 0: it has none.
    pub copiers: usize,
}

/// Most threads of a half that copy device memory at one time.
pub const COPIERS: usize = 16;
/// Length of the staging buffer that each of them has: what one request copies at most.
pub const STAGING: usize = 1 << 20;

/// A copier has nothing to do.
pub const COPIER_IDLE: u32 = 0;
/// It has a request.
pub const COPIER_REQUEST: u32 = 1;
/// It has done it.
pub const COPIER_REPLY: u32 = 2;

/// Request to a copier, to the first one first: make a staging buffer, in this context. The first makes the threads of so
/// many others (`len`) as well.
pub const COPY_BEGIN: u32 = 1;
/// Copies from the device into the staging buffer.
pub const COPY_READ: u32 = 2;
/// Copies from the staging buffer to the device.
pub const COPY_WRITE: u32 = 3;
/// Makes the device's memory zero.
pub const COPY_ZERO: u32 = 4;
/// Gives the staging buffer back.
pub const COPY_END: u32 = 5;
/// A copier's result: the device's memory has never been touched, so it is zero and was not copied.
pub const COPY_UNTOUCHED: i32 = -1;

/// A thread of a half that copies device memory for the host, which has no way into the half.
#[repr(C)]
pub struct Copier {
    /// `COPIER_IDLE`, …: a futex.
    pub state: AtomicU32,
    /// `COPY_BEGIN`, …
    pub op: AtomicU32,
    /// The half's handle of the context that the memory is reached in.
    pub context: AtomicU64,
    /// Where the memory is.
    pub device: AtomicU64,
    /// Its length.
    pub len: AtomicU64,
    /// Where the staging buffer is.
    pub staging: AtomicUsize,
    /// The driver's code, or `COPY_UNTOUCHED`.
    pub result: AtomicI32,
}

/// All copiers of a half.
pub type Copiers = [Copier; COPIERS];

/// Device memory that a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The half's handle of the context that it is reached in.
    pub context: u64,
    /// Where it is.
    pub at: u64,
    /// Its length.
    pub len: u64,
}

/// Length of a piece as bytes.
pub const PIECE: usize = 24;

impl Piece {
    /// As bytes for a mailbox.
    pub fn bytes(&self) -> [u8; PIECE] {
        let mut bytes = [0; PIECE];
        for (place, word) in bytes
            .chunks_exact_mut(8)
            .zip([self.context, self.at, self.len])
        {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// From such bytes.
    pub fn from_bytes(bytes: &[u8; PIECE]) -> Piece {
        let word = |i: usize| {
            bytes[8 * i..]
                .first_chunk()
                .map_or(0, |w| u64::from_ne_bytes(*w))
        };
        let [context, at, len] = [0, 1, 2].map(word);
        Piece { context, at, len }
    }
}

/// What a half gets from the loader, by address in its environment (`SPLITPROC_HALF`, hexadecimal).
#[repr(C)]
pub struct HalfStart {
    /// Called by the half's `main` when its entry points are in `half`; gives control back to the
    /// loader and never returns.
    pub ready: unsafe extern "C" fn(*mut HalfStart) -> !,
    /// The half's entry in lhInfo.
    pub half: *mut Half,
    /// The half's index.
    pub index: u32,
    /// 1 in a restart: the host restores memory, then sets `go`.
    pub restore: u32,
    /// Set to 1 (and woken) by the host when memory and resources are back.
    pub go: AtomicU32,
}

/// What the plugin hands over when it loads the loader into a process that already runs (`--attach`).
#[repr(C)]
pub struct Attach {
    /// Called when the halves are up, on the loader's stack; goes back into the plugin, never returns.
    pub back: unsafe extern "C" fn(*mut Attach) -> !,
    /// Where the plugin goes on.
    pub context: crate::arch::Context,
    /// 1: lhInfo is there, from an image; its halves are to be made anew.
    pub restart: u32,
}

/// An upper-half thread as the park handler recorded it.
#[repr(C)]
pub struct Thread {
    /// 0: slot is free; 1: asked to park; 2: parked, the fields below are valid.
    pub state: AtomicU32,
    /// The tid as the application knows it.
    pub tid: AtomicU32,
    /// The tid as the kernel knows it now.
    pub real_tid: AtomicU32,
    /// Non-zero: parked inside a re-executable lower-half call; the frame is rewritten at restart.
    pub in_call: u32,
    /// Address of the kernel's `rt_sigframe` *after* its return address was popped, i.e. what `rsp`
    /// must be when `rt_sigreturn` is called (the address of the `ucontext`).
    pub frame: usize,
    /// FS base.
    pub fs: usize,
    /// GS base.
    pub gs: usize,
    /// Where the kernel clears the tid when the thread ends.
    pub clear_tid: usize,
    /// Robust list head and length.
    pub robust: [usize; 2],
    /// Registered rseq area (0: none) and its length.
    pub rseq: [usize; 2],
    /// The crossing's re-entry point and stack pointer (see `crossing`), if `in_call`.
    pub reentry: [usize; 2],
    /// `PR_GET_NAME`.
    pub name: [u8; 16],
    /// `PR_GET_PDEATHSIG`; `PR_GET_NO_NEW_PRIVS`.
    pub settings: [u32; 2],
    /// `PR_GET_TIMERSLACK`.
    pub slack: usize,
}

/// A one-slot message channel between the host half and the upper half's helper thread.
///
/// The caller writes `op`, `arg`, `len`, sets `state` to 1 and wakes it; the callee sets `result`
/// and `state` 2 and wakes it; the caller sets it back to 0. Waits are futexes on `state`.
#[repr(C)]
pub struct Mailbox {
    /// 0 idle, 1 request, 2 reply.
    pub state: AtomicU32,
    /// What is asked.
    pub op: u32,
    /// Address of the request's bytes, readable by both sides.
    pub arg: usize,
    /// Length of the request.
    pub len: usize,
    /// 0, or a positive error number; for replies with bytes, see `out`.
    pub result: i64,
    /// Address of the reply's bytes, valid until the next request.
    pub out: usize,
    /// Length of the reply.
    pub out_len: usize,
}

/// What the upper half (the plugin) tells the host.
#[repr(C)]
pub struct Upper {
    /// Non-zero once the plugin is up. `extern "C" fn(sig, *siginfo, *ucontext)`: the park handler.
    pub park_handler: AtomicUsize,
    /// The trampoline that runs the application's handlers with its own DTV.
    pub signal_trampoline: AtomicUsize,
    /// Real tid of the plugin's helper thread, which serves `events`.
    pub helper_tid: AtomicU32,
    /// 1: parked threads may go on.
    pub release: AtomicU32,
    /// Program break: base, current, end of the reserved room.
    pub brk: [usize; 3],
    /// The application's pid as it knows it.
    pub pid: AtomicU32,
    /// Restarts so far.
    pub generation: AtomicU32,
    /// The kernel's pid after a restart; 0 while it is still `pid`.
    pub real_pid: AtomicU32,
    /// Path of the program, NUL terminated: what `/proc/self/exe` means to it.
    pub exe: [u8; 4096],
    /// The application's signal actions, `[handler, flags, restorer, mask]`, by signal number.
    pub actions: [[u64; 4]; 65],
    /// Where the upper half's window goes on (see `window`); it must survive a restart.
    pub cursor: AtomicUsize,
    /// The signal that asks for a checkpoint; 0: none. The host's, before the plugin starts.
    pub ckpt_signal: AtomicU32,
    /// SIGTERM if it asks for a checkpoint and the program's end; else 0.
    pub term_signal: AtomicU32,
    /// What signals have asked for: `ASKED_CHECKPOINT`, `ASKED_STOP`. A futex that the host waits on.
    pub asked: AtomicU32,
    /// 1: the next SIGTERM is the program's.
    pub pass_term: AtomicU32,
    /// The parent's pid as the application knows it: that of its first launch.
    pub ppid: AtomicU32,
    /// Whose turn it is to stop or replace the program: `TURN_FREE`, … A futex.
    pub turn: AtomicU32,
    /// Where a parked thread whose state is `DRAIN` puts the signals that are pending for it: `DRAIN_MOST` times
    /// the kernel's siginfo.
    pub drain: AtomicUsize,
    /// How many it has put there.
    pub drained: AtomicU32,
    /// 1: the program has made a priority-inheritance mutex.
    pub pi_mutexes: AtomicU32,
    /// Soft and hard limit of open files as the application knows them.
    pub open_files: [AtomicU64; 2],
    /// Where the strings that the program was started with lie: begin and end of the arguments, and of the environment.
    pub strings: [usize; 4],
    /// Memory whose contents another rank's image has: the address of pairs of begin and end, whole pages, in order, and
    /// their number.
    pub elsewhere: [AtomicUsize; 2],
}

/// The whole region.
#[repr(C)]
pub struct LhInfo {
    /// `MAGIC`.
    pub magic: u64,
    /// `VERSION`.
    pub version: u32,
    /// Number of valid entries in `halves`.
    pub half_count: u32,
    /// AT_RANDOM's bytes, the same in every half, so that stack and pointer guards agree.
    pub random: [u8; 16],
    /// The router's entry: every patched site jumps through this word. Rewritten at restart.
    pub router: AtomicUsize,
    /// The restorer's entry in the loader (`restore` module), for the host. Rewritten at restart.
    pub restore: AtomicUsize,
    /// `extern "C" fn(nr, a1..a6) -> isize` in the loader: a system call that no router sees.
    /// Rewritten at restart.
    pub raw_syscall: AtomicUsize,
    /// libsplitproc.so's TLS hole is `[fs - hole[1], fs - hole[0])`; 0, 0 until known.
    pub hole: [u32; 2],
    /// `CROSS_AUTO`, …: what the user wants.
    pub crossing: u32,
    /// 1: a borrowed TCB is taken by `wrfsbase`; 0: by `arch_prctl`.
    pub wrfsbase: u32,
    /// 1 with `--log info` or `--log debug`.
    pub verbose: u32,
    /// The first descriptor number of lower halves. The fresh loader's at a restart.
    pub fd_base: AtomicU32,
    /// Slots through which the upper half's vDSO functions jump.
    pub vdso_slots: [AtomicUsize; 8],
    /// The halves.
    pub halves: [Half; MAX_HALVES],
    /// Requests from the host to the plugin: the checkpoint's events.
    pub events: Mailbox,
    /// Requests from the plugin to the host: exchange, log, refuse.
    pub services: Mailbox,
    /// The upper half.
    pub upper: Upper,
    /// Tids of tasks that were born in lower halves (0: free entry).
    pub lower_tasks: [AtomicU32; MAX_LOWER_TASKS],
    /// Held (see `futex`) while a task is made, so that the registry is never behind.
    pub clone_lock: AtomicU32,
    /// Number of used entries of `threads`.
    pub thread_count: AtomicU32,
    /// Counts routed system calls, for `--log debug`.
    pub routed: AtomicU64,
    /// Upper-half threads at the last stop.
    pub threads: [Thread; MAX_THREADS],
}

/// Size of the region in bytes, whole pages.
pub const LEN: usize = crate::layout::page_up(core::mem::size_of::<LhInfo>());

/// The region.
///
/// # Safety
/// It must be mapped: true from before the first half is loaded until the process ends.
pub unsafe fn get() -> &'static LhInfo {
    // SAFETY: the caller says the region is mapped; it is zero-initialised or restored plain data.
    unsafe { &*(LHINFO_BASE as *const LhInfo) }
}

/// The region, for the one writer of its plain fields (loader at load, host at stop and restore).
pub fn ptr() -> *mut LhInfo {
    LHINFO_BASE as *mut LhInfo
}

/// Has threads enter a half on borrowed TCBs, because they can't on the shared FS, and says so if asked to.
///
/// # Safety
/// `half` must be a half's entry that nobody else reads or writes now, and lhInfo mapped.
pub unsafe fn fall_back(half: *mut Half, why: &str) {
    // SAFETY: the caller's.
    unsafe {
        (*half).shared_fs = 0;
        let name = (*half).name;
        let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        let name = core::str::from_utf8(&name[..len]).unwrap_or("?");
        if (*ptr()).crossing == CROSS_SHARED {
            crate::die!(
                126,
                "--crossing shared: lower half {name}: {why}; use --crossing auto"
            );
        }
        if (*ptr()).verbose != 0 {
            crate::say!("lower half {name} is entered on borrowed TCBs: {why}");
        }
    }
}

/// Address of the `router` word, which every stub holds.
pub const LHINFO_ROUTER: usize = LHINFO_BASE + core::mem::offset_of!(LhInfo, router);
