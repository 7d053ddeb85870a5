//! Error classes, codes and strings that the application adds, and removes.
//!
//! What is removed is kept for the next that is added: the lower half may know no removal, and a restart has to give each
//! the number that it had.

use super::abi::*;
use super::front::{finish, local, put};
use super::infos;
use super::lower::{ix, must, Fail};
use super::model::{lock, Guard, Locked};
use crate::gate;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// One addition.
struct Added {
    number: i32,
    /// A code's class; a class has none.
    class: Option<i32>,
    text: OsString,
    removed: bool,
}

/// All, in the order in which they were added.
static ADDED: Locked<Vec<Added>> = Locked::new(Vec::new());
static LAST: AtomicI32 = AtomicI32::new(0);

/// The last error code used, for `MPI_LASTUSEDCODE`; 0 if none was added.
pub fn last_used() -> i32 {
    LAST.load(Relaxed)
}

/// Has the application added a class or code of this number?
pub fn added(guard: &Guard, number: i32) -> bool {
    ADDED.get(guard).iter().any(|a| a.number == number)
}

/// The application's text of what it has added. MPICH takes a code of a predefined class for one of its own.
pub fn text(guard: &Guard, number: i32) -> Option<OsString> {
    let mut mine = ADDED.get(guard).iter();
    let found = mine.find(|a| a.number == number && !a.removed)?;
    (!found.text.is_empty()).then(|| found.text.clone())
}

unsafe fn add(class: Option<i32>, out: usize) -> i32 {
    let inside = gate::enter(gate::Call::MustComplete);
    let guard = lock();
    let list = ADDED.get(&guard);
    let old = list.iter_mut().find(|a| a.removed && a.class == class);
    let code = match old {
        Some(a) => {
            a.removed = false;
            put(out, a.number);
            match a.text.is_empty() {
                true => SUCCESS,
                false => tell(&guard, *(out as *const i32), OsString::new()),
            }
        }
        None => {
            let code = match class {
                None => must(ix::Add_error_class, &[out as u64]),
                Some(class) => must(ix::Add_error_code, &[class as u64, out as u64]),
            };
            if code == SUCCESS {
                let number = *(out as *const i32);
                LAST.fetch_max(number, Relaxed);
                list.push(Added {
                    number,
                    class,
                    text: OsString::new(),
                    removed: false,
                });
            }
            code
        }
    };
    drop(guard);
    drop(inside);
    finish(COMM_WORLD, Ok(code))
}

pub unsafe fn add_error_class(out: usize) -> i32 {
    add(None, out)
}

pub unsafe fn add_error_code(class: i32, out: usize) -> i32 {
    add(Some(class), out)
}

/// Gives a class or code a text, here and below.
fn tell(guard: &Guard, number: i32, text: OsString) -> i32 {
    let c = std::ffi::CString::new(text.as_bytes()).unwrap_or_default();
    // SAFETY: the string lives through the call.
    let code = unsafe { must(ix::Add_error_string, &[number as u64, c.as_ptr() as u64]) };
    let found = ADDED.get(guard).iter_mut().find(|a| a.number == number);
    if let (SUCCESS, Some(a)) = (code, found) {
        a.text = text;
    }
    code
}

pub unsafe fn add_error_string(code: i32, text: usize) -> i32 {
    let text = infos::text(text, 512);
    let inside = gate::enter(gate::Call::MustComplete);
    let outcome = tell(&lock(), code, text);
    drop(inside);
    finish(COMM_WORLD, Ok(outcome))
}

/// Does something with what the application has added under a number.
fn remove(number: i32, f: impl FnOnce(&Guard, &mut Added) -> bool) -> i32 {
    local(COMM_WORLD, || {
        let guard = lock();
        let mut mine = ADDED.get(&guard).iter_mut();
        let found = mine.find(|a| a.number == number && !a.removed);
        match found.is_some_and(|a| f(&guard, a)) {
            true => Ok(()),
            false => Err(Fail::Code(ERR_ARG)),
        }
    })
}

pub unsafe fn remove_error_class(class: i32) -> i32 {
    {
        // A class that has codes stays.
        let guard = lock();
        let mut all = ADDED.get(&guard).iter();
        if all.any(|a| a.class == Some(class) && !a.removed) {
            drop(guard);
            return finish(COMM_WORLD, Ok(ERR_OTHER));
        }
    }
    remove(class, |_, a| {
        a.removed = a.class.is_none();
        a.removed
    })
}

pub unsafe fn remove_error_code(code: i32) -> i32 {
    remove(code, |_, a| {
        a.removed = a.class.is_some();
        a.removed
    })
}

pub unsafe fn remove_error_string(code: i32) -> i32 {
    let known = remove(code, |_, a| !a.text.is_empty());
    match known {
        SUCCESS => {
            let inside = gate::enter(gate::Call::MustComplete);
            let outcome = tell(&lock(), code, OsString::new());
            drop(inside);
            finish(COMM_WORLD, Ok(outcome))
        }
        code => code,
    }
}

/// Adds the application's classes, codes and strings to a fresh lower half.
pub fn replay(guard: &Guard) {
    let mut value = 0i32;
    let out = &raw mut value as u64;
    for a in ADDED.get(guard).iter() {
        let text = std::ffi::CString::new(a.text.as_bytes()).unwrap_or_default();
        // SAFETY: plain values and a string that lives through the call.
        unsafe {
            match a.class {
                None => must(ix::Add_error_class, &[out]),
                Some(class) => must(ix::Add_error_code, &[class as u64, out]),
            };
            if !text.is_empty() {
                let args = [a.number as u64, text.as_ptr() as u64];
                must(ix::Add_error_string, &args);
            }
        }
    }
}
