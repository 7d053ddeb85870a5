//! The memory functions that the compiler calls; there is no libc here to bring them.
//!
//! `rep movsb` and `rep stosb` touch no vector register, so they are safe inside routed system calls.

use core::arch::asm;

/// As in C.
///
/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller gives two ranges of `n` bytes; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    to
}

/// As in C.
///
/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= n {
        // SAFETY: copying upward never overwrites bytes that are still to be read.
        return unsafe { memcpy(to, from, n) };
    }
    // SAFETY: the ranges overlap with `to` above `from`: copy downward, then restore the flag.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") n => _,
             inout("rdi") to.wrapping_add(n).wrapping_sub(1) => _,
             inout("rsi") from.wrapping_add(n).wrapping_sub(1) => _, options(nostack));
    }
    to
}

/// As in C.
///
/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // SAFETY: the caller gives a range of `n` bytes.
    unsafe {
        asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8,
             options(nostack, preserves_flags));
    }
    to
}

/// As in C.
///
/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    while i < n {
        // SAFETY: both ranges have `n` bytes. Volatile, or the loop would become a call to itself.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        i += 1;
    }
    0
}

/// As in C.
///
/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: passed on to the caller.
    unsafe { memcmp(a, b, n) }
}

/// As in C.
///
/// # Safety
/// As in C.
#[no_mangle]
unsafe extern "C" fn strlen(s: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: the string ends with a NUL. Volatile, as above.
    while unsafe { s.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}
