//! Views of files, and data representations.

use super::abi::*;
use super::files::{finish, note_hints, together};
use super::front::put;
use super::lower::{ix, must, Fail, Outcome};
use super::model::file::{self, File, View};
use super::model::{datatype, lock, Locked};
use super::{handle, infos, types};
use crate::gate::{self, Call};
use std::ffi::OsString;
use std::ffi::{CStr, CString};
use std::sync::atomic::Ordering::Relaxed;

/// Where a sequential file's view begins: at the shared position.
unsafe fn current(f: &File) -> Result<i64, Fail> {
    let (mut position, mut bytes) = (0i64, 0i64);
    let at = |p: &mut i64| p as *mut i64 as u64;
    f.shares.store(true, Relaxed);
    // Nobody moves it before all have asked.
    must(ix::Barrier, &[f.comm.low()]);
    let asked = must(ix::File_get_position_shared, &[f.low(), at(&mut position)]);
    must(ix::Barrier, &[f.comm.low()]);
    let found = must(
        ix::File_get_byte_offset,
        &[f.low(), position as u64, at(&mut bytes)],
    );
    match asked.max(found) {
        SUCCESS => Ok(bytes),
        code => Err(Fail::Code(code)),
    }
}

/// Sets the view in the lower half.
///
/// # Safety
/// The datatypes must be alive.
pub unsafe fn set_lower(f: &File, v: &View, hints: Option<&[(OsString, OsString)]>) -> Outcome {
    let (etype, filetype) = (handle::datatype(v.etype)?, handle::datatype(v.filetype)?);
    let datarep = v.datarep.as_ptr() as u64;
    Ok(infos::with_lower(hints, |info| {
        must(
            ix::File_set_view,
            &[f.low(), v.disp as u64, etype, filetype, datarep, info],
        )
    }))
}

pub unsafe fn file_set_view(
    handle: usize,
    disp: i64,
    etype: i32,
    filetype: i32,
    datarep: usize,
    info: i32,
) -> i32 {
    together(handle, |f| {
        let given = infos::given(info)?;
        let disp = match f.amode & MODE_SEQUENTIAL {
            0 => disp,
            _ if disp == DISPLACEMENT_CURRENT => current(f)?,
            _ => return Err(Fail::Code(ERR_ARG)),
        };
        let datarep = CStr::from_ptr(datarep as *const _).to_owned();
        let view = View {
            disp,
            etype,
            filetype,
            datarep,
        };
        let code = set_lower(f, &view, given.as_deref())?;
        if code != SUCCESS {
            return Ok(code);
        }
        note_hints(f, given);
        datatype::hold(etype);
        datatype::hold(filetype);
        let mut begin = 0i64;
        must(
            ix::File_get_position,
            &[f.low(), &mut begin as *mut i64 as u64],
        );
        let guard = lock();
        let state = f.state.get(&guard);
        // Where the filetype has data before its lower bound, ROMIO says another number than it is sought by.
        state.odd = begin != 0;
        if let Some(old) = state.view.replace(view) {
            datatype::release(&guard, old.etype);
            datatype::release(&guard, old.filetype);
        }
        Ok(SUCCESS)
    })
}

/// A handle for a view's datatype that is the application's to free.
unsafe fn given_back(t: i32) -> Result<i32, Fail> {
    if datatype::predefined(t) {
        return Ok(t);
    }
    let mut copy = DATATYPE_NULL;
    match types::type_dup(t, &mut copy as *mut i32 as usize) {
        SUCCESS => Ok(copy),
        code => Err(Fail::Code(code)),
    }
}

pub unsafe fn file_get_view(
    handle: usize,
    disp: usize,
    etype: usize,
    filetype: usize,
    datarep: usize,
) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let outcome = file::get(handle).and_then(|f| {
        let view = f.state.get(&lock()).view.clone();
        let view = view.unwrap_or_else(|| View {
            disp: 0,
            etype: BYTE,
            filetype: BYTE,
            datarep: c"native".into(),
        });
        put(disp, view.disp);
        put(etype, given_back(view.etype)?);
        put(filetype, given_back(view.filetype)?);
        let name = match view.datarep.to_bytes() {
            name if name.eq_ignore_ascii_case(b"external32") => c"external32",
            _ => c"native",
        };
        let bytes = name.to_bytes_with_nul();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), datarep as *mut u8, bytes.len());
        Ok(SUCCESS)
    });
    drop(inside);
    finish(handle, outcome)
}

/// Names of the representations that the application has registered.
static REPRESENTATIONS: Locked<Vec<CString>> = Locked::new(Vec::new());

/// No MPI library that we know converts with the application's functions: the name is all there is to keep.
pub unsafe fn register_datarep(
    name: usize,
    read: usize,
    write: usize,
    extent: usize,
    _state: usize,
) -> i32 {
    let inside = gate::enter(Call::MustComplete);
    let name = CStr::from_ptr(name as *const _);
    let guard = lock();
    let known = REPRESENTATIONS.get(&guard);
    let code = if name.is_empty() || name.count_bytes() > MAX_DATAREP_STRING {
        ERR_ARG
    } else if known.iter().any(|k| **k == *name) {
        ERR_DUP_DATAREP
    } else if read != 0 || write != 0 {
        ERR_CONVERSION
    } else if extent == 0 {
        ERR_ARG
    } else {
        known.push(name.to_owned());
        SUCCESS
    };
    drop(guard);
    drop(inside);
    finish(0, Ok(code))
}

pub unsafe fn register_datarep_c(
    name: usize,
    read: usize,
    write: usize,
    extent: usize,
    state: usize,
) -> i32 {
    register_datarep(name, read, write, extent, state)
}
