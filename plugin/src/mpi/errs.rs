//! Error handlers. The lower half always returns its errors; what is done about them is decided here.

use super::abi::*;
use super::codes;
use super::front::{forward, local, put};
use super::lower::{ix, must, Fail};
use super::model::objects::{find, Errhandler, ERRHANDLERS};
use super::model::{comm as comms, lock, window, Guard, Locked, WORLD_RANK};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Has the lower half return the errors of one of its communicators; the code of that.
///
/// # Safety
/// `lower` must be a communicator of the lower half.
pub unsafe fn returned(lower: i32) -> i32 {
    must(
        ix::Comm_set_errhandler,
        &[lower as u64, ERRORS_RETURN as u64],
    )
}

/// Errors of requests are their communicators'? Open MPI and the standard have it so. In MPICH they are MPI_COMM_WORLD's.
static OF_REQUESTS: AtomicBool = AtomicBool::new(false);

/// The program is of an ABI in which they are.
pub fn set_of_requests() {
    OF_REQUESTS.store(true, Relaxed);
}

/// Are they?
#[inline(always)]
pub fn of_requests() -> bool {
    OF_REQUESTS.load(Relaxed)
}

/// Applies the communicator's or window's error handler to an error. A window that none was set for has
/// MPI_COMM_WORLD's, as in MPICH.
#[cold]
pub fn raise(object: i32, code: i32) -> i32 {
    let of_window = window::get(object).map(|w| w.meta.get(&lock()).errhandler);
    let object = match of_window {
        Ok(ERRHANDLER_NULL) => COMM_WORLD,
        Ok(set) => return apply(set, 2, object, COMM_WORLD, code),
        Err(_) => object,
    };
    let c = comms::get(object).or_else(|_| comms::get(COMM_WORLD));
    let Ok(c) = c else { fatal(COMM_WORLD, code) };
    let handle = c.handle.load(Relaxed);
    let guard = lock();
    let handler = of(&guard, c);
    drop(guard);
    apply(handler, 0, handle, handle, code)
}

/// A communicator's error handler. One that none was set for has MPI_COMM_WORLD's, as in MPICH.
fn of(guard: &Guard, c: &comms::Comm) -> i32 {
    match c.meta.get(guard).errhandler {
        ERRHANDLER_NULL => comms::get(COMM_WORLD)
            .map(|world| world.meta.get(guard).errhandler)
            .ok()
            .filter(|e| *e != ERRHANDLER_NULL)
            .unwrap_or(ERRORS_ARE_FATAL),
        set => set,
    }
}

/// Applies a file's error handler to an error.
#[cold]
pub fn raise_of_file(handler: i32, file: usize, code: i32) -> i32 {
    apply(handler, 1, file, COMM_WORLD, code)
}

/// Applies a session's error handler to an error.
#[cold]
pub fn raise_of_session(handler: i32, session: i32, code: i32) -> i32 {
    apply(handler, 0, session, COMM_WORLD, code)
}

/// Applies an error handler; `comm` is what ends with a fatal one.
fn apply<H>(handler: i32, kind: i32, mut handle: H, comm: i32, code: i32) -> i32 {
    if let Some(given) = GIVEN.get(&lock()) {
        given.drain(..given.len().saturating_sub(DETAILED - 1));
        given.push(code);
    }
    match handler {
        ERRORS_RETURN => code,
        ERRORS_ARE_FATAL | ERRORS_ABORT => fatal(comm, code),
        user => {
            let found = find(&ERRHANDLERS, V_ERRHANDLER, user);
            found.map_or(code, |e| call(e, kind, &mut handle, code))
        }
    }
}

/// Calls the application's error handler for a communicator (0), file (1) or window (2); the code that the call
/// then gives.
fn call<H>(e: &Errhandler, kind: i32, handle: &mut H, code: i32) -> i32 {
    type Function<H> = unsafe extern "C" fn(*mut H, *mut i32, ...);
    type Caller<H> = unsafe extern "C" fn(i32, *mut H, *mut i32, usize);
    let mut value = code;
    match e.caller.load(Relaxed) {
        // SAFETY: the application registered a function of this type; both arguments live through the call.
        0 => unsafe {
            std::mem::transmute::<usize, Function<H>>(e.function)(handle, &mut value);
        },
        // SAFETY: the front or the C++ library gave a function of this type.
        caller => unsafe {
            let caller: Caller<H> = std::mem::transmute(caller);
            caller(kind, handle, &mut value, e.function);
        },
    }
    match e.silent.load(Relaxed) {
        true => SUCCESS,
        false => value,
    }
}

/// Gives an error handler a function that calls the application's; `silent`: what failed succeeds after it.
pub fn set_caller(handler: i32, caller: usize, silent: bool) {
    if let Some(e) = find(&ERRHANDLERS, V_ERRHANDLER, handler) {
        e.caller.store(caller, Relaxed);
        e.silent.store(silent, Relaxed);
    }
}

/// The codes that were given since the last restart, the newest last; `None` before the first one.
static GIVEN: Locked<Option<Vec<i32>>> = Locked::new(None);
/// MPICH has the details of so many.
const DETAILED: usize = 128;

/// A code's details are in the library that gave it: of one from before a restart the class is left.
fn known(guard: &Guard, code: i32) -> i32 {
    match GIVEN.get(guard) {
        Some(given) if !codes::added(guard, code) && !given.contains(&code) => code & ERR_CLASS,
        _ => code,
    }
}

