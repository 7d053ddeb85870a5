//! Adoption: which way threads cross into a half, a thread's first crossing into it, and its leave when it ends.

use crate::block::{self, Way, NO_WAY};
use crate::{crossing, raw, registry, tcb, ways};
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::Ordering;
use lh_loader::arch;
use lh_loader::elf::BuildIds;
use lh_loader::layout::MPI_HALF;
use lh_loader::lhinfo::{self, Half};

/// Decides which halves must be entered on a borrowed TCB though they were loaded for the shared way: at the
/// start, and after a restart for the fresh halves. Nobody has been adopted by them yet.
pub fn choose() {
    tcb::init();
    let own = BuildIds::of_this_libc(libc::dl_iterate_phdr);
    // SAFETY: lhInfo is mapped, and nobody else looks at these fields now.
    unsafe {
        let info = lhinfo::ptr();
        let there = block::hole();
        let moved = (*info).hole != [there.0, there.1];
        for half in (0..(*info).half_count as usize).map(half_entry) {
            if (*half).shared_fs == 0 {
                continue;
            }
            if moved {
                lhinfo::fall_back(half.cast_mut(), "another library was preloaded before libsplitproc.so, so the TLS hole is not where it was expected");
            } else if !own.same((*half).libc) {
                lhinfo::fall_back(
                    half.cast_mut(),
                    "its C library is another build than the program's",
                );
            }
        }
    }
}

/// Ends the program if there is no such half that threads go into.
pub fn check(half: usize) {
    // SAFETY: read only behind `present`.
    let known = raw::present() && half < unsafe { lhinfo::get() }.half_count as usize;
    // Half 0 is the host.
    if half == 0 || !known {
        let half = half as isize;
        lh_loader::die!(70, "there is no lower half {half}; ask splitproc_half()");
    }
}

/// Makes the calling thread known to lower half `half`: on the shared way a donor's static TLS in its hole and a
/// DTV of its own, on the borrowed way a donor's TCB that knows its block.
#[cold]
pub fn adopt(half: usize) {
    check(half);
    registry::register();
    let mask = raw::block_signals();
    // SAFETY: the block is this thread's own.
    if unsafe { (*block::mine()).ways[half].entry } == 0 {
        adopt_now(half);
    } // else a handler that has just come has called the half
    raw::restore_signals(mask);
}

/// See [`adopt`]: signals are blocked.
fn adopt_now(half: usize) {
    let fs = arch::fs_base();
    let b = block::mine();
    let mut place = 0usize;
    // SAFETY: the TCB field is an int of this thread; the half is ready; `on_main` gives it a free TCB; the
    // donor's TCB is this thread's until it is retired.
    unsafe {
        let shared = (*half_entry(half)).shared_fs != 0;
        if shared {
            *((fs + tcb::MULTIPLE_THREADS) as *mut u32) = 1;
        }
        let make = (*half_entry(half)).make_donor;
        let donor = on_main(half, make, [fs, addr_of_mut!(place) as usize, 0]);
        if donor == 0 {
            lh_loader::die!(70, "lower half {half} has no thread left to lend; raise the limits on processes and memory");
        }
        (*b).donors[half] = donor;
        let [entry, seven_entry, long_entry] = match (shared, tcb::has_wrfsbase()) {
            (true, _) => ways::SHARED,
            (false, true) => ways::WRFSBASE,
            (false, false) => ways::PRCTL,
        }
        .map(|f| f as *const () as usize);
        if !shared {
            *((place + tcb::BLOCK) as *mut usize) = b as usize;
        }
        (*b).ways[half] = Way {
            entry,
            seven_entry,
            long_entry,
            place,
        };
        if shared && half == MPI_HALF && half == crossing::mpi_half() {
            (*b).in_place.store(1, Ordering::Relaxed);
        }
    }
}

/// Gives everything that the calling thread borrowed back to the lower halves.
pub fn leave() {
    let b = block::mine();
    let fs = arch::fs_base();
    // A handler that called a half meanwhile would be adopted again.
    let mask = raw::block_signals();
    // SAFETY: the block is the calling thread's own, which is about to end.
    unsafe {
        (*b).in_place.store(0, Ordering::Relaxed);
        for half in 0..(*b).donors.len() {
            let (donor, way) = ((*b).donors[half], (*b).ways[half]);
            if donor != 0 {
                (*b).donors[half] = 0;
                (*b).ways[half] = NO_WAY;
                let retire = (*half_entry(half)).retire_donor;
                let shared = (*half_entry(half)).shared_fs != 0;
                on_main(
                    half,
                    retire,
                    [donor, fs, if shared { way.place } else { 0 }],
                );
            }
        }
    }
    raw::restore_signals(mask);
}

fn half_entry(half: usize) -> *const Half {
    // SAFETY: lhInfo is mapped while the plugin runs; no reference is made.
    unsafe { addr_of!((*lhinfo::ptr()).halves[half]) }
}

/// Calls an entry point on the half's main TCB, alone and with signals blocked.
///
/// # Safety
/// `f` must be an entry point of the half that takes these arguments.
unsafe fn on_main(half: usize, f: usize, args: [usize; 3]) -> usize {
    // SAFETY: the lock makes the main TCB ours, no handler can run, and our own FS base is put back.
    unsafe {
        let entry = half_entry(half);
        let lock = &*addr_of!((*entry).main_lock);
        let mask = raw::block_signals();
        arch::spin_lock(lock);
        let own = arch::fs_base();
        let result = arch::call_on_tcb(f, (*entry).main_fs, own, args[0], args[1], args[2]);
        arch::spin_unlock(lock);
        raw::restore_signals(mask);
        result
    }
}
