//! `MPI_INFO_ENV`: how the program was launched. What it told first it tells for good, on another machine too.
//!
//! A program of MPICH's or the standard's ABI finds the command and its arguments there, or nothing where the MPI library has
//! nothing (MPICH 4.0). One of Open MPI's finds what Open MPI tells: its front has another handle for that.

use super::abi::*;
use super::env::granted;
use super::lower::{ix, must};
use super::model::{lock, Locked, WORLD_SIZE};
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Does the MPI library tell nothing?
static BARE: AtomicBool = AtomicBool::new(false);
/// The machine, its kind, and the working directory, all at MPI's begin.
static PLACE: Locked<Option<[OsString; 3]>> = Locked::new(None);

const LEVELS: [&str; 4] = [
    "MPI_THREAD_SINGLE",
    "MPI_THREAD_FUNNELED",
    "MPI_THREAD_SERIALIZED",
    "MPI_THREAD_MULTIPLE",
];

/// A handle that names it.
pub fn names(handle: i32) -> bool {
    handle == INFO_ENV || handle == INFO_ENV_ALL
}

/// Notes what may change.
///
/// # Safety
/// MPI has just begun in the lower half, for the first time.
pub unsafe fn note() {
    let (mut len, mut found) = (0i32, 0i32);
    let [len_at, found_at] = [&raw mut len as u64, &raw mut found as u64];
    let args = [
        INFO_ENV as u64,
        c"command".as_ptr() as u64,
        len_at,
        found_at,
    ];
    let told = must(ix::Info_get_valuelen, &args) == SUCCESS;
    BARE.store(told && found == 0, Relaxed);
    let mut system: libc::utsname = std::mem::zeroed();
    libc::uname(&mut system);
    let word = |w: &[libc::c_char]| super::infos::text(w.as_ptr() as usize, w.len());
    let folder = std::env::current_dir().unwrap_or_default();
    *PLACE.get(&lock()) = Some([
        word(&system.nodename),
        word(&system.machine),
        folder.into_os_string(),
    ]);
}

/// What it holds.
pub fn pairs(handle: i32) -> Vec<(OsString, OsString)> {
    let all = handle == INFO_ENV_ALL;
    if BARE.load(Relaxed) && !all {
        return Vec::new();
    }
    let mut words = std::env::args_os();
    let command = words.next().unwrap_or_default();
    let mut list = vec![("command".into(), command)];
    let rest: Vec<OsString> = words.collect();
    if !rest.is_empty() {
        list.push(("argv".into(), rest.join(OsStr::new(" "))));
    }
    if all {
        let size = OsString::from(WORLD_SIZE.load(Relaxed).to_string());
        let [host, arch, folder] = PLACE.get(&lock()).clone().unwrap_or_default();
        let level = LEVELS[granted().clamp(0, THREAD_MULTIPLE) as usize];
        let more = [
            ("maxprocs", size.clone()),
            ("soft", size),
            ("host", host),
            ("arch", arch),
            ("wdir", folder),
            ("thread_level", level.into()),
        ];
        list.extend(more.map(|(k, v)| (k.into(), v)));
    }
    list
}
