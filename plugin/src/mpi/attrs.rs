//! Attributes of communicators, datatypes and windows: kept by the model, with the application's functions called
//! from the upper half.

use super::abi::*;
use super::errs;
use super::front::{finish, local, put};
use super::lower::{ix, must, Fail};
use super::model::objects::{Keyval, KEYVALS};
use super::model::{comm as comms, datatype, lock, window, Guard};
use std::mem::transmute;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

/// `MPI_ERR_KEYVAL`.
const ERR_KEYVAL: i32 = 48;
/// First predefined key, and the one for the last used error code.
const TAG_UB: i32 = 0x6440_0001;
const LASTUSEDCODE: i32 = 0x6440_000b;
/// Predefined keys of windows.
const WIN_BASE: i32 = 0x6600_0001;
const WIN_SIZE: i32 = 0x6600_0003;
const WIN_DISP_UNIT: i32 = 0x6600_0005;
const WIN_CREATE_FLAVOR: i32 = 0x6600_0007;
/// The lower half is asked for this one.
pub const WIN_MODEL: i32 = 0x6600_0009;
/// Values of the predefined attributes, where the application may point at them.
static PREDEFINED: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];

type Copy = unsafe extern "C" fn(i32, i32, usize, usize, *mut usize, *mut i32) -> i32;
type Delete = unsafe extern "C" fn(i32, i32, usize, usize) -> i32;

/// `MPI_COMM_DUP_FN` and its like.
///
/// # Safety
/// As an attribute copy function.
#[no_mangle]
pub unsafe extern "C" fn MPIR_Dup_fn(
    _o: i32,
    _k: i32,
    _x: usize,
    v: usize,
    out: *mut usize,
    flag: *mut i32,
) -> i32 {
    *out = v;
    *flag = 1;
    SUCCESS
}

fn keyval(handle: i32) -> Result<&'static Keyval, Fail> {
    KEYVALS
        .get(handle & INDEX_MASK)
        .filter(|_| handle & KIND_MASK == V_KEYVAL_COMM & KIND_MASK)
        .ok_or(Fail::Code(ERR_KEYVAL))
}

fn release(guard: &Guard, handle: i32) {
    if let Ok(k) = keyval(handle) {
        if k.refs.fetch_sub(1, Relaxed) == 1 {
            KEYVALS.remove(guard, handle & INDEX_MASK);
        }
    }
}

/// The attributes of a communicator, datatype or window.
fn list(guard: &Guard, object: i32) -> Result<&mut Vec<(i32, usize)>, Fail> {
    if let Ok(c) = comms::get(object) {
        return Ok(&mut c.meta.get(guard).attrs);
    }
    if let Ok(w) = window::get(object) {
        return Ok(&mut w.meta.get(guard).attrs);
    }
    datatype::get(object)
        .map(|t| &mut t.meta.get(guard).attrs)
        .ok_or(Fail::Code(ERR_ARG))
}

fn delete_one(object: i32, key: i32, value: usize) -> i32 {
    let code = match keyval(key) {
        Ok(k) if k.delete != 0 => {
            // SAFETY: the application registered a delete function of this type.
            unsafe { transmute::<usize, Delete>(k.delete)(object, key, value, k.extra) }
        }
        _ => SUCCESS,
    };
    release(&lock(), key);
    code
}

fn delete_each(object: i32) -> i32 {
    loop {
        let last = list(&lock(), object).ok().and_then(|l| l.pop());
        let Some((key, value)) = last else {
            return SUCCESS;
        };
        let code = delete_one(object, key, value);
        if code != SUCCESS {
            return finish(object, Ok(code));
        }
    }
}

/// Deletes a communicator's or window's attributes, last set first.
pub fn delete_all(object: i32) -> i32 {
    delete_each(object)
}

/// Those of a datatype.
pub fn delete_all_of_type(t: i32) -> i32 {
    delete_each(t)
}

/// What `MPI_Finalize` does first.
pub fn delete_all_of_self() {
    delete_each(COMM_SELF);
}

