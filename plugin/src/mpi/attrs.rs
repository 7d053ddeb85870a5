//! Attributes of communicators, datatypes and windows: kept by the model, with the application's functions called
//! from the upper half.
//!
//! An attribute that Fortran sets is an integer. To C its value is the address of that integer; to Fortran the value of
//! one that C sets is the pointer, as an integer. A key of another language has functions that call the application's, which
//! the language's library gave (`languages`).

use super::abi::*;
use super::front::{finish, local, put};
use super::lower::Fail;
use super::model::objects::{Attr, Given, Keyval, KEYVALS};
use super::model::{comm as comms, datatype, lock, window, Guard};
use super::promises;
use std::mem::transmute;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// `MPI_ERR_KEYVAL`.
const ERR_KEYVAL: i32 = 48;
/// The bits of a handle that tell what it names, whether predefined or not.
const KIND_BITS: i32 = 0x3c00_0000;

type Copy = unsafe extern "C" fn(i32, i32, usize, usize, *mut usize, *mut i32) -> i32;
type Delete = unsafe extern "C" fn(i32, i32, usize, usize) -> i32;
type CopyProxy =
    unsafe extern "C" fn(usize, i32, i32, usize, i32, usize, *mut usize, *mut i32) -> i32;
type DeleteProxy = unsafe extern "C" fn(usize, i32, i32, i32, usize, usize) -> i32;

impl Given {
    /// The number by which the language libraries name it.
    fn number(self) -> i32 {
        match self {
            Given::Pointer => 0,
            Given::Aint => 1,
            Given::Int => 3,
        }
    }

    /// What a number of theirs names.
    pub fn of(number: i32) -> Given {
        match number {
            0 => Given::Pointer,
            1 => Given::Aint,
            _ => Given::Int,
        }
    }
}

/// An attribute's value as a C function gets it; an integer lies at `at`.
fn for_c(given: Given, value: usize, at: &usize) -> usize {
    match given {
        Given::Pointer => value,
        _ => std::ptr::from_ref(at) as usize,
    }
}

/// Calls a key's delete function.
unsafe fn call_delete(k: &Keyval, object: i32, key: i32, value: usize, given: Given) -> i32 {
    if k.delete == 0 {
        return SUCCESS;
    }
    match k.proxy[1].load(Relaxed) {
        // SAFETY: the application registered a delete function of this type.
        0 => unsafe {
            let value = for_c(given, value, &value);
            transmute::<usize, Delete>(k.delete)(object, key, value, k.extra)
        },
        // SAFETY: the language's library gave a function of this type.
        proxy => unsafe {
            let call = transmute::<usize, DeleteProxy>(proxy);
            call(k.delete, object, key, given.number(), value, k.extra)
        },
    }
}

/// Calls a key's copy function: the code and, if there is to be a copy, its value.
unsafe fn call_copy(
    k: &Keyval,
    object: i32,
    key: i32,
    value: usize,
    given: Given,
) -> (i32, Option<usize>) {
    if k.copy == 0 {
        return (SUCCESS, None);
    }
    let (mut new, mut flag) = (0usize, 0i32);
    let code = match k.proxy[0].load(Relaxed) {
        // SAFETY: the application registered a copy function of this type.
        0 => unsafe {
            let value = for_c(given, value, &value);
            transmute::<usize, Copy>(k.copy)(object, key, k.extra, value, &mut new, &mut flag)
        },
        // SAFETY: the language's library gave a function of this type.
        proxy => unsafe {
            let call = transmute::<usize, CopyProxy>(proxy);
            call(
                k.copy,
                object,
                key,
                k.extra,
                given.number(),
                value,
                &mut new,
                &mut flag,
            )
        },
    };
    (code, (code == SUCCESS && flag != 0).then_some(new))
}

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

/// A key for an object, or for objects like a given one: keys of other kinds of objects are errors.
fn key_for(object: i32, key: i32) -> Result<&'static Keyval, Fail> {
    let kind = match object & KIND_BITS {
        c if c == COMM_WORLD & KIND_BITS => V_KEYVAL_COMM,
        t if t == BYTE & KIND_BITS => V_KEYVAL_TYPE,
        w if w == V_WIN & KIND_BITS => V_KEYVAL_WIN,
        _ => key & !INDEX_MASK,
    };
    keyval(key).and_then(|k| match key & !INDEX_MASK == kind {
        true => Ok(k),
        false => Err(Fail::Code(ERR_KEYVAL)),
    })
}

