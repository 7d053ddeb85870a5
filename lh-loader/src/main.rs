//! The `lh-loader` program: freestanding, static, linked at its own window.
//!
//! It runs before any libc: no TLS, no heap, no unwinding. It maps lhInfo, starts the lower halves one
//! after the other, then the upper half (or, in a restart, brings the saved upper half back), and stays
//! in memory: the router lives here.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::sync::atomic::Ordering;
use lh_loader::args::{Plan, Start};
use lh_loader::heap::Bump;
use lh_loader::layout::{LHINFO_BASE, PAGE, VDSO_BASE};
use lh_loader::lhinfo::{self, HalfStart};
use lh_loader::{arch, die, elf, halves, restore, route, say, vdso};

mod mem;

/// The kernel lets programs use `wrfsbase`.
const HWCAP2_FSGSBASE: usize = 2;

#[global_allocator]
static HEAP: Bump<{ 1 << 20 }> = Bump::new();

/// The first instruction: hands the initial stack pointer to [`main`].
#[unsafe(naked)]
#[no_mangle]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "xor ebp, ebp", // the outermost frame
        "mov rdi, rsp", // argc, argv, envp, auxv
        "and rsp, -16", // as the ABI wants it at a call
        "call {main}",
        "ud2", // main does not return
        main = sym main,
    )
}

/// Loads everything; see the crate's documentation.
unsafe extern "C" fn main(sp: *const usize) -> ! {
    // SAFETY: `sp` is the process's initial stack pointer.
    let start = unsafe { Start::new(sp) };
    if let Some(code) = start.var(say::FAIL_CODE) {
        say::set_fail_code(code.to_bytes());
    }
    register_fences();
    let plan = Plan::parse(&start);
    match plan.attach {
        // SAFETY: the plugin waits for `back`, and keeps what it passed until then.
        Some(attach) if unsafe { (*attach).restart } != 0 => renew_lhinfo(&start, &plan),
        _ => map_lhinfo(&start, &plan),
    }
    route::init(plan.log, plan.attach.is_some());
    if let Some([_, parent]) = plan.known_as {
        route::set_parent(parent);
    }
    if let Some(folder) = start.var(b"SPLITPROC_FRONTS") {
        let has = |name| plan.halves.iter().flatten().any(|half| half.name == name);
        // SAFETY: this is the only thread.
        unsafe { route::fronts::set_folder(folder, has(c"mpi"), has(c"cuda")) };
    }
    route::can_execute(start.words(plan.again.0), plan.again.1);
    let mut host: Option<&'static HalfStart> = None;
    for (i, half) in plan.halves.iter().flatten().enumerate() {
        let up = halves::start_lower(&start, &plan, first_half(&plan) + i, half);
        if half.name == c"host" {
            host = Some(up);
        }
    }
    if let Some(attach) = plan.attach {
        // SAFETY: as above.
        unsafe { ((*attach).back)(attach) }
    }
    match (plan.restore, host) {
        (None, _) => halves::start_upper(&start, &plan),
        // SAFETY: the host restores memory and lhInfo's threads before it sets `go`.
        (Some(_), Some(host)) => unsafe { restore::revive(host) },
        (Some(_), None) => die!(126, "a restart needs the host half"),
    }
}

/// The gate and the halves make all threads pass a fence by `membarrier`. A process with one thread registers for it at
/// once; one with several waits for many milliseconds.
fn register_fences() {
    const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4; // as in linux/membarrier.h
    let call = libc::SYS_membarrier as usize;
    // SAFETY: membarrier has no memory arguments.
    unsafe { arch::syscall6(call, REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0) };
}

/// The first half's index: half 0 is the embedded host's, which an attached loader does without.
fn first_half(plan: &Plan) -> usize {
    usize::from(plan.attach.is_some())
}

/// Number of used entries of `LhInfo::halves`.
fn half_count(plan: &Plan) -> u32 {
    (first_half(plan) + plan.halves.iter().flatten().count()) as u32
}

/// Notes what the user and this machine have to say.
fn set_options(info: &mut lhinfo::LhInfo, start: &Start, plan: &Plan) {
    info.crossing = plan.crossing;
    let fsgsbase = start.aux(libc::AT_HWCAP2).unwrap_or(0) & HWCAP2_FSGSBASE != 0;
    info.wrfsbase = u32::from(fsgsbase && plan.crossing != lhinfo::CROSS_PRCTL);
    info.verbose = u32::from(plan.verbose);
    info.half_count = half_count(plan);
}

