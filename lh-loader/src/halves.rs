//! Starts the halves: the lower ones one after the other, then the upper one.
//!
//! A lower half is an ordinary program. Its `ld.so` runs on a start stack of ours, its constructors
//! and its `main` run, and `main` calls `ready`, which leaves the half's main stack where it is and
//! comes back to the loader. The upper half is started last and owns the main thread from then on.

use crate::arch::{self, Context};
use crate::args::{HalfPlan, Plan, Start};
use crate::elf::{self, Image, TlsSlot};
use crate::layout::{lower_window, Owner, MAX_HALVES, VDSO_BASE, WINDOW_LEN};
use crate::lhinfo::{self, Half, HalfStart, HALF_READY};
use crate::stack::{placed, StackBuilder};
use crate::{die, shown, window};
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};

/// A lower half's main stack.
const LOWER_STACK: usize = 8 << 20;
/// Static TLS that each lower half is given in the hole.
const TLS_PART: u32 = 2048;
/// What the upper half's `LHINFO_PTR` holds until the lower halves are up.
const LHINFO_VAR: &[u8] = b"LHINFO_PTR=0xffffffffffffffff\0";

/// The loader's place while a half starts. One thread, one half at a time.
static mut CONTEXT: Context = Context::new();

/// What each half is handed.
static mut STARTS: [HalfStart; MAX_HALVES] = [const {
    HalfStart {
        ready,
        half: core::ptr::null_mut(),
        index: 0,
        restore: 0,
        go: AtomicU32::new(0),
    }
}; MAX_HALVES];

/// A half is up: notes its main TCB and goes back to the loader. See [`HalfStart::ready`].
unsafe extern "C" fn ready(start: *mut HalfStart) -> ! {
    // SAFETY: `start` is one of STARTS, its half is in lhInfo, and CONTEXT was saved by `start_lower`,
    // whose stack has been left alone since.
    unsafe {
        (*(*start).half).main_fs = arch::fs_base();
        arch::load_context(&raw const CONTEXT)
    }
}

/// Loads lower half `index` and runs it up to its `ready`.
pub fn start_lower(
    start: &Start,
    plan: &Plan,
    index: usize,
    half: &HalfPlan,
) -> &'static HalfStart {
    let owner = Owner::Lower(index);
    let info = lhinfo::ptr();
    // SAFETY: lhInfo is mapped, and nobody else reads it before the halves are up.
    let entry = unsafe { &mut (*info).halves[index] };
    let name = half.name.to_bytes();
    entry.name[..name.len().min(15)].copy_from_slice(&name[..name.len().min(15)]);
    entry.base = lower_window(index);
    entry.len = WINDOW_LEN;
    let tls = place_tls(entry, plan, index, name);

    let program = load(half.path, owner, tls);
    let interp = load_interp(&program, half.path, owner);
    // SAFETY: only this thread runs, and each half has its own entry.
    let slot = unsafe { &mut *(&raw mut STARTS).cast::<HalfStart>().add(index) };
    slot.half = entry;
    slot.index = index as u32;
    slot.restore = u32::from(plan.restore.is_some());

    let mut stack = new_stack(owner, LOWER_STACK);
    stack.word(1);
    stack.string(half.path);
    stack.word(0);
    for e in start
        .env()
        .filter(|e| !is(e, b"LD_PRELOAD") && !is(e, b"PMI_FD"))
    {
        stack.string(e);
    }
    if let Some(fd) = start.var(b"PMI_FD") {
        let mut text = *b"PMI_FD=0000\0";
        decimal(crate::fds::moved(fd), &mut text[7..11]);
        stack.string(cstr(&text));
    }
    let mut text = *b"SPLITPROC_HALF=0000000000000000\0";
    hex(slot as *const _ as usize, &mut text[15..31]);
    stack.string(cstr(&text));
    for (var, value) in [
        (&b"SPLITPROC_LIBRARY="[..], half.library),
        (&b"SPLITPROC_RESTORE="[..], plan.restore),
    ] {
        if let Some(value) = value {
            let at = stack.bytes(&[var, value.to_bytes_with_nul()]);
            stack.word(at);
        }
    }
    // UCX's memory hooks would patch libc's mmap at run time; the router owns that.
    stack.string(c"UCX_MEM_MMAP_HOOK_MODE=none");
    // Without a launcher Open MPI would start a daemon, a child process that can't be checkpointed.
    stack.string(c"OMPI_MCA_ess_singleton_isolated=1");
    // Its windows in shared memory are for memory that it allocates itself, which we never have it do; of one rank's it
    // takes any memory, and fails.
    stack.string(c"OMPI_MCA_osc=^sm");
    stack.word(0);
    auxv(start, &mut stack, &program, &interp, half.path, None);
    let sp = stack.finish();
    // SAFETY: the stack is as the kernel would make it; CONTEXT is this thread's alone.
    unsafe { arch::enter_half(&raw mut CONTEXT, interp.entry, sp) };
    entry.state.store(HALF_READY, Ordering::Release);
    slot
}