fn release(guard: &Guard, handle: i32) {
    if let Ok(k) = keyval(handle) {
        if k.refs.fetch_sub(1, Relaxed) == 1 {
            KEYVALS.remove(guard, handle & INDEX_MASK);
        }
    }
}

/// The attributes of a communicator, datatype or window.
fn list(guard: &Guard, object: i32) -> Result<&mut Vec<Attr>, Fail> {
    if let Ok(c) = comms::get(object) {
        return Ok(&mut c.meta.get(guard).attrs);
    }
    if let Ok(w) = window::get(object) {
        return Ok(&mut w.meta.get(guard).attrs);
    }
    datatype::meta(guard, object)
        .map(|m| &mut m.attrs)
        .ok_or(Fail::Code(ERR_ARG))
}

/// Calls the application's delete function.
fn ask_delete(object: i32, key: i32, value: usize, given: Given) -> i32 {
    match keyval(key) {
        // SAFETY: the key's functions are those that were registered with it.
        Ok(k) => unsafe { call_delete(k, object, key, value, given) },
        Err(_) => SUCCESS,
    }
}

/// Deletes an attribute, unless its delete function refuses.
fn delete_one(object: i32, key: i32, value: usize, given: Given) -> i32 {
    let code = ask_delete(object, key, value, given);
    if code == SUCCESS {
        let guard = lock();
        if let Ok(l) = list(&guard, object) {
            l.retain(|a| a.key != key);
        }
        release(&guard, key);
    }
    code
}

fn delete_each(object: i32) -> i32 {
    loop {
        let last = list(&lock(), object)
            .ok()
            .and_then(|l| l.last())
            .map(|a| (a.key, *a.value, a.given));
        let Some((key, value, given)) = last else {
            return SUCCESS;
        };
        let code = delete_one(object, key, value, given);
        if code != SUCCESS {
            return finish(object, Ok(code));
        }
    }
}

/// Deletes a communicator's attributes, last set first.
pub fn delete_all(comm: i32) -> i32 {
    delete_each(comm)
}

/// Those of a datatype.
pub fn delete_all_of_type(t: i32) -> i32 {
    delete_each(t)
}

/// What `MPI_Finalize` does first: attributes of what nobody frees.
pub fn delete_last() {
    delete_each(COMM_SELF);
    delete_each(COMM_WORLD);
    let named = datatype::named(&lock());
    for t in named {
        delete_each(t);
    }
}