/// The text of an error code.
pub fn text(code: i32) -> String {
    let mut buffer = [0u8; 512];
    let mut len = 0i32;
    let at = &mut len as *mut i32 as u64;
    // SAFETY: the buffer has MPI_MAX_ERROR_STRING bytes.
    unsafe {
        must(
            ix::Error_string,
            &[code as u64, buffer.as_mut_ptr() as u64, at],
        )
    };
    String::from_utf8_lossy(&buffer[..(len.max(0) as usize).min(512)]).into_owned()
}

fn fatal(comm: i32, code: i32) -> ! {
    crate::streams::flush();
    eprintln!(
        "Abort({code}) on node {}: Fatal error in an MPI call: {}",
        WORLD_RANK.load(Relaxed),
        text(code)
    );
    // SAFETY: the whole job ends here.
    unsafe {
        let lower = super::handle::comm(comm).unwrap_or(COMM_WORLD as u64);
        must(ix::Abort, &[lower, code as u64]);
        libc::_exit(1)
    }
}

/// One use of an error handler more.
pub fn hold(handle: i32) {
    if let Some(e) = find(&ERRHANDLERS, V_ERRHANDLER, handle) {
        e.refs.fetch_add(1, Relaxed);
    }
}

/// One use of an error handler fewer.
pub fn release(guard: &Guard, handle: i32) {
    if let Some(e) = find(&ERRHANDLERS, V_ERRHANDLER, handle) {
        if e.refs.fetch_sub(1, Relaxed) == 1 {
            ERRHANDLERS.remove(guard, handle & INDEX_MASK);
        }
    }
}

/// Gives a new communicator its parent's error handler.
pub fn inherit(guard: &Guard, parent: &comms::Comm, child: &comms::Comm) {
    let e = parent.meta.get(guard).errhandler;
    hold(e);
    child.meta.get(guard).errhandler = e;
}

pub unsafe fn comm_create_errhandler(function: usize, out: usize) -> i32 {
    local(COMM_WORLD, || {
        let guard = lock();
        let i = ERRHANDLERS.add(
            &guard,
            Errhandler {
                function,
                caller: AtomicUsize::new(0),
                silent: AtomicBool::new(false),
                refs: AtomicU32::new(1),
            },
        );
        put(out, V_ERRHANDLER | i);
        Ok(())
    })
}

pub unsafe fn errhandler_create(function: usize, out: usize) -> i32 {
    comm_create_errhandler(function, out)
}

pub unsafe fn comm_set_errhandler(comm: i32, handler: i32) -> i32 {
    local(comm, || {
        let c = comms::get(comm)?;
        let guard = lock();
        hold(handler);
        let old = std::mem::replace(&mut c.meta.get(&guard).errhandler, handler);
        release(&guard, old);
        Ok(())
    })
}

pub unsafe fn errhandler_set(comm: i32, handler: i32) -> i32 {
    comm_set_errhandler(comm, handler)
}

pub unsafe fn comm_get_errhandler(comm: i32, out: usize) -> i32 {
    local(comm, || {
        let c = comms::get(comm)?;
        let guard = lock();
        let e = of(&guard, c);
        hold(e);
        put(out, e);
        Ok(())
    })
}

pub unsafe fn errhandler_get(comm: i32, out: usize) -> i32 {
    comm_get_errhandler(comm, out)
}

pub unsafe fn comm_call_errhandler(comm: i32, code: i32) -> i32 {
    if let Err(Fail::Code(e)) = comms::get(comm).map(|_| ()) {
        return raise(COMM_WORLD, e);
    }
    raise(comm, code);
    SUCCESS
}

pub unsafe fn win_create_errhandler(function: usize, out: usize) -> i32 {
    comm_create_errhandler(function, out)
}

pub unsafe fn win_set_errhandler(win: i32, handler: i32) -> i32 {
    local(win, || {
        let w = window::get(win)?;
        let guard = lock();
        hold(handler);
        let old = std::mem::replace(&mut w.meta.get(&guard).errhandler, handler);
        release(&guard, old);
        Ok(())
    })
}

pub unsafe fn win_get_errhandler(win: i32, out: usize) -> i32 {
    local(win, || {
        let w = window::get(win)?;
        let guard = lock();
        let e = match w.meta.get(&guard).errhandler {
            ERRHANDLER_NULL => ERRORS_ARE_FATAL,
            set => set,
        };
        hold(e);
        put(out, e);
        Ok(())
    })
}

pub unsafe fn win_call_errhandler(win: i32, code: i32) -> i32 {
    if let Err(Fail::Code(e)) = window::get(win).map(|_| ()) {
        return raise(COMM_WORLD, e);
    }
    raise(win, code);
    SUCCESS
}

pub unsafe fn errhandler_free(at: usize) -> i32 {
    local(COMM_WORLD, || {
        release(&lock(), *(at as *const i32));
        put(at, ERRHANDLER_NULL);
        Ok(())
    })
}

pub unsafe fn error_string(code: i32, out: usize, len: usize) -> i32 {
    local(COMM_WORLD, || {
        let guard = lock();
        let own = codes::text(&guard, code);
        let code = known(&guard, code);
        drop(guard);
        super::infos::put_text(out, len, own.unwrap_or_else(|| text(code).into()));
        Ok(())
    })
}

pub unsafe fn error_class(code: i32, class: usize) -> i32 {
    forward(COMM_WORLD, || {
        super::lower::call(ix::Error_class, &[code as u64, class as u64])
    })
}

/// The details of all codes are gone with the lower half that gave them.
pub fn forget(guard: &Guard) {
    *GIVEN.get(guard) = Some(Vec::new());
}
