//! Environment: start, end, time, memory, buffers.

use super::abi::*;
use super::bsend::{self, Owner};
use super::front::{finish, forward, put};
use super::lower::{self, ix, must};
use super::model::{comm, WORLD_RANK, WORLD_SIZE};
use super::{coll, complete, cut, errs, launched, own, partitioned, promises, sessions, turn};
use crate::{gate, host};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;

static INITIALIZED: AtomicBool = AtomicBool::new(false);
static FINALIZED: AtomicBool = AtomicBool::new(false);
static UP: AtomicBool = AtomicBool::new(false);
static DOWN: AtomicBool = AtomicBool::new(false);
/// The process that started MPI.
static STARTER: AtomicI32 = AtomicI32::new(0);
static PROVIDED: AtomicI32 = AtomicI32::new(0);
static MAIN_THREAD: AtomicU64 = AtomicU64::new(0);

/// Is MPI up in the lower half?
pub fn active() -> bool {
    UP.load(Relaxed)
}

/// Starts MPI in the lower half, for several threads if the program has asked for that, or because the drain calls it
/// while a thread is blocked in it. Returns rank and size.
///
/// # Safety
/// Once per lower half.
pub unsafe fn start_lower() -> Result<(i32, i32), i32> {
    lower::resolve();
    let level = match lower::serialized(!multiple()) {
        true => THREAD_SERIALIZED,
        false => THREAD_MULTIPLE,
    };
    let (mut provided, mut rank, mut size) = (0i32, 0i32, 0i32);
    let check = |code: i32| if code == SUCCESS { Ok(()) } else { Err(code) };
    check(must(
        ix::Init_thread,
        &[0, 0, level as u64, &mut provided as *mut i32 as u64],
    ))?;
    if provided == THREAD_MULTIPLE {
        // MPICH with a progress thread of its own raises the level.
        turn::needless();
    }
    for c in [COMM_WORLD, COMM_SELF] {
        check(errs::returned(c))?;
    }
    check(must(
        ix::Comm_rank,
        &[COMM_WORLD as u64, &mut rank as *mut i32 as u64],
    ))?;
    check(must(
        ix::Comm_size,
        &[COMM_WORLD as u64, &mut size as *mut i32 as u64],
    ))?;
    Ok((rank, size))
}

/// Connects the ranks' hosts: rank 0's address travels over MPI itself.
///
/// # Safety
/// MPI is started in the lower half.
pub unsafe fn connect(rank: i32, size: i32) -> Result<(), String> {
    // Only rank 0's address matters; the others take part in the broadcast even if it has none.
    let listened = if rank == 0 {
        host::listen()
    } else {
        Ok(Vec::new())
    };
    let (mut blob, failed) = match listened {
        Ok(blob) => (blob, None),
        Err(e) => (Vec::new(), Some(e.message)),
    };
    let mut len = blob.len() as i32;
    let word = |p: *mut i32| p as u64;
    must(
        ix::Bcast,
        &[word(&mut len), 1, INT as u64, 0, COMM_WORLD as u64],
    );
    blob.resize(len.max(0) as usize, 0);
    must(
        ix::Bcast,
        &[
            blob.as_mut_ptr() as u64,
            len as u64,
            BYTE as u64,
            0,
            COMM_WORLD as u64,
        ],
    );
    if let Some(message) = failed {
        return Err(message);
    }
    host::connect(rank as u32, size as u32, &blob).map_err(|e| e.message)
}

pub unsafe fn init(_argc: usize, _argv: usize) -> i32 {
    start(0, 0)
}

pub unsafe fn init_thread(_argc: usize, _argv: usize, required: i32, provided: usize) -> i32 {
    start(required, provided)
}

/// Starts MPI in the lower half and makes what is always there, if that is not done: by `MPI_Init` or by the first
/// session. It is known by now whether several threads will call.
///
/// # Safety
/// Outside the gate.
pub unsafe fn bring_up() -> Result<(), i32> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let _inside = gate::enter(gate::Call::MustComplete);
    if multiple() {
        super::model::lock::share_for_good();
        turn::several();
    }
    if UP.load(Relaxed) {
        return Ok(());
    }
    if DOWN.load(Relaxed) {
        eprintln!("splitproc: MPI can't be started again after MPI_Finalize");
        return Err(ERR_OTHER);
    }
    let (rank, size) = start_lower().inspect_err(|code| {
        eprintln!("splitproc: MPI_Init failed in the lower half with code {code}");
    })?;
    promises::note();
    own::note_rounding();
    launched::note();
    WORLD_RANK.store(rank, Relaxed);
    WORLD_SIZE.store(size, Relaxed);
    super::model::traffic::make(size as usize);
    comm::make_predefined(rank, size);
    let code = super::sync::init();
    if code != SUCCESS {
        return Err(code);
    }
    if let Err(message) = connect(rank, size) {
        eprintln!("splitproc: rank {rank}: {message}");
        libc::_exit(1);
    }
    STARTER.store(libc::getpid(), Relaxed);
    on_exit(leave, 0);
    lower::callers(lower::Callers::Program);
    UP.store(true, Relaxed);
    Ok(())
}

extern "C" {
    fn on_exit(f: unsafe extern "C" fn(i32, usize), arg: usize) -> i32;
}

