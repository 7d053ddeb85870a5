//! Donors: real threads of this half that lend their thread-local storage to upper-half threads.
//!
//! A donor parks as soon as it is up. What it lends is, on the borrowed way, its whole TCB with everything that
//! hangs off it. On the shared way its static TLS is copied into the upper-half thread's hole and a DTV is
//! made for that thread: entries of static TLS rebased, dynamic ones unallocated (`__tls_get_addr` fills them
//! in). When the upper-half thread ends, hole, DTV and key blocks go back, and the donor exits inside its own
//! libc, which runs the half's destructors and frees what the thread owned.

use crate::{half, keys, sys};
use core::ffi::c_void;
use core::ptr::{addr_of_mut, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use lh_loader::futex;
use lh_loader::lhinfo::LOWER_MASK;

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
    /// Its tid; while its TCB is lent, the TCB says the borrower's (see the plugin's `tcb`).
    tid: u32,
    /// The FS base of the upper-half thread that it is lent to.
    pub upper: usize,
    /// The next donor of the list.
    pub next: *mut Donor,
}

/// All donors of the shared way; changed under the half's main lock.
pub static DONORS: AtomicPtr<Donor> = AtomicPtr::new(null_mut());

/// Makes a donor for the thread with FS base `upper`; see `lhinfo::Half::make_donor`.
///
/// `dtv` gets the donor's FS base on the borrowed way. Gives null if the half has no memory or threads left.
pub unsafe extern "C" fn make(upper: usize, dtv: *mut usize) -> *mut Donor {
    // SAFETY: runs on the half's main TCB, under its lock.
    unsafe { as_thread(upper, || lend(upper, dtv)) }
}

unsafe fn lend(upper: usize, dtv: *mut usize) -> *mut Donor {
    // SAFETY: as in `make`: the half's libc may be used.
    unsafe {
        let donor = start(upper);
        if donor.is_null() {
            return donor;
        }
        if (*half()).shared_fs == 0 {
            (*donor).tid = replace_tid((*donor).fs, sys::gettid());
            dtv.write((*donor).fs);
            return donor;
        }
        copy_tls((*donor).fs, upper);
        keys::clear(upper);
        let made = copy_dtv((*donor).fs, upper);
        if made == 0 {
            dismiss(donor);
            return null_mut();
        }
        dtv.write(made);
        (*donor).next = DONORS.load(Ordering::Relaxed);
        DONORS.store(donor, Ordering::Relaxed);
        donor
    }
}