fn copy_each(from: i32, to: i32) -> i32 {
    let all = list(&lock(), from).map(|l| l.clone()).unwrap_or_default();
    for (key, value) in all {
        let Ok(k) = keyval(key) else { continue };
        if k.copy == 0 {
            continue;
        }
        let (mut new, mut flag) = (0usize, 0i32);
        // SAFETY: the application registered a copy function of this type.
        let code = unsafe {
            transmute::<usize, Copy>(k.copy)(from, key, k.extra, value, &mut new, &mut flag)
        };
        if code != SUCCESS {
            return code;
        }
        if flag != 0 {
            k.refs.fetch_add(1, Relaxed);
            if let Ok(l) = list(&lock(), to) {
                l.push((key, new));
            }
        }
    }
    SUCCESS
}

/// Copies attributes to a duplicate; if a copy function refuses, there is no duplicate.
///
/// # Safety
/// `out` must hold the duplicate's handle.
pub unsafe fn copy_all(from: i32, out: usize) -> i32 {
    let code = copy_each(from, *(out as *const i32));
    if code != SUCCESS {
        super::comms::comm_free(out);
        return finish(from, Ok(code));
    }
    SUCCESS
}

/// The same for a datatype.
///
/// # Safety
/// As `copy_all`.
pub unsafe fn copy_all_of_type(from: i32, out: usize) -> i32 {
    let code = copy_each(from, *(out as *const i32));
    if code != SUCCESS {
        super::types::type_free(out);
        return finish(COMM_WORLD, Ok(code));
    }
    SUCCESS
}

unsafe fn create(kind: i32, copy: usize, delete: usize, out: usize, extra: usize) -> i32 {
    local(COMM_WORLD, || {
        let k = Keyval {
            copy,
            delete,
            extra,
            refs: AtomicU32::new(1),
        };
        put(out, kind | KEYVALS.add(&lock(), k));
        Ok(())
    })
}

unsafe fn free(at: usize) -> i32 {
    local(COMM_WORLD, || {
        let h = *(at as *const i32);
        keyval(h)?;
        release(&lock(), h);
        put(at, KEYVAL_INVALID);
        Ok(())
    })
}

unsafe fn set(object: i32, key: i32, value: usize) -> i32 {
    let k = match keyval(key) {
        Ok(k) => k,
        Err(e) => return finish(object, Err(e)),
    };
    let old = list(&lock(), object)
        .ok()
        .and_then(|l| l.iter().find(|(a, _)| *a == key).copied());
    if let Some((_, v)) = old {
        k.refs.fetch_add(1, Relaxed); // the deletion takes one
        let code = delete_one(object, key, v);
        if code != SUCCESS {
            return finish(object, Ok(code));
        }
    }
    local(object, || {
        let guard = lock();
        let l = list(&guard, object)?;
        match l.iter_mut().find(|(a, _)| *a == key) {
            Some(pair) => pair.1 = value,
            None => {
                k.refs.fetch_add(1, Relaxed);
                l.push((key, value));
            }
        }
        Ok(())
    })
}

unsafe fn get(object: i32, key: i32, out: usize, flag: usize) -> i32 {
    local(object, || {
        keyval(key)?;
        let guard = lock();
        let found = list(&guard, object)?
            .iter()
            .find(|(a, _)| *a == key)
            .copied();
        put(flag, found.is_some() as i32);
        if let Some((_, v)) = found {
            put(out, v);
        }
        Ok(())
    })
}

unsafe fn delete(object: i32, key: i32) -> i32 {
    let found = {
        let guard = lock();
        list(&guard, object).ok().and_then(|l| {
            let i = l.iter().position(|(a, _)| *a == key)?;
            Some(l.remove(i))
        })
    };
    match found {
        Some((_, v)) => finish(object, Ok(delete_one(object, key, v))),
        None => finish(object, keyval(key).map(|_| SUCCESS)),
    }
}

pub unsafe fn comm_create_keyval(copy: usize, delete: usize, out: usize, extra: usize) -> i32 {
    create(V_KEYVAL_COMM, copy, delete, out, extra)
}

