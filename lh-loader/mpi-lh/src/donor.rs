//! Donors: real threads of this half that lend their thread-local storage to upper-half threads.
//!
//! A donor parks as soon as it is up. Its static TLS is copied into the upper-half thread's hole and a DTV is
//! made for that thread: entries of static TLS rebased, dynamic ones unallocated (`__tls_get_addr` fills them
//! in). When the upper-half thread ends, hole, DTV and key blocks go back, and the donor exits inside its own
//! libc, which runs the half's destructors and frees what the thread owned.

use crate::{half, keys, sys};
use core::ffi::c_void;
use core::ptr::{addr_of_mut, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// A donor's stack: it only parks, and runs destructors at its end.
const STACK: usize = 256 << 10;
/// Offset of the DTV pointer in glibc's TCB (`tcbhead_t.dtv`).
const TCB_DTV: usize = 8;
/// glibc's "not allocated yet" in a DTV entry.
const UNALLOCATED: usize = usize::MAX;

/// A lent thread.
#[repr(C)]
pub struct Donor {
    /// 0 starting, 1 parked, 2 may exit.
    state: AtomicU32,
    /// The donor's FS base.
    fs: usize,
    /// The FS base of the upper-half thread that it is lent to.
    pub upper: usize,
    /// The next donor of the list.
    pub next: *mut Donor,
}

/// All donors; changed under the half's main lock.
pub static DONORS: AtomicPtr<Donor> = AtomicPtr::new(null_mut());

/// Makes a donor for the thread with FS base `upper`; see `lhinfo::Half::make_donor`.
///
/// Gives null if the half has no memory or threads left.
pub unsafe extern "C" fn make(upper: usize, dtv: *mut usize) -> *mut Donor {
    // SAFETY: runs on the half's main TCB, under its lock: its libc may be used.
    unsafe {
        let donor: *mut Donor = libc::malloc(size_of::<Donor>()).cast();
        if donor.is_null() {
            return null_mut();
        }
        donor.write(Donor {
            state: AtomicU32::new(0),
            fs: 0,
            upper,
            next: DONORS.load(Ordering::Relaxed),
        });
        let mut attr: libc::pthread_attr_t = core::mem::zeroed();
        libc::pthread_attr_init(&mut attr);
        libc::pthread_attr_setstacksize(&mut attr, STACK);
        libc::pthread_attr_setdetachstate(&mut attr, libc::PTHREAD_CREATE_DETACHED);
        let mut thread: libc::pthread_t = 0;
        let failed = libc::pthread_create(&mut thread, &attr, park, donor.cast()) != 0;
        libc::pthread_attr_destroy(&mut attr);
        if failed {
            libc::free(donor.cast());
            return null_mut();
        }
        sys::wait(&(*donor).state, 0);
        copy_tls((*donor).fs, upper);
        keys::clear(upper);
        let made = copy_dtv((*donor).fs, upper);
        if made == 0 {
            sys::post(&(*donor).state, 2);
            return null_mut();
        }
        dtv.write(made);
        DONORS.store(donor, Ordering::Relaxed);
        donor
    }
}

/// Takes hole, DTV and key blocks back from `upper` and lets the donor exit.
pub unsafe extern "C" fn retire(donor: *mut Donor, upper: usize, dtv: usize) {
    // SAFETY: as in `make`; the upper-half thread will not enter this half again.
    unsafe {
        let fs = (*donor).fs;
        copy_tls(upper, fs);
        rebase(dtv, upper, fs, false);
        let old = ((fs + TCB_DTV) as *mut usize).replace(dtv);
        libc::free((old - 16) as *mut c_void);
        keys::give(upper, fs);
        unlink(donor);
        sys::post(&(*donor).state, 2);
    }
}

/// The donor's life.
extern "C" fn park(donor: *mut c_void) -> *mut c_void {
    let donor: *mut Donor = donor.cast();
    // SAFETY: `make` keeps the donor until it is told to exit, and nobody looks at it after that.
    unsafe {
        (*donor).fs = lh_loader::arch::fs_base();
        sys::post(&(*donor).state, 1);
        sys::wait(&(*donor).state, 1);
        keys::use_destructors();
        libc::free(donor.cast());
    }
    null_mut()
}

/// Copies the half's static TLS from one TCB's layout to another's.
unsafe fn copy_tls(from: usize, to: usize) {
    // SAFETY: both threads have the half's part at the same distances below FS.
    unsafe {
        let (start, end) = ((*half()).tls_start as usize, (*half()).tls_end as usize);
        core::ptr::copy_nonoverlapping(
            (from - end) as *const u8,
            (to - end) as *mut u8,
            end - start,
        );
    }
}

/// A DTV in the half's heap for the thread at `to`, made from the one of the thread at `from`; 0 if there
/// is no memory. The layout is glibc's: `dtv[-1]` the number of entries, `dtv[0]` the generation, then
/// `{value, to_free}` by module.
unsafe fn copy_dtv(from: usize, to: usize) -> usize {
    // SAFETY: the donor's DTV is valid and nobody changes it while the donor is parked.
    unsafe {
        let old = *((from + TCB_DTV) as *const usize);
        let bytes = (*((old - 16) as *const usize) + 2) * 16;
        let new = libc::malloc(bytes) as usize;
        if new == 0 {
            return 0;
        }
        core::ptr::copy_nonoverlapping((old - 16) as *const u8, new as *mut u8, bytes);
        rebase(new + 16, from, to, true);
        new + 16
    }
}

/// Moves the DTV's static entries from one TCB's layout to another's; forgets the dynamic ones if told.
unsafe fn rebase(dtv: usize, from: usize, to: usize, forget: bool) {
    // SAFETY: `dtv` is a DTV as described above.
    unsafe {
        let entries = *((dtv - 16) as *const usize);
        let end = (*half()).tls_end as usize;
        for i in 1..=entries {
            let entry = (dtv + 16 * i) as *mut [usize; 2];
            let value = addr_of_mut!((*entry)[0]);
            if (from - end..from).contains(&*value) {
                *value = *value - from + to;
            } else if forget {
                *entry = [UNALLOCATED, 0];
            }
        }
    }
}

unsafe fn unlink(donor: *mut Donor) {
    // SAFETY: the list is changed under the main lock only.
    unsafe {
        if DONORS.load(Ordering::Relaxed) == donor {
            DONORS.store((*donor).next, Ordering::Relaxed);
            return;
        }
        let mut at = DONORS.load(Ordering::Relaxed);
        while !at.is_null() {
            if (*at).next == donor {
                (*at).next = (*donor).next;
                return;
            }
            at = (*at).next;
        }
    }
}

/// Calls `f(donor's FS base, upper-half thread's FS base)` for every lent thread.
pub fn each(mut f: impl FnMut(usize, usize)) {
    let mut at = DONORS.load(Ordering::Relaxed);
    while !at.is_null() {
        // SAFETY: the list is changed under the main lock only, which the caller holds.
        unsafe {
            f((*at).fs, (*at).upper);
            at = (*at).next;
        }
    }
}
