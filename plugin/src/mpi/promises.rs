//! What the MPI library has told the application of itself when MPI began: the predefined attributes, its version. It stays
//! so over a restart, with another library too.

use super::abi::*;
use super::codes;
use super::lower::{ix, must};
use super::model::{lock, Locked};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

/// The first predefined key; each is two more than the one before.
const TAG_UB: i32 = 0x6440_0001;
/// The key of the number of processes that there could be.
const UNIVERSE_SIZE: i32 = 0x6440_0009;
/// The key of the last error code in use.
const LASTUSEDCODE: i32 = 0x6440_000b;
/// No tag is higher, though the library may take more: there are libraries that don't, and a restart may be over one.
pub const HIGHEST_TAG: i32 = (1 << 23) - 1;

/// `MPI_MAX_LIBRARY_VERSION_STRING`.
const LONGEST: usize = 8192;

/// The values, where the application may point at them.
static VALUES: [AtomicI32; 7] = [const { AtomicI32::new(0) }; 7];
/// A bit for each that the library has been asked for.
static ASKED: AtomicU32 = AtomicU32::new(0);
/// A bit for each that there is.
static THERE: AtomicU32 = AtomicU32::new(0);
/// The library's version; empty before MPI has begun.
static VERSION: Locked<Vec<u8>> = Locked::new(Vec::new());

/// Asks the library for an attribute.
unsafe fn ask(key: i32) -> Option<i32> {
    let (mut value, mut found) = (std::ptr::null::<i32>(), 0i32);
    let (world, value_at) = (COMM_WORLD as u64, &raw mut value as u64);
    let args = [world, key as u64, value_at, &raw mut found as u64];
    let code = must(ix::Comm_get_attr, &args);
    (code == SUCCESS && found != 0 && !value.is_null()).then(|| *value)
}

/// Asks the library for an attribute, and notes the answer.
unsafe fn remember(key: i32) {
    let i = (key - TAG_UB) / 2;
    if let Some(value) = ask(key) {
        let most = if key == TAG_UB { HIGHEST_TAG } else { i32::MAX };
        VALUES[i as usize].store(value.min(most), Relaxed);
        THERE.fetch_or(1 << i, Relaxed);
    }
    ASKED.fetch_or(1 << i, Relaxed);
}

/// Notes what the library tells.
///
/// # Safety
/// MPI has just begun in the lower half, for the first time.
pub unsafe fn note() {
    let keys = (0..VALUES.len() as i32).map(|i| TAG_UB + 2 * i);
    // Without a launcher MPICH starts one to find the universe's size out: only for a program that asks.
    for key in keys.filter(|k| *k != UNIVERSE_SIZE) {
        remember(key);
    }
    let (mut text, mut len) = (vec![0u8; LONGEST], 0i32);
    let args = [text.as_mut_ptr() as u64, &raw mut len as u64];
    if must(ix::Get_library_version, &args) == SUCCESS {
        text.truncate(len.max(0) as usize);
        *VERSION.get(&lock()) = text;
    }
}

/// The highest tag that the application was told of.
pub fn highest_tag() -> i32 {
    VALUES[0].load(Relaxed)
}

/// Can a fresh library keep what another has promised?
///
/// # Safety
/// MPI has begun in the lower half.
pub unsafe fn check() -> Result<(), String> {
    let told = VALUES[0].load(Relaxed);
    match ask(TAG_UB) {
        Some(now) if now < told => Err(format!(
            "the program was told that tags go up to {told}, and with this MPI library they go up to {now}; restart with \
             another one (--mpi)"
        )),
        _ => Ok(()),
    }
}

/// A predefined attribute's place; `None` if the library has not got it.
///
/// # Safety
/// The thread is in a place that no restart can interrupt.
pub unsafe fn attribute(key: i32) -> Option<*mut i32> {
    let i = ((key - TAG_UB) / 2) as usize;
    let place = VALUES.get(i)?;
    if ASKED.load(Relaxed) & 1 << i == 0 {
        remember(key);
    }
    if THERE.load(Relaxed) & 1 << i == 0 {
        return None;
    }
    if key == LASTUSEDCODE {
        place.fetch_max(codes::last_used(), Relaxed);
    }
    Some(place.as_ptr())
}

/// The library's version, once MPI has begun.
pub fn version() -> Option<Vec<u8>> {
    let version = VERSION.get(&lock()).clone();
    (!version.is_empty()).then_some(version)
}