pub unsafe fn keyval_create(copy: usize, delete: usize, out: usize, extra: usize) -> i32 {
    create(V_KEYVAL_COMM, copy, delete, out, extra)
}

pub unsafe fn type_create_keyval(copy: usize, delete: usize, out: usize, extra: usize) -> i32 {
    create(V_KEYVAL_TYPE, copy, delete, out, extra)
}

pub unsafe fn comm_free_keyval(at: usize) -> i32 {
    free(at)
}

pub unsafe fn keyval_free(at: usize) -> i32 {
    free(at)
}

pub unsafe fn type_free_keyval(at: usize) -> i32 {
    free(at)
}

pub unsafe fn comm_set_attr(comm: i32, key: i32, value: usize) -> i32 {
    set(comm, key, value)
}

pub unsafe fn attr_put(comm: i32, key: i32, value: usize) -> i32 {
    set(comm, key, value)
}

pub unsafe fn type_set_attr(t: i32, key: i32, value: usize) -> i32 {
    set(t, key, value)
}

pub unsafe fn comm_get_attr(comm: i32, key: i32, out: usize, flag: usize) -> i32 {
    if key & KIND_MASK == 0x6400_0000 {
        return predefined(comm, key, out, flag);
    }
    get(comm, key, out, flag)
}

pub unsafe fn attr_get(comm: i32, key: i32, out: usize, flag: usize) -> i32 {
    comm_get_attr(comm, key, out, flag)
}

pub unsafe fn type_get_attr(t: i32, key: i32, out: usize, flag: usize) -> i32 {
    get(t, key, out, flag)
}

pub unsafe fn comm_delete_attr(comm: i32, key: i32) -> i32 {
    delete(comm, key)
}

pub unsafe fn attr_delete(comm: i32, key: i32) -> i32 {
    delete(comm, key)
}

pub unsafe fn type_delete_attr(t: i32, key: i32) -> i32 {
    delete(t, key)
}

pub unsafe fn win_create_keyval(copy: usize, delete: usize, out: usize, extra: usize) -> i32 {
    create(V_KEYVAL_WIN, copy, delete, out, extra)
}

pub unsafe fn win_free_keyval(at: usize) -> i32 {
    free(at)
}

pub unsafe fn win_set_attr(win: i32, key: i32, value: usize) -> i32 {
    set(win, key, value)
}

pub unsafe fn win_delete_attr(win: i32, key: i32) -> i32 {
    delete(win, key)
}

pub unsafe fn win_get_attr(win: i32, key: i32, out: usize, flag: usize) -> i32 {
    let w = match window::get(win) {
        Ok(w) => w,
        Err(e) => return finish(win, Err(e)),
    };
    let value = match key {
        WIN_BASE => w.base,
        WIN_SIZE => &raw const w.size as usize,
        WIN_DISP_UNIT => &raw const w.unit as usize,
        WIN_CREATE_FLAVOR => &raw const w.flavor as usize,
        WIN_MODEL => w.model.as_ptr() as usize,
        _ => return get(win, key, out, flag),
    };
    put(out, value);
    put(flag, 1i32);
    SUCCESS
}

/// A predefined attribute: the application gets the address of a copy in the upper half.
unsafe fn predefined(comm: i32, key: i32, out: usize, flag: usize) -> i32 {
    local(comm, || {
        comms::get(comm)?;
        let (mut value, mut found) = (0usize, 0i32);
        let args = [
            COMM_WORLD as u64,
            key as u64,
            &mut value as *mut usize as u64,
            &mut found as *mut i32 as u64,
        ];
        let code = must(ix::Comm_get_attr, &args);
        if code != SUCCESS {
            return Err(Fail::Code(code));
        }
        put(flag, found);
        if found != 0 {
            let i = ((key - TAG_UB) / 2) as usize % PREDEFINED.len();
            let v = if key == LASTUSEDCODE {
                errs::last_used()
            } else {
                0
            };
            PREDEFINED[i].store(if v != 0 { v } else { *(value as *const i32) }, Relaxed);
            put(out, PREDEFINED[i].as_ptr());
        }
        Ok(())
    })
}