/// Gives a half its part of the hole, if it is to be entered on the shared FS. The host is never entered.
fn place_tls(entry: &mut Half, plan: &Plan, index: usize, name: &[u8]) -> Option<TlsSlot> {
    let wanted = matches!(plan.crossing, lhinfo::CROSS_AUTO | lhinfo::CROSS_SHARED);
    if name == b"host" || !wanted {
        return None;
    }
    let start = (plan.hole[0] + (index as u32 - 1) * TLS_PART).next_multiple_of(64);
    let end = plan.hole[0] + index as u32 * TLS_PART;
    if end > plan.hole[1] {
        let why = match plan.hole[1] {
            0 => "the program has no TLS hole",
            _ => "the TLS hole has no room for it",
        };
        // SAFETY: the entry is this half's, which does not run yet.
        unsafe { lhinfo::fall_back(entry, why) };
        return None;
    }
    (entry.tls_start, entry.tls_end, entry.shared_fs) = (start, end, 1);
    Some(TlsSlot(start as usize))
}

/// Loads the upper half and passes control to it.
pub fn start_upper(start: &Start, plan: &Plan) -> ! {
    let owner = Owner::Upper;
    let program = load(plan.exe, owner, None);
    let interp = load_interp(&program, plan.exe, owner);
    let execfn = plan.execfn.unwrap_or(plan.exe);
    name_process(execfn);
    let mut stack = upper_stack(program.executable_stack);
    // Two variables are ours; the kernel shows the user's.
    let mut preload = start
        .var(b"SPLITPROC_PRELOAD")
        .map(|list| stack.bytes(&[b"LD_PRELOAD=", list.to_bytes_with_nul()]));
    let var = stack.bytes(&[LHINFO_VAR]);
    let (args, env) = (|| start.args(plan.argv0), || program_env(start));
    // Directly behind the arguments: a program that writes a longer title over them goes on there.
    let (env_begin, env_end) = stack.block(env);
    let (args_begin, args_end) = stack.block(args);
    stack.gap(window::random());
    stack.word(args().count());
    for (at, _) in placed(args_begin, args()) {
        stack.word(at);
    }
    stack.word(0);
    for (at, e) in placed(env_begin, env()) {
        if !is(e, b"LD_PRELOAD") {
            stack.word(at);
        } else if let Some(at) = preload.take() {
            stack.word(at);
        }
    }
    if let Some(at) = preload {
        stack.word(at);
    }
    stack.word(var);
    stack.word(0);
    auxv(
        start,
        &mut stack,
        &program,
        &interp,
        execfn,
        Some(VDSO_BASE),
    );
    let sp = stack.finish();
    // The lower halves are up: the digits are overwritten in place, nothing moves.
    // SAFETY: the 16 digits after `LHINFO_PTR=0x` lie on the stack just built.
    hex(lhinfo::ptr() as usize, unsafe {
        core::slice::from_raw_parts_mut((var + 13) as *mut u8, 16)
    });
    let strings = [args_begin, args_end, env_begin, env_end];
    // SAFETY: lhInfo is mapped, and nobody reads this before a checkpoint.
    unsafe { (*lhinfo::ptr()).upper.strings = strings };
    shown::show(strings);
    let mut unused = Context::new();
    // SAFETY: as in `start_lower`; the upper half never comes back.
    unsafe { arch::enter_half(&mut unused, interp.entry, sp) };
    die!(126, "the upper half returned to the loader")
}

/// The environment that the program would have without splitproc.
fn program_env(start: &Start) -> impl Iterator<Item = &'static CStr> + '_ {
    start
        .env()
        .filter(|e| !is(e, b"LHINFO_PTR") && !e.to_bytes().starts_with(b"SPLITPROC_"))
}

/// The process's name (`comm`): the last part of its path, as after `execve`. The kernel cuts it to 15 bytes.
fn name_process(execfn: &CStr) {
    let path = execfn.to_bytes_with_nul();
    let at = path.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
    let (nr, name) = (libc::SYS_prctl as usize, path[at..].as_ptr() as usize);
    // SAFETY: the name ends with a NUL.
    unsafe { arch::syscall6(nr, libc::PR_SET_NAME as usize, name, 0, 0, 0, 0) };
}

/// Maps a program or says why not, as a shell would.
fn load(path: &CStr, owner: Owner, tls: Option<TlsSlot>) -> Image {
    match elf::load(path, owner, tls) {
        Ok(image) => image,
        Err(elf::Error::Os(call, e)) => {
            let code = if e == libc::ENOENT as isize { 127 } else { 126 };
            die!(code, "{:?}: {} failed with errno {}", path, call, e)
        }
        Err(elf::Error::Format(why)) => die!(126, "{:?}: {}", path, why),
    }
}

/// Maps the program's `ld.so`.
fn load_interp(program: &Image, path: &CStr, owner: Owner) -> Image {
    match CStr::from_bytes_until_nul(&program.interp) {
        Ok(interp) if !interp.is_empty() => load(interp, owner, None),
        _ => die!(
            126,
            "{:?} is statically linked: splitproc needs a dynamically linked program",
            path
        ),
    }
}