/// Starts a thread that parks; null if there can be no more.
///
/// # Safety
/// On the half's main TCB, under its lock.
pub unsafe fn start(upper: usize) -> *mut Donor {
    // SAFETY: the caller's: this half's libc may be used; the new thread writes `fs` before it says that it is up.
    unsafe {
        let donor: *mut Donor = libc::malloc(size_of::<Donor>()).cast();
        if donor.is_null() {
            return null_mut();
        }
        donor.write(Donor {
            state: AtomicU32::new(0),
            fs: 0,
            tid: 0,
            upper,
            next: null_mut(),
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
        futex::wait_while(&(*donor).state, 0);
        donor
    }
}

/// The TCB of a parked thread.
///
/// # Safety
/// `donor` must be from `start`, and not dismissed.
pub unsafe fn tcb(donor: *mut Donor) -> usize {
    // SAFETY: the caller's.
    unsafe { (*donor).fs }
}

/// Lets a parked thread end.
///
/// # Safety
/// `donor` must be null, or from `start`, and not used any more.
pub unsafe fn dismiss(donor: *mut Donor) {
    if !donor.is_null() {
        // SAFETY: the caller's.
        unsafe { sys::post(&(*donor).state, 2) };
    }
}

/// Takes hole, DTV and key blocks back from `upper`, or (`dtv` is 0) the TCB, and lets the donor exit.
pub unsafe extern "C" fn retire(donor: *mut Donor, upper: usize, dtv: usize) {
    // SAFETY: as in `make`; the upper-half thread will not enter this half again.
    unsafe { as_thread(upper, || take_back(donor, upper, dtv)) }
}

unsafe fn take_back(donor: *mut Donor, upper: usize, dtv: usize) {
    // SAFETY: as in `retire`.
    unsafe {
        let fs = (*donor).fs;
        if dtv == 0 {
            replace_tid(fs, (*donor).tid);
            sys::post(&(*donor).state, 2);
            return;
        }
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
        // It was made with every signal blocked, which libc has given on to it.
        lh_loader::arch::restore_signals(LOWER_MASK);
        (*donor).fs = lh_loader::arch::fs_base();
        if (*half()).shared_fs == 0 {
            leave_rseq((*donor).fs);
        }
        sys::post(&(*donor).state, 1);
        futex::wait_while(&(*donor).state, 1);
        keys::use_destructors();
        libc::free(donor.cast());
    }
    null_mut()
}

/// Offset of the tid in a TCB; 0: not known.
static TID: AtomicU32 = AtomicU32::new(0);

/// Finds out where a TCB has its tid: in the table that glibc keeps for debuggers are its size in bits, its count
/// and its offset.
pub fn begin() {
    // SAFETY: the table is constant data.
    unsafe {
        let field = libc::dlsym(libc::RTLD_DEFAULT, c"_thread_db_pthread_tid".as_ptr());
        if let Some([32, _, offset]) = field.cast::<[u32; 3]>().as_ref() {
            TID.store(*offset, Ordering::Relaxed);
        }
    }
}

/// Sets the tid that the TCB at `fs` says; gives the old one.
unsafe fn replace_tid(fs: usize, tid: u32) -> u32 {
    match TID.load(Ordering::Relaxed) as usize {
        0 => tid,
        // SAFETY: the caller says that nobody else uses the field now.
        offset => unsafe { ((fs + offset) as *mut u32).replace(tid) },
    }
}

/// Runs `f` on the main TCB as the thread of the TCB at `upper`: libc's recursive locks are owned by tid, and the main
/// TCB's own is that of the process's first thread, which may be in this half meanwhile.
///
/// # Safety
/// On the half's main TCB, under its lock.
pub unsafe fn as_thread<R>(upper: usize, f: impl FnOnce() -> R) -> R {
    // SAFETY: the lock makes the main TCB's tid ours; `upper` is the calling thread's own TCB, on the shared way of
    // the same glibc build.
    unsafe {
        let tid = match TID.load(Ordering::Relaxed) as usize {
            offset if offset != 0 && (*half()).shared_fs != 0 => *((upper + offset) as *const u32),
            _ => sys::gettid(),
        };
        let own = replace_tid((*half()).main_fs, tid);
        let result = f();
        replace_tid((*half()).main_fs, own);
        result
    }
}

/// Takes the rseq area of the calling thread, whose TCB is to be lent, from the kernel.
unsafe fn leave_rseq(fs: usize) {
    const UNREGISTER: usize = 1;
    // SAFETY: symbols of glibc since 2.35; null, or a size of 0, where it registers none.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
        if offset.is_null() || size.is_null() || *size == 0 {
            return;
        }
        let (at, len) = (fs.wrapping_add_signed(*offset), (*size).max(32) as usize);
        lh_loader::arch::syscall6(
            libc::SYS_rseq as usize,
            at,
            len,
            UNREGISTER,
            lh_loader::lhinfo::RSEQ_SIGNATURE,
            0,
            0,
        );
    }
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

/// Calls `f` with the FS base of every upper-half thread that a donor is lent to.
pub fn each(mut f: impl FnMut(usize)) {
    let mut at = DONORS.load(Ordering::Relaxed);
    while !at.is_null() {
        // SAFETY: the list is changed under the main lock only, which the caller holds.
        unsafe {
            f((*at).upper);
            at = (*at).next;
        }
    }
}
