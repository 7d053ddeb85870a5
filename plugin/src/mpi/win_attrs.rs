//! Attributes of windows. The predefined ones are the window's own words, which the application may point at.

use super::abi::*;
use super::attrs;
use super::front::{finish, put};
use super::model::objects::Given;
use super::model::window;
use std::sync::atomic::Ordering::Relaxed;

/// Predefined keys.
const BASE: i32 = 0x6600_0001;
const SIZE: i32 = 0x6600_0003;
const DISP_UNIT: i32 = 0x6600_0005;
const CREATE_FLAVOR: i32 = 0x6600_0007;
/// The lower half is asked for this one.
pub const MODEL: i32 = 0x6600_0009;

pub unsafe fn win_create_keyval(copy: usize, delete: usize, out: usize, extra: usize) -> i32 {
    attrs::create(V_KEYVAL_WIN, copy, delete, out, extra)
}

pub unsafe fn win_free_keyval(at: usize) -> i32 {
    attrs::free(V_WIN, at)
}

pub unsafe fn win_set_attr(win: i32, key: i32, value: usize) -> i32 {
    attrs::set(win, key, value, Given::Pointer)
}

pub unsafe fn win_delete_attr(win: i32, key: i32) -> i32 {
    attrs::delete(win, key)
}

pub unsafe fn win_get_attr(win: i32, key: i32, out: usize, flag: usize) -> i32 {
    get(win, key, out, flag, Given::Pointer)
}

/// Gets an attribute as `wanted` says: C gets the address of what is an integer, Fortran the value.
///
/// # Safety
/// `out` must be a place for a pointer, `flag` for an int.
pub unsafe fn get(win: i32, key: i32, out: usize, flag: usize, wanted: Given) -> i32 {
    let w = match window::get(win) {
        Ok(w) => w,
        Err(e) => return finish(win, Err(e)),
    };
    // Fortran's key is the next number.
    let (at, value) = match (key - 1) | 1 {
        BASE => (w.base, w.base),
        SIZE => (&raw const w.size as usize, w.size as usize),
        DISP_UNIT => (&raw const w.unit as usize, w.unit as usize),
        CREATE_FLAVOR => (&raw const w.flavor as usize, w.flavor as usize),
        MODEL => (w.model.as_ptr() as usize, w.model.load(Relaxed) as usize),
        _ => return attrs::get(win, key, out, flag, wanted),
    };
    put(out, if wanted == Given::Pointer { at } else { value });
    put(flag, 1i32);
    SUCCESS
}
