//! `pthread_key_t`s: the upper half leaves to the lower halves those that lie in their ranges.

use lh_loader::lhinfo::UPPER_KEYS;

/// Takes the lower halves' keys, so that the upper half's libc does not hand them out.
pub fn reserve() {
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
