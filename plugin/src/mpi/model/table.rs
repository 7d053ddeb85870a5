//! Tables of model objects: stable addresses, look-ups without a lock.

use super::lock::{Guard, Locked};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicPtr, Ordering::*};

const CHUNK: usize = 1024;
const CHUNKS: usize = 4096;

type Slots<T> = [AtomicPtr<T>; CHUNK];

/// Objects by index. An empty table is all zeros, so a static one takes no room in the library's file nor, as long as
/// it is not used, in an image.
pub struct Table<T: 'static> {
    chunks: [AtomicPtr<Slots<T>>; CHUNKS],
    /// The first index that was never used, and those that are free again.
    free: Locked<(u32, BTreeSet<u32>)>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Table<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Table {
            chunks: [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS],
            free: Locked::new((0, BTreeSet::new())),
        }
    }

    fn slot(&self, index: u32) -> Option<&'static AtomicPtr<T>> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.load(Acquire);
        // SAFETY: chunks are never freed.
        let chunk = unsafe { chunk.as_ref() }?;
        Some(&chunk[index as usize % CHUNK])
    }

    /// The object at an index.
    #[inline(always)]
    pub fn get(&self, index: i32) -> Option<&'static T> {
        let p = self.slot(index as u32)?.load(Acquire);
        // SAFETY: objects are removed only when nothing uses them any more; a handle used after it
        // was freed is the application's error.
        unsafe { p.as_ref() }
    }

    /// Reserves an index.
    pub fn reserve(&self, guard: &Guard) -> u32 {
        let (next, free) = self.free.get(guard);
        if let Some(i) = free.pop_first() {
            return i;
        }
        let i = *next;
        *next += 1;
        let chunk = &self.chunks[i as usize / CHUNK];
        if chunk.load(Relaxed).is_null() {
            let slots: Box<Slots<T>> =
                Box::new([const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNK]);
            chunk.store(Box::into_raw(slots), Release);
        }
        i
    }

    /// Puts an object at a reserved index.
    pub fn put(&self, index: u32, object: T) -> &'static T {
        let p = Box::into_raw(Box::new(object));
        if let Some(slot) = self.slot(index) {
            slot.store(p, Release);
        }
        // SAFETY: just made from a box.
        unsafe { &*p }
    }

    /// Adds an object.
    pub fn add(&self, guard: &Guard, object: T) -> i32 {
        let i = self.reserve(guard);
        self.put(i, object);
        i as i32
    }

    /// Removes and drops an object.
    pub fn remove(&self, guard: &Guard, index: i32) {
        if let Some(slot) = self.slot(index as u32) {
            let p = slot.swap(std::ptr::null_mut(), AcqRel);
            if !p.is_null() {
                // SAFETY: the pointer came from a box and the slot no longer names it.
                drop(unsafe { Box::from_raw(p) });
                self.free.get(guard).1.insert(index as u32);
            }
        }
    }

    /// The index of the first object that is sought; without the lock.
    pub fn find(&self, sought: impl Fn(&T) -> bool) -> Option<i32> {
        let chunks = self
            .chunks
            .iter()
            .take_while(|c| !c.load(Acquire).is_null());
        (0..(chunks.count() * CHUNK) as i32).find(|i| self.get(*i).is_some_and(&sought))
    }

    /// All objects with their indices.
    pub fn all(&self, guard: &Guard) -> Vec<(i32, &'static T)> {
        let n = self.free.get(guard).0;
        (0..n as i32)
            .filter_map(|i| Some((i, self.get(i)?)))
            .collect()
    }
}