/// A start stack in `owner`'s window, with a guard page below.
fn new_stack(owner: Owner, len: usize) -> StackBuilder {
    let guard = 16 * crate::layout::PAGE;
    let base = match window::reserve(owner, len + guard) {
        Ok(base) => base,
        Err(e) => die!(126, "no room for a stack: errno {}", e),
    };
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE
        | libc::MAP_ANONYMOUS
        | libc::MAP_FIXED
        | libc::MAP_NORESERVE
        | libc::MAP_STACK;
    // SAFETY: the range was reserved for this stack.
    if unsafe { elf::map(base + guard, len, prot, flags, -1, 0) }.is_err() {
        die!(126, "no room for a stack");
    }
    // SAFETY: fresh, writable and large enough (StackBuilder checks).
    unsafe { StackBuilder::new(base + guard, base + guard + len) }
}

/// The room that the upper half's stack has to grow in.
const STACK_ROOM: usize = 64 << 30;

/// The upper half's stack, which grows as the kernel's own do: as far as the limit says at that time, and ld.so can make it
/// executable for a library that wants it so. What is there from the beginning is as large as the limit, but not more than
/// arguments need.
fn upper_stack(executable: bool) -> StackBuilder {
    let (owner, len) = (Owner::Upper, stack_limit().clamp(1 << 20, 64 << 20));
    let base = match window::reserve(owner, STACK_ROOM) {
        Ok(base) => base,
        Err(e) => die!(126, "no room for a stack: errno {}", e),
    };
    let (at, top) = (base + STACK_ROOM - len, base + STACK_ROOM);
    let exec = if executable { libc::PROT_EXEC } else { 0 };
    let prot = libc::PROT_READ | libc::PROT_WRITE | exec;
    let flags = libc::MAP_PRIVATE
        | libc::MAP_ANONYMOUS
        | libc::MAP_FIXED
        | libc::MAP_NORESERVE
        | libc::MAP_STACK
        | libc::MAP_GROWSDOWN;
    // SAFETY: the range was reserved for this stack; no other mapping is placed in what it leaves free, below the cursor.
    unsafe {
        if elf::map(at, len, prot, flags, -1, 0).is_err() {
            die!(126, "no room for a stack");
        }
        arch::syscall6(libc::SYS_munmap as usize, base, at - base, 0, 0, 0, 0);
        StackBuilder::new(at, top)
    }
}

/// How large the program's stack may be.
fn stack_limit() -> usize {
    let mut limit = [0u64; 2];
    // SAFETY: prlimit64 writes two words.
    unsafe {
        let at = limit.as_mut_ptr() as usize;
        arch::syscall6(
            libc::SYS_prlimit64 as usize,
            0,
            libc::RLIMIT_STACK as usize,
            0,
            at,
            0,
            0,
        )
    };
    crate::layout::page_down(limit[0] as usize)
}

/// Writes the auxiliary vector: the kernel's, with what describes the program replaced.
fn auxv(
    start: &Start,
    stack: &mut StackBuilder,
    program: &Image,
    interp: &Image,
    path: &CStr,
    vdso: Option<usize>,
) {
    // SAFETY: lhInfo is mapped; the bytes were set before the first half.
    let random = unsafe { lhinfo::get().random };
    let random = stack.bytes(&[&random]);
    let path = stack.bytes(&[path.to_bytes_with_nul()]);
    for [kind, value] in start.auxv() {
        let value = match kind as u64 {
            libc::AT_PHDR => program.phdrs,
            libc::AT_PHNUM => program.phnum,
            libc::AT_BASE => interp.bias,
            libc::AT_ENTRY => program.entry,
            libc::AT_RANDOM => random,
            libc::AT_EXECFN => path,
            // SAFETY: a C string, where it is given; the copy lives as long as the half.
            libc::AT_PLATFORM => unsafe {
                stack.bytes(&[CStr::from_ptr(value as *const _).to_bytes_with_nul()])
            },
            libc::AT_SYSINFO_EHDR => vdso.unwrap_or(value),
            _ => value,
        };
        stack.word(kind);
        stack.word(value);
    }
    stack.word(libc::AT_NULL as usize);
    stack.word(0);
}

/// Is this `NAME=…`?
fn is(entry: &CStr, name: &[u8]) -> bool {
    entry
        .to_bytes()
        .strip_prefix(name)
        .is_some_and(|r| r.first() == Some(&b'='))
}

fn cstr(bytes: &[u8]) -> &CStr {
    CStr::from_bytes_with_nul(bytes).unwrap_or(c"")
}

/// `n` in hexadecimal, filling `to`.
fn hex(mut n: usize, to: &mut [u8]) {
    for d in to.iter_mut().rev() {
        *d = b"0123456789abcdef"[n & 15];
        n >>= 4;
    }
}

/// `n` in decimal, filling `to` with leading zeros.
fn decimal(mut n: u32, to: &mut [u8]) {
    for d in to.iter_mut().rev() {
        *d = b'0' + (n % 10) as u8;
        n /= 10;
    }
}
