//! Files: opening, closing, and what is known of an open one.

use super::abi::*;
use super::front::{again, local, put};
use super::lower::{self, ix, must, Fail, Outcome};
use super::model::file::{self, prefix, File, State, FILES};
use super::model::objects::{Info, INFOS};
use super::model::{comm as comms, datatype, lock, Comm, Locked};
use super::{coll, errs, groups, infos, inside};
use crate::gate::{self, Call, Inside};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};

/// The error handler of `MPI_FILE_NULL`, which files are opened with.
static DEFAULT: AtomicI32 = AtomicI32::new(ERRORS_RETURN);

/// Turns an outcome into the code that the application gets, through the file's error handler.
pub fn finish(handle: usize, outcome: Outcome) -> i32 {
    match outcome {
        Ok(SUCCESS) => SUCCESS,
        Ok(code) | Err(Fail::Code(code)) => errs::raise_of_file(handler(handle), handle, code),
        Err(Fail::Restarted) => errs::raise_of_file(handler(handle), handle, ERR_OTHER),
    }
}

fn handler(handle: usize) -> i32 {
    let f = file::get(handle);
    f.map_or(DEFAULT.load(Relaxed), |f| f.state.get(&lock()).errhandler)
}

/// Runs something on the model alone.
fn own(handle: usize, f: impl FnOnce(&'static File) -> Result<(), Fail>) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = file::get(handle).and_then(f);
    drop(inside);
    finish(handle, outcome.map(|()| SUCCESS))
}

/// Runs a call that all ranks make that have opened the file.
pub fn together(handle: usize, f: impl FnOnce(&'static File) -> Outcome) -> i32 {
    let found = match file::get(handle) {
        Ok(found) => found,
        Err(e) => return finish(handle, Err(e)),
    };
    let (inside, n) = gather(found.comm);
    let outcome = f(found);
    coll::leave(found.comm, n);
    drop(inside);
    finish(handle, outcome)
}

/// Enters a collective of a communicator's, and waits until all members have.
///
/// What follows can't be called again and must complete. Members that are late would make a checkpoint wait for them:
/// here it need not, for the wait itself can be begun anew.
fn gather(c: &Comm) -> (Inside, u64) {
    let (inside, n) = coll::enter(c, false, Call::Reexecutable, true);
    if c.size() > 1 {
        // SAFETY: the communicator is one of the lower half's. An error shows in the call that follows.
        let _ = again(|| unsafe { lower::call(ix::Barrier, &[c.low()]) });
    }
    inside.set(Call::MustComplete);
    inside::about(c.lower.load(Relaxed), 0, 0);
    (inside, n)
}

/// A path that does not depend on the working directory.
fn absolute(path: &CStr) -> CString {
    let (name, path) = path.to_bytes().split_at(prefix(path.to_bytes()));
    let whole = std::path::absolute(OsStr::from_bytes(path));
    let whole = whole.map_or(path.to_vec(), |p| p.into_os_string().into_vec());
    CString::new([name, &whole].concat()).unwrap_or_default()
}

/// Opens a file on a communicator in the lower half.
///
/// # Safety
/// `path` is a C string, `comm` a communicator of the lower half.
pub unsafe fn open_lower(comm: u64, path: &CStr, amode: i32, info: u64) -> Result<usize, i32> {
    let mut lower = 0usize;
    let at = &mut lower as *mut usize as u64;
    // What is forbidden to a sequential file is forbidden by us: its position can't be asked or set there.
    let amode = amode & !MODE_SEQUENTIAL;
    match must(
        ix::File_open,
        &[comm, path.as_ptr() as u64, amode as u64, info, at],
    ) {
        SUCCESS => Ok(lower),
        code => Err(code),
    }
}

pub unsafe fn file_open(comm: i32, path: usize, amode: i32, info: i32, out: usize) -> i32 {
    let c = match comms::get(comm) {
        Ok(c) => c,
        Err(e) => return finish(0, Err(e)),
    };
    let (inside, n) = gather(c);
    let outcome = open(c, CStr::from_ptr(path as *const _), amode, info);
    put(out, *outcome.as_ref().unwrap_or(&0));
    coll::leave(c, n);
    drop(inside);
    finish(0, outcome.map(|_| SUCCESS))
}

unsafe fn open(c: &Comm, path: &CStr, amode: i32, info: i32) -> Result<usize, Fail> {
    if amode & MODE_SEQUENTIAL != 0 && amode & MODE_RDWR != 0 {
        return Err(Fail::Code(ERR_AMODE));
    }
    let given = infos::given(info)?;
    let mut dup = COMM_NULL;
    let at = &mut dup as *mut i32 as u64;
    let code = must(ix::Comm_dup, &[c.low(), at]);
    if code != SUCCESS {
        return Err(Fail::Code(code));
    }
    let lower = infos::with_lower(given.as_deref(), |info| {
        open_lower(dup as u64, path, amode, info)
    });
    let lower = match lower {
        Ok(lower) => lower,
        Err(code) => {
            must(ix::Comm_free, &[at]);
            return Err(Fail::Code(code));
        }
    };
    let comm = super::comms::adopt(c, dup, None);
    let guard = lock();
    let meta = comm.meta.get(&guard);
    errs::release(
        &guard,
        std::mem::replace(&mut meta.errhandler, ERRORS_RETURN),
    );
    let path = absolute(path);
    meta.name = OsString::from_vec(path.to_bytes().to_vec());
    let errhandler = DEFAULT.load(Relaxed);
    errs::hold(errhandler);
    let state = State {
        errhandler,
        info: given.unwrap_or_default(),
        hints: Vec::new(),
        view: None,
        odd: false,
        atomic: false,
        split: None,
        position: 0,
        shared: None,
        size: 0,
    };
    let file = File {
        lower: AtomicUsize::new(lower),
        comm,
        path,
        amode,
        // One that is opened at its end has a shared position there.
        shares: AtomicBool::new(amode & MODE_APPEND != 0),
        state: Locked::new(state),
    };
    Ok(FILES.add(&guard, file) as usize + 1)
}

pub unsafe fn file_close(at: usize) -> i32 {
    let handle = *(at as *const usize);
    let f = match file::get(handle) {
        Ok(f) => f,
        Err(e) => return finish(handle, Err(e)),
    };
    let c = f.comm;
    // All have come: a cut finds the file on all ranks or on none.
    let (inside, n) = gather(c);
    let code = must(ix::File_close, &[f.lower.as_ptr() as u64]);
    coll::leave(c, n);
    let guard = lock();
    let state = f.state.get(&guard);
    let handler = state.errhandler;
    if let Some(view) = state.view.take() {
        datatype::release(&guard, view.etype);
        datatype::release(&guard, view.filetype);
    }
    FILES.remove(&guard, handle as i32 - 1);
    c.release(&guard);
    drop(guard);
    drop(inside);
    put(at, 0usize);
    let code = match code {
        SUCCESS => SUCCESS,
        code => errs::raise_of_file(handler, handle, code),
    };
    errs::release(&lock(), handler);
    code
}

pub unsafe fn file_delete(path: usize, info: i32) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = infos::given(info).map(|given| {
        infos::with_lower(given.as_deref(), |info| {
            must(ix::File_delete, &[path as u64, info])
        })
    });
    drop(inside);
    finish(0, outcome)
}

pub unsafe fn file_get_amode(handle: usize, out: usize) -> i32 {
    own(handle, |f| {
        put(out, f.amode);
        Ok(())
    })
}

pub unsafe fn file_get_group(handle: usize, out: usize) -> i32 {
    own(handle, |f| {
        put(out, groups::register(f.comm.group.clone()));
        Ok(())
    })
}

pub unsafe fn file_get_atomicity(handle: usize, out: usize) -> i32 {
    own(handle, |f| {
        put(out, f.state.get(&lock()).atomic as i32);
        Ok(())
    })
}

pub unsafe fn file_set_atomicity(handle: usize, flag: i32) -> i32 {
    together(handle, |f| {
        let code = must(ix::File_set_atomicity, &[f.low(), flag as u64]);
        if code == SUCCESS {
            f.state.get(&lock()).atomic = flag != 0;
        }
        Ok(code)
    })
}

/// Hints given to an open file: they are given again when it is opened again.
pub fn note_hints(f: &File, given: Option<Vec<(OsString, OsString)>>) {
    let guard = lock();
    let hints = &mut f.state.get(&guard).hints;
    for (key, value) in given.unwrap_or_default() {
        hints.retain(|(k, _)| *k != key);
        hints.push((key, value));
    }
}

pub unsafe fn file_set_info(handle: usize, info: i32) -> i32 {
    together(handle, |f| {
        let given = infos::given(info)?;
        let code = infos::with_lower(given.as_deref(), |info| {
            must(ix::File_set_info, &[f.low(), info])
        });
        if code == SUCCESS {
            note_hints(f, given);
        }
        Ok(code)
    })
}

pub unsafe fn file_get_info(handle: usize, out: usize) -> i32 {
    own(handle, |f| {
        let mut lower = INFO_NULL;
        let code = must(ix::File_get_info, &[f.low(), &mut lower as *mut i32 as u64]);
        if code != SUCCESS {
            return Err(Fail::Code(code));
        }
        let pairs = Locked::new(infos::take_lower(lower));
        put(out, V_INFO | INFOS.add(&lock(), Info { pairs }));
        Ok(())
    })
}

pub unsafe fn file_create_errhandler(function: usize, out: usize) -> i32 {
    errs::comm_create_errhandler(function, out)
}

pub unsafe fn file_set_errhandler(handle: usize, handler: i32) -> i32 {
    if handle == 0 {
        return local(COMM_WORLD, || {
            errs::hold(handler);
            errs::release(&lock(), DEFAULT.swap(handler, Relaxed));
            Ok(())
        });
    }
    own(handle, |f| {
        errs::hold(handler);
        let guard = lock();
        let place = &mut f.state.get(&guard).errhandler;
        errs::release(&guard, std::mem::replace(place, handler));
        Ok(())
    })
}

pub unsafe fn file_get_errhandler(handle: usize, out: usize) -> i32 {
    if handle != 0 {
        if let Err(e) = file::get(handle) {
            return finish(handle, Err(e));
        }
    }
    let handler = handler(handle);
    errs::hold(handler);
    put(out, handler);
    SUCCESS
}

pub unsafe fn file_call_errhandler(handle: usize, code: i32) -> i32 {
    if handle != 0 {
        if let Err(e) = file::get(handle) {
            return finish(handle, Err(e));
        }
    }
    errs::raise_of_file(handler(handle), handle, code);
    SUCCESS
}

pub unsafe fn file_c2f(handle: usize) -> i32 {
    handle as i32
}

pub unsafe fn file_f2c(handle: i32) -> usize {
    handle.max(0) as usize
}

pub unsafe fn file_toint(handle: usize) -> i32 {
    file_c2f(handle)
}

pub unsafe fn file_fromint(handle: i32) -> usize {
    file_f2c(handle)
}
