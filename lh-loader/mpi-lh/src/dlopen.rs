//! `dlopen`, interposed for the half's libraries.
//!
//! A library opened late may claim static TLS and use it in its constructor. libc initialises that TLS in
//! its own threads; an adopted upper-half thread is not one of them. So the real `dlopen` runs on the half's
//! main TCB, and what is new in static TLS is copied before it returns: to the caller what the constructors left
//! there, to every other adopted thread what a thread begins with.
//!
//! What is new is found by two witnesses, threads whose unused static TLS is filled with two different bytes: where they
//! are the same afterwards, libc has written.

use crate::donor::{self, Donor};
use crate::half;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::{addr_of_mut, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use lh_loader::{arch, layout};

type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

/// libc's own `dlopen`.
///
/// # Safety
/// As dlopen.
pub unsafe fn real(path: *const c_char, flags: c_int) -> *mut c_void {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if REAL.load(Ordering::Relaxed) == 0 {
        // SAFETY: RTLD_NEXT searches the libraries after this program.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr()) };
        REAL.store(found as usize, Ordering::Relaxed);
    }
    // SAFETY: the symbol has this type.
    unsafe {
        let open: Open = core::mem::transmute(REAL.load(Ordering::Relaxed));
        open(path, flags)
    }
}

/// What the half's libraries call.
#[no_mangle]
unsafe extern "C" fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void {
    let fs = arch::fs_base();
    // A thread born in this half, or the main TCB itself, opens as always.
    if matches!(layout::owner(fs), layout::Owner::Lower(_)) || half().is_null() {
        // SAFETY: passed on to the caller.
        return unsafe { real(path, flags) };
    }
    // SAFETY: under the main lock, with signals blocked, the main TCB is this thread's alone.
    unsafe {
        let lock = &*addr_of_mut!((*half()).main_lock);
        let mask = arch::block_signals();
        arch::spin_lock(lock);
        arch::set_fs_base((*half()).main_fs);
        let opened = donor::as_thread(fs, || open_for_all(path, flags, fs));
        arch::set_fs_base(fs);
        arch::spin_unlock(lock);
        arch::restore_signals(mask);
        if opened.is_null() {
            return real(path, flags); // fails again, on the TCB whose dlerror() will be asked
        }
        opened
    }
}

/// Opens a library on the main TCB and copies what is new in static TLS to the adopted threads, of which the one at
/// `caller` asked for it.
unsafe fn open_for_all(path: *const c_char, flags: c_int, caller: usize) -> *mut c_void {
    // SAFETY: the main TCB is this thread's alone, the witnesses are parked, and the list of donors stays as it is.
    unsafe {
        let witnesses = WITNESSES.each_ref().map(|w| witness(w));
        let mut opened = null_mut();
        if witnesses.iter().all(|w| !w.is_null()) {
            let [zeros, ones] = witnesses.map(|w| donor::tcb(w));
            let place = USED.load(Ordering::Relaxed)..(*half()).tls_end as usize;
            core::ptr::write_bytes((zeros - place.end) as *mut u8, 0, place.len());
            core::ptr::write_bytes((ones - place.end) as *mut u8, 0xff, place.len());
            opened = real(path, flags);
            let byte = |tcb: usize, at: usize| (tcb - at) as *mut u8;
            let new = |at: &usize| *byte(zeros, *at) == *byte(ones, *at);
            for at in place.map(|i| i + 1).filter(new) {
                donor::each(|upper| {
                    let from = if upper == caller {
                        (*half()).main_fs
                    } else {
                        zeros
                    };
                    *byte(upper, at) = *byte(from, at);
                });
            }
        }
        opened
    }
}

/// The witnesses, made when the first library is opened late.
static WITNESSES: [AtomicPtr<Donor>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

/// A witness; null if there can be no more threads.
///
/// # Safety
/// On the main TCB, under the main lock.
unsafe fn witness(at: &AtomicPtr<Donor>) -> *mut Donor {
    if at.load(Ordering::Relaxed).is_null() {
        // SAFETY: the caller's.
        at.store(unsafe { donor::start(0) }, Ordering::Relaxed);
    }
    at.load(Ordering::Relaxed)
}

/// Static TLS of the libraries that the half began with ends so far below FS.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Notes how much static TLS is in use. Called on the main TCB before any library is opened.
pub fn begin() {
    USED.store(static_tls_depth(), Ordering::Relaxed);
}

/// Has all static TLS that this half's `ld.so` will ever hand out, its surplus included, room in its part of the hole?
/// Then that part ends where it does: what is lower is a thread's stack.
pub fn tls_fits() -> bool {
    type Info = unsafe extern "C" fn(*mut usize, *mut usize);
    // SAFETY: RTLD_DEFAULT searches the half's libraries; both are data or functions of every glibc since 2.34
    // with these types; the half's entry is valid.
    unsafe {
        let info = libc::dlsym(libc::RTLD_DEFAULT, c"_dl_get_tls_static_info".as_ptr());
        let tcb = libc::dlsym(libc::RTLD_DEFAULT, c"_thread_db_sizeof_pthread".as_ptr());
        if info.is_null() || tcb.is_null() {
            return false;
        }
        let info: Info = core::mem::transmute(info);
        let (mut size, mut align) = (0, 0);
        info(&mut size, &mut align);
        let end = (size - *tcb.cast::<u32>() as usize) as u32;
        let fits = end <= (*half()).tls_end;
        if fits {
            (*half()).tls_end = end;
        }
        fits
    }
}

/// Distance from FS down to the lowest byte of static TLS in use. Called on the main TCB.
fn static_tls_depth() -> usize {
    struct Walk {
        fs: usize,
        end: usize,
        depth: usize,
    }
    unsafe extern "C" fn module(
        info: *mut libc::dl_phdr_info,
        _: usize,
        walk: *mut c_void,
    ) -> c_int {
        // SAFETY: dl_iterate_phdr passes a valid entry and our own pointer.
        let (at, walk) = unsafe { ((*info).dlpi_tls_data as usize, &mut *walk.cast::<Walk>()) };
        // What lies elsewhere is dynamic TLS.
        if (walk.fs - walk.end..walk.fs).contains(&at) {
            walk.depth = walk.depth.max(walk.fs - at);
        }
        0
    }
    let fs = arch::fs_base();
    // SAFETY: the half's entry is valid.
    let [depth, end] = unsafe { [(*half()).tls_start, (*half()).tls_end] }.map(|d| d as usize);
    let mut walk = Walk { fs, end, depth };
    // SAFETY: `module` has the callback's type.
    unsafe { libc::dl_iterate_phdr(Some(module), addr_of_mut!(walk).cast()) };
    walk.depth
}
