//! What a process has that DMTCP does not bring back: the file creation mask, and a working directory that is not below
//! the one that the program was launched in. (With one that is, DMTCP goes there from where the restart is begun.)

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

static MASK: AtomicU32 = AtomicU32::new(0);
/// Where the program was launched, and where it went.
static FOLDERS: Mutex<[Option<PathBuf>; 2]> = Mutex::new([None, None]);

/// The program begins.
pub fn begin() {
    folders()[0] = std::env::current_dir().ok();
}

/// A checkpoint, while the program's threads are stopped.
pub fn save() {
    let mask = set(0);
    set(mask);
    MASK.store(mask, Ordering::Relaxed);
    folders()[1] = std::env::current_dir().ok();
}

/// A restart.
pub fn restore() {
    set(MASK.load(Ordering::Relaxed));
    if let [Some(launched), Some(went)] = &*folders() {
        if went.starts_with(launched) {
            return;
        }
        if let Err(why) = std::env::set_current_dir(went) {
            let went = went.display();
            eprintln!("splitproc: the program was in {went}, which can't be entered ({why}): it goes on in another folder");
        }
    }
}

fn folders() -> std::sync::MutexGuard<'static, [Option<PathBuf>; 2]> {
    FOLDERS.lock().unwrap_or_else(|e| e.into_inner())
}

fn set(mask: u32) -> u32 {
    // SAFETY: umask has no memory arguments.
    unsafe { libc::umask(mask) }
}
