//! `pthread_key_t`s: the upper half leaves to the lower halves those that lie in their ranges.

use core::sync::atomic::{AtomicU32, Ordering};
use lh_loader::lhinfo::{self, KEYS_PER_BLOCK, KEY_BLOCKS, UPPER_KEYS};

/// Offset in a TCB of the pointers to blocks of keys; 0: not known, and no lower half shares them then.
static FIRST: AtomicU32 = AtomicU32::new(0);

/// Takes the lower halves' keys, so that the upper half's libc does not hand them out.
pub fn reserve() {
    // SAFETY: a table that glibc keeps for debuggers, of this type wherever it is found.
    let table = unsafe {
        let table = libc::dlsym(libc::RTLD_DEFAULT, KEY_BLOCKS.as_ptr());
        table.cast::<[u32; 3]>().as_ref()
    };
    FIRST.store(lhinfo::key_blocks(table).unwrap_or(0), Ordering::Relaxed);
    let mut ours = Vec::new();
    let mut key = 0;
    // SAFETY: makes keys and deletes what it made.
    unsafe {
        while libc::pthread_key_create(&mut key, None) == 0 {
            if key < UPPER_KEYS {
                ours.push(key);
            }
        }
        for key in ours {
            libc::pthread_key_delete(key);
        }
    }
}

/// After a restart: the blocks of lower halves' keys in the TCB at `fs` were in memory that is gone.
///
/// # Safety
/// `fs` must be the TCB of a thread that does not run.
pub unsafe fn forget(fs: usize) {
    let first = FIRST.load(Ordering::Relaxed) as usize;
    if first == 0 {
        return;
    }
    for block in UPPER_KEYS / KEYS_PER_BLOCK..1024 / KEYS_PER_BLOCK {
        // SAFETY: the caller's; the table of pointers has 32 entries.
        unsafe { *((fs + first) as *mut usize).add(block as usize) = 0 };
    }
}
