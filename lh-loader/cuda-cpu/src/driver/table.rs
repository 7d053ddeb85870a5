//! Objects by handle.

use super::{lock, Error, Handle};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// Objects of a kind. A handle is never given twice, whatever its object is.
pub struct Table<T> {
    objects: Mutex<HashMap<Handle, T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            objects: Mutex::default(),
        }
    }
}

/// A handle that none has had. Small numbers mean streams. The first is another in each process, as a driver's are: who keeps
/// one over a restart does not come through.
pub fn fresh() -> Handle {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let first = || AtomicU64::new((RandomState::new().hash_one(0) & 0xfff_ffff | 0x1000_0000) << 8);
    NEXT.get_or_init(first).fetch_add(16, Relaxed)
}

impl<T: Clone> Table<T> {
    /// Takes an object in.
    pub fn add(&self, object: T) -> Handle {
        let handle = fresh();
        lock(&self.objects).insert(handle, object);
        handle
    }

    /// Takes an object in under a handle that one has had.
    pub fn put_back(&self, handle: Handle, object: T) {
        lock(&self.objects).insert(handle, object);
    }

    /// An object.
    pub fn get(&self, handle: Handle) -> Result<T, Error> {
        let objects = lock(&self.objects);
        objects.get(&handle).cloned().ok_or(Error::INVALID_HANDLE)
    }

    /// Takes an object out.
    pub fn remove(&self, handle: Handle) -> Result<T, Error> {
        lock(&self.objects)
            .remove(&handle)
            .ok_or(Error::INVALID_HANDLE)
    }

    /// Takes out all for which it is true.
    pub fn remove_all(&self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut objects = lock(&self.objects);
        let gone: Vec<Handle> = objects
            .iter()
            .filter(|(_, o)| which(o))
            .map(|(h, _)| *h)
            .collect();
        gone.iter().filter_map(|h| objects.remove(h)).collect()
    }

    /// The handle of an object.
    pub fn find(&self, mut which: impl FnMut(&T) -> bool) -> Option<Handle> {
        let objects = lock(&self.objects);
        objects.iter().find(|(_, o)| which(o)).map(|(h, _)| *h)
    }
}