/// Copies attributes, last set first; the copies are in the order of the originals.
fn copy_each(from: i32, to: i32) -> i32 {
    let of = |a: &Attr| (a.key, *a.value, a.given);
    let all: Vec<_> = list(&lock(), from)
        .map(|l| l.iter().rev().map(of).collect())
        .unwrap_or_default();
    for (key, value, given) in all {
        let Ok(k) = keyval(key) else { continue };
        // SAFETY: the key's functions are those that were registered with it.
        let (code, new) = unsafe { call_copy(k, from, key, value, given) };
        if code != SUCCESS {
            return code;
        }
        if let Some(new) = new {
            k.refs.fetch_add(1, Relaxed);
            let value = Box::new(new);
            if let Ok(l) = list(&lock(), to) {
                l.insert(0, Attr { key, value, given });
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

/// Makes a key.
///
/// # Safety
/// The functions are of the right types, or null.
pub unsafe fn create(kind: i32, copy: usize, delete: usize, out: usize, extra: usize) -> i32 {
    local(COMM_WORLD, || {
        let k = Keyval {
            copy,
            delete,
            proxy: [const { AtomicUsize::new(0) }; 2],
            extra,
            refs: AtomicU32::new(1),
            freed: AtomicBool::new(false),
        };
        put(out, kind | KEYVALS.add(&lock(), k));
        Ok(())
    })
}

/// Frees a key of the kind of `like`.
///
/// # Safety
/// `at` must hold its handle.
pub unsafe fn free(like: i32, at: usize) -> i32 {
    local(COMM_WORLD, || {
        let h = *(at as *const i32);
        // Copies of the handle may be freed as well, for as long as attributes have the key.
        if !key_for(like, h)?.freed.swap(true, Relaxed) {
            release(&lock(), h);
        }
        put(at, KEYVAL_INVALID);
        Ok(())
    })
}

/// Gives a key functions that call the application's.
pub fn set_proxy(key: i32, copy: usize, delete: usize) {
    if let Ok(k) = keyval(key) {
        k.proxy[0].store(copy, Relaxed);
        k.proxy[1].store(delete, Relaxed);
    }
}

/// Sets an attribute, given as `given` says.
///
/// # Safety
/// The application's delete function is called.
pub unsafe fn set(object: i32, key: i32, value: usize, given: Given) -> i32 {
    let k = match key_for(object, key) {
        Ok(k) => k,
        Err(e) => return finish(object, Err(e)),
    };
    let old = list(&lock(), object)
        .ok()
        .and_then(|l| l.iter().find(|a| a.key == key))
        .map(|a| (*a.value, a.given));
    if let Some((value, given)) = old {
        let code = ask_delete(object, key, value, given);
        if code != SUCCESS {
            return finish(object, Ok(code));
        }
    }
    local(object, || {
        let guard = lock();
        let l = list(&guard, object)?;
        match l.iter_mut().find(|a| a.key == key) {
            Some(a) => {
                *a.value = value;
                a.given = given;
            }
            None => {
                k.refs.fetch_add(1, Relaxed);
                let value = Box::new(value);
                l.push(Attr { key, value, given });
            }
        }
        Ok(())
    })
}

/// Gets an attribute as `wanted` says: an integer that C asks for by its address.
///
/// # Safety
/// `out` must be a place for a pointer, `flag` for an int.
pub unsafe fn get(object: i32, key: i32, out: usize, flag: usize, wanted: Given) -> i32 {
    local(object, || {
        key_for(object, key)?;
        let guard = lock();
        let found = list(&guard, object)?.iter().find(|a| a.key == key);
        put(flag, found.is_some() as i32);
        if let Some(a) = found {
            let value = match wanted {
                Given::Pointer => for_c(a.given, *a.value, &a.value),
                _ => *a.value,
            };
            put(out, value);
        }
        Ok(())
    })
}

/// The same for a communicator, which has predefined ones.
///
/// # Safety
/// As `get`.
pub unsafe fn get_of_comm(comm: i32, key: i32, out: usize, flag: usize, wanted: Given) -> i32 {
    if key & KIND_MASK == 0x6400_0000 {
        return predefined(comm, key, out, flag, wanted);
    }
    get(comm, key, out, flag, wanted)
}

/// Deletes an attribute.
///
/// # Safety
/// The application's delete function is called.
pub unsafe fn delete(object: i32, key: i32) -> i32 {
    let found = list(&lock(), object).map(|l| {
        let found = l.iter().find(|a| a.key == key);
        found.map(|a| (*a.value, a.given))
    });
    match found {
        Ok(Some((value, given))) => finish(object, Ok(delete_one(object, key, value, given))),
        Ok(None) => finish(object, key_for(object, key).map(|_| SUCCESS)),
        Err(e) => finish(object, Err(e)),
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
    free(COMM_WORLD, at)
}

pub unsafe fn keyval_free(at: usize) -> i32 {
    free(COMM_WORLD, at)
}

pub unsafe fn type_free_keyval(at: usize) -> i32 {
    free(BYTE, at)
}

pub unsafe fn comm_set_attr(comm: i32, key: i32, value: usize) -> i32 {
    set(comm, key, value, Given::Pointer)
}

pub unsafe fn attr_put(comm: i32, key: i32, value: usize) -> i32 {
    comm_set_attr(comm, key, value)
}

pub unsafe fn type_set_attr(t: i32, key: i32, value: usize) -> i32 {
    set(t, key, value, Given::Pointer)
}

pub unsafe fn comm_get_attr(comm: i32, key: i32, out: usize, flag: usize) -> i32 {
    get_of_comm(comm, key, out, flag, Given::Pointer)
}

pub unsafe fn attr_get(comm: i32, key: i32, out: usize, flag: usize) -> i32 {
    comm_get_attr(comm, key, out, flag)
}

pub unsafe fn type_get_attr(t: i32, key: i32, out: usize, flag: usize) -> i32 {
    get(t, key, out, flag, Given::Pointer)
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

/// A predefined attribute: C gets the address of a copy in the upper half, Fortran the value.
unsafe fn predefined(comm: i32, key: i32, out: usize, flag: usize, wanted: Given) -> i32 {
    local(comm, || {
        comms::get(comm)?;
        let place = promises::attribute((key - 1) | 1); // Fortran's key is the next number
        put(flag, place.is_some() as i32);
        match (place, wanted) {
            (None, _) => {}
            (Some(place), Given::Pointer) => put(out, place),
            (Some(place), _) => put(out, *place as isize),
        }
        Ok(())
    })
}
