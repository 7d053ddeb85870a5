//! Adoption: a thread's first crossing into a half, and its leave when it ends.

use crate::block;
use crate::{raw, registry};
use core::ptr::{addr_of, addr_of_mut};
use lh_loader::arch;
use lh_loader::lhinfo::{self, Half};

/// glibc's `header.multiple_threads`: malloc and stdio leave out their locks where it is 0.
const TCB_MULTIPLE_THREADS: usize = 0x18;

/// Makes the calling thread known to lower half `half`: a donor's static TLS in its hole, a DTV of its own.
#[cold]
pub fn adopt(half: usize) {
    registry::register();
    let fs = arch::fs_base();
    let b = block::mine();
    let mut dtv = 0usize;
    // SAFETY: the TCB field is an int of this thread; the half is ready; `on_main` gives it a free TCB.
    unsafe {
        *((fs + TCB_MULTIPLE_THREADS) as *mut u32) = 1;
        let make = (*half_entry(half)).make_donor;
        let donor = on_main(half, make, [fs, addr_of_mut!(dtv) as usize, 0]);
        if donor == 0 {
            lh_loader::die!(70, "lower half {half} has no thread left to lend; raise the limits on processes and memory");
        }
        (*b).donors[half] = donor;
        (*b).dtv[half] = dtv;
    }
}

/// Gives everything that the calling thread borrowed back to the lower halves.
pub fn leave() {
    let b = block::mine();
    let fs = arch::fs_base();
    // SAFETY: the block is the calling thread's own, which is about to end.
    unsafe {
        for half in 0..(*b).donors.len() {
            let (donor, dtv) = ((*b).donors[half], (*b).dtv[half]);
            if donor != 0 {
                (*b).donors[half] = 0;
                (*b).dtv[half] = 0;
                let retire = (*half_entry(half)).retire_donor;
                on_main(half, retire, [donor, fs, dtv]);
            }
        }
    }
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
