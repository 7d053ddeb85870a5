//! A heap for the freestanding programs: memory is handed out in order and never taken back.
//!
//! Only the disassembler's tables are made on it, once, before the first half is loaded; decoding
//! itself allocates nothing, so that it can run inside a routed `mmap`.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The heap; pages that are never touched cost nothing.
#[repr(align(4096))]
pub struct Bump<const SIZE: usize> {
    room: UnsafeCell<[u8; SIZE]>,
    used: AtomicUsize,
}

// SAFETY: every byte of `room` is handed out once, to one caller.
unsafe impl<const SIZE: usize> Sync for Bump<SIZE> {}

impl<const SIZE: usize> Bump<SIZE> {
    /// An empty heap.
    pub const fn new() -> Self {
        Bump {
            room: UnsafeCell::new([0; SIZE]),
            used: AtomicUsize::new(0),
        }
    }
}

impl<const SIZE: usize> Default for Bump<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: blocks are inside `room`, aligned as asked (its start is aligned to a page), and disjoint.
unsafe impl<const SIZE: usize> GlobalAlloc for Bump<SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = |used: usize| {
            let at = used.checked_add(layout.align() - 1)? & !(layout.align() - 1);
            Some((at, at.checked_add(layout.size())?)).filter(|(_, end)| *end <= SIZE)
        };
        let next = |used| place(used).map(|(_, end)| end);
        match self.used.fetch_update(Relaxed, Relaxed, next).map(place) {
            // SAFETY: `at` is inside `room`.
            Ok(Some((at, _))) => unsafe { self.room.get().cast::<u8>().add(at) },
            _ => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_disjoint_and_end() {
        let heap = Box::new(Bump::<4096>::new());
        let get = |size, align| {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            // SAFETY: sizes are not zero.
            unsafe { heap.alloc(layout) as usize }
        };
        let (a, b) = (get(3, 1), get(100, 64));
        assert!(b >= a + 3 && b % 64 == 0);
        assert_eq!(get(4096, 1), 0);
        assert!(get(1000, 8) >= b + 100);
    }
}