/// At the end of a program that used sessions and has ended them all, MPI ends, which it could not before.
unsafe extern "C" fn leave(status: i32, _arg: usize) {
    if libc::getpid() != STARTER.load(Relaxed) {
        return; // a child of the program's
    }
    let ended = INITIALIZED.load(Relaxed) == FINALIZED.load(Relaxed);
    if status == 0 && active() && ended && sessions::used() && sessions::open() == 0 {
        take_down();
    }
}

unsafe fn start(required: i32, provided: usize) -> i32 {
    let granted = required.clamp(0, THREAD_MULTIPLE);
    PROVIDED.store(granted, Relaxed);
    if let Err(code) = bring_up() {
        return code;
    }
    let _inside = gate::enter(gate::Call::MustComplete);
    MAIN_THREAD.store(libc::pthread_self() as u64, Relaxed);
    if provided != 0 {
        put(provided, granted);
    }
    INITIALIZED.store(true, Relaxed);
    SUCCESS
}

/// Did the application ask for `MPI_THREAD_MULTIPLE`?
pub fn multiple() -> bool {
    PROVIDED.load(Relaxed) == THREAD_MULTIPLE || sessions::used()
}

pub unsafe fn initialized(flag: usize) -> i32 {
    put(flag, INITIALIZED.load(Relaxed) as i32);
    SUCCESS
}

pub unsafe fn finalized(flag: usize) -> i32 {
    put(flag, FINALIZED.load(Relaxed) as i32);
    SUCCESS
}

pub unsafe fn finalize() -> i32 {
    super::attrs::delete_last();
    bsend::end(Owner::Process);
    if sessions::open() > 0 {
        FINALIZED.store(true, Relaxed);
        return coll::blocking(COMM_WORLD, false, || {
            lower::call(ix::Barrier, &[COMM_WORLD as u64])
        });
    }
    let code = take_down();
    FINALIZED.store(true, Relaxed);
    code
}

/// Ends MPI in the lower half, on all ranks.
unsafe fn take_down() -> i32 {
    bsend::end(Owner::Ours);
    // Ranks wait for each other where a checkpoint may still be taken, then end together.
    coll::blocking(COMM_WORLD, false, || {
        lower::call(ix::Barrier, &[COMM_WORLD as u64])
    });
    cut::end();
    let inside = gate::enter(gate::Call::MustComplete);
    complete::sweep();
    partitioned::finish();
    super::sync::finish();
    let code = must(ix::Finalize, &[]);
    DOWN.store(true, Relaxed);
    UP.store(false, Relaxed);
    drop(inside);
    cut::ended();
    code
}

pub unsafe fn abort(comm: i32, code: i32) -> i32 {
    crate::streams::flush();
    let lower = super::handle::comm(comm).unwrap_or(COMM_WORLD as u64);
    forward(comm, || lower::call(ix::Abort, &[lower, code as u64]))
}

/// The thread level that the application was given.
pub fn granted() -> i32 {
    PROVIDED.load(Relaxed)
}

pub unsafe fn query_thread(provided: usize) -> i32 {
    put(provided, granted());
    SUCCESS
}

pub unsafe fn is_thread_main(flag: usize) -> i32 {
    put(
        flag,
        (MAIN_THREAD.load(Relaxed) == libc::pthread_self() as u64) as i32,
    );
    SUCCESS
}

pub unsafe fn get_processor_name(name: usize, len: usize) -> i32 {
    forward(COMM_WORLD, || {
        lower::call(ix::Get_processor_name, &[name as u64, len as u64])
    })
}

pub unsafe fn wtime() -> f64 {
    let mut t: libc::timespec = std::mem::zeroed();
    libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

pub unsafe fn wtick() -> f64 {
    1e-9
}

pub unsafe fn get_version(version: usize, subversion: usize) -> i32 {
    put(version, 4);
    put(subversion, 0);
    SUCCESS
}

pub unsafe fn get_library_version(text: usize, len: usize) -> i32 {
    let before = || concat!("splitproc ", env!("CARGO_PKG_VERSION")).into();
    let version = promises::version().unwrap_or_else(before);
    std::ptr::copy_nonoverlapping(version.as_ptr(), text as *mut u8, version.len());
    put(text + version.len(), 0u8);
    put(len, version.len() as i32);
    SUCCESS
}

pub unsafe fn pcontrol(_level: i32) -> i32 {
    SUCCESS
}

pub unsafe fn alloc_mem(size: i64, _info: i32, out: usize) -> i32 {
    if size < 0 {
        return finish(COMM_WORLD, Ok(ERR_ARG));
    }
    let p = libc::malloc(size.max(1) as usize);
    put(out, p);
    if p.is_null() {
        finish(COMM_WORLD, Ok(34))
    } else {
        SUCCESS
    }
}

pub unsafe fn free_mem(p: usize) -> i32 {
    libc::free(p as *mut _);
    SUCCESS
}

pub unsafe fn get_address(p: usize, out: usize) -> i32 {
    put(out, p as i64);
    SUCCESS
}

pub unsafe fn address(p: usize, out: usize) -> i32 {
    get_address(p, out)
}

pub unsafe fn aint_add(base: i64, disp: i64) -> i64 {
    base.wrapping_add(disp)
}

pub unsafe fn aint_diff(a: i64, b: i64) -> i64 {
    a.wrapping_sub(b)
}