/// lhInfo has come from an image: what it says of the old halves is forgotten.
fn renew_lhinfo(start: &Start, plan: &Plan) {
    // SAFETY: the plugin says that it is mapped; the other threads wait for the halves.
    let info = unsafe { &mut *lhinfo::ptr() };
    if (info.magic, info.version) != (lhinfo::MAGIC, lhinfo::VERSION) {
        die!(
            126,
            "the image was made by another version of splitproc ({}, this is {}); use that one",
            info.version,
            lhinfo::VERSION
        );
    }
    // SAFETY: entries are plain data, for which zero means absent.
    info.halves = unsafe { core::mem::zeroed() };
    for task in &info.lower_tasks {
        task.store(0, Ordering::Relaxed);
    }
    info.clone_lock.store(0, Ordering::Relaxed);
    set_options(info, start, plan);
}

/// Maps lhInfo and fills what is known before the first half.
fn map_lhinfo(start: &Start, plan: &Plan) {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: NOREPLACE covers nothing.
    if let Err(e) = unsafe { elf::map(LHINFO_BASE, lhinfo::LEN, prot, flags, -1, 0) } {
        die!(126, "lhInfo can't be mapped at {:#x}: {:?}", LHINFO_BASE, e);
    }
    // SAFETY: just mapped, zeroed, and this is the only thread.
    let info = unsafe { &mut *lhinfo::ptr() };
    info.magic = lhinfo::MAGIC;
    info.version = lhinfo::VERSION;
    info.hole = plan.hole;
    set_options(info, start, plan);
    info.random = match (plan.random, start.aux(libc::AT_RANDOM)) {
        (Some(random), _) => random,
        // SAFETY: AT_RANDOM points to 16 bytes.
        (None, Some(at)) => unsafe { *(at as *const [u8; 16]) },
        (None, None) => die!(126, "the kernel gave no AT_RANDOM"),
    };
    info.raw_syscall
        .store(arch::raw_syscall as *const () as usize, Ordering::Relaxed);
    let exe = plan.exe.to_bytes();
    let n = exe.len().min(info.upper.exe.len() - 1);
    info.upper.exe[..n].copy_from_slice(&exe[..n]);
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { arch::syscall6(libc::SYS_getpid as usize, 0, 0, 0, 0, 0, 0) };
    info.upper.pid.store(pid as u32, Ordering::Relaxed);
    if let Some([known, _]) = plan.known_as {
        // As after a restart: the program that this one was executed by had been restarted.
        info.upper.pid.store(known, Ordering::Relaxed);
        info.upper.real_pid.store(pid as u32, Ordering::Relaxed);
        info.upper.generation.store(1, Ordering::Relaxed);
        info.threads[0].tid.store(known, Ordering::Relaxed);
        info.threads[0]
            .real_tid
            .store(pid as u32, Ordering::Relaxed);
        info.thread_count.store(1, Ordering::Relaxed);
    }
    if plan.attach.is_some() {
        return;
    }
    // For tests: without it as on a kernel that has none, so that a restart finds "another kernel".
    let kernel_vdso = match start.var(b"SPLITPROC_VDSO") {
        Some(wish) if wish == c"off" => 0,
        _ => start.aux(libc::AT_SYSINFO_EHDR).unwrap_or(0),
    };
    // SAFETY: the kernel's vDSO stays mapped.
    unsafe { vdso::fill_slots(&info.vdso_slots, kernel_vdso) };
    if plan.restore.is_none() {
        map_vdso(info.vdso_slots.as_ptr() as usize);
    }
}

/// Maps the upper half's vDSO. In a restart it comes from the image.
fn map_vdso(slots: usize) {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: NOREPLACE covers nothing; the page is ours until it is made executable.
    unsafe {
        if let Err(e) = elf::map(VDSO_BASE, PAGE, prot, flags, -1, 0) {
            die!(126, "the vDSO can't be mapped at {:#x}: {:?}", VDSO_BASE, e);
        }
        vdso::build(&mut *(VDSO_BASE as *mut [u8; PAGE]), slots);
        let prot = libc::PROT_READ | libc::PROT_EXEC;
        arch::syscall6(
            libc::SYS_mprotect as usize,
            VDSO_BASE,
            PAGE,
            prot as usize,
            0,
            0,
            0,
        );
    }
}

/// A panic is a defect of ours: say where, and stop.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    die!(134, "internal error in the loader: {}", info)
}
