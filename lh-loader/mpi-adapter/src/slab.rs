//! Dynamic handles: numbers for what the library calls by an address. No TLS, no lock; once there is room, no allocation.

use core::mem::size_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

/// Slots a chunk has.
const CHUNK: usize = 1 << 12;
/// Most chunks: an index has 22 bits.
const CHUNKS: usize = 1 << 10;
/// Marks a slot that is free; the rest of the word is the number of the next free one.
const FREE: usize = 1 << 63;

/// A handle of the library, and what the adapter keeps with it.
#[derive(Default)]
pub struct Slot {
    native: AtomicUsize,
    extra: AtomicUsize,
}

/// The handles of one kind.
pub struct Slab {
    chunks: [AtomicPtr<Slot>; CHUNKS],
    /// Slots that have ever been used.
    used: AtomicU32,
    /// Number of the first free slot, from 1; above it a count of changes, so that an exchange notices them.
    free: AtomicU64,
}

impl Slab {
    /// An empty one.
    pub const fn new() -> Slab {
        Slab {
            chunks: [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS],
            used: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Slot> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.load(Acquire);
        // SAFETY: a chunk that is there has all its slots, and stays.
        (!chunk.is_null()).then(|| unsafe { &*chunk.add(index as usize % CHUNK) })
    }

    /// The library's handle; `None` if there is none of this index.
    #[inline(always)]
    pub fn get(&self, index: u32) -> Option<usize> {
        let native = self.slot(index)?.native.load(Relaxed);
        (native & FREE == 0).then_some(native)
    }

    /// What is kept with the handle; 0: nothing.
    #[inline(always)]
    pub fn extra(&self, index: u32) -> usize {
        self.slot(index).map_or(0, |s| s.extra.load(Relaxed))
    }

    /// Keeps something with the handle.
    pub fn set_extra(&self, index: u32, extra: usize) {
        if let Some(slot) = self.slot(index) {
            slot.extra.store(extra, Relaxed);
        }
    }

    /// An index for a handle; `None` if there are too many, or no memory.
    #[inline(always)]
    pub fn add(&self, native: usize) -> Option<u32> {
        let index = self.pop().or_else(|| self.grow())?;
        let slot = self.slot(index)?;
        slot.extra.store(0, Relaxed);
        slot.native.store(native, Release);
        Some(index)
    }

    #[inline(always)]
    fn pop(&self) -> Option<u32> {
        let mut head = self.free.load(Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            let next = self.slot(index)?.native.load(Relaxed) as u32;
            let new = ((head >> 32) + 1) << 32 | u64::from(next);
            match self.free.compare_exchange_weak(head, new, AcqRel, Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    #[cold]
    fn grow(&self) -> Option<u32> {
        let index = self.used.fetch_add(1, Relaxed);
        let Some(chunk) = self.chunks.get(index as usize / CHUNK) else {
            self.used.fetch_sub(1, Relaxed);
            return None;
        };
        if chunk.load(Acquire).is_null() {
            // SAFETY: memory that is all zeros is a chunk of slots.
            let new = unsafe { libc::calloc(CHUNK, size_of::<Slot>()) }.cast::<Slot>();
            if chunk
                .compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire)
                .is_err()
            {
                // SAFETY: nobody else has seen it.
                unsafe { libc::free(new.cast()) };
            }
        }
        self.slot(index).map(|_| index)
    }

    /// Gives an index back.
    #[inline(always)]
    pub fn remove(&self, index: u32) {
        let Some(slot) = self.slot(index) else { return };
        if slot.native.load(Relaxed) & FREE != 0 {
            return;
        }
        let mut head = self.free.load(Acquire);
        loop {
            slot.native.store(FREE | head as u32 as usize, Relaxed);
            let new = ((head >> 32) + 1) << 32 | u64::from(index + 1);
            match self.free.compare_exchange_weak(head, new, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// The index of a handle of the library.
    pub fn find(&self, native: usize) -> Option<u32> {
        let used = self.used.load(Acquire);
        (0..used).find(|i| self.get(*i) == Some(native))
    }
}

impl Default for Slab {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_used_again_once_it_is_given_back() {
        static SLAB: Slab = Slab::new();
        let all: Vec<u32> = (0..10_000).map(|i| SLAB.add(0x1000 + i).unwrap()).collect();
        assert!(all
            .iter()
            .enumerate()
            .all(|(i, s)| SLAB.get(*s) == Some(0x1000 + i)));
        assert_eq!(SLAB.find(0x1000 + 4321), Some(all[4321]));
        SLAB.set_extra(all[17], 5);
        SLAB.remove(all[17]);
        SLAB.remove(all[17]);
        assert_eq!(SLAB.get(all[17]), None);
        let again = SLAB.add(7).unwrap();
        assert_eq!((again, SLAB.extra(again)), (all[17], 0));
        assert!(SLAB.add(8).unwrap() > all[9999]);
    }

    #[test]
    fn threads_never_have_the_same_index() {
        static SLAB: Slab = Slab::new();
        let work = |t: usize| {
            for i in 0..100_000 {
                let native = t << 20 | i;
                let mine = SLAB.add(native).unwrap();
                assert_eq!(SLAB.get(mine), Some(native));
                SLAB.remove(mine);
            }
        };
        std::thread::scope(|s| {
            for t in 1..5 {
                s.spawn(move || work(t));
            }
        });
        assert!(SLAB.used.load(Relaxed) <= 4);
    }
}
