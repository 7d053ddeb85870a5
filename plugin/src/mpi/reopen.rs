//! Files at a checkpoint and at a restart.
//!
//! A checkpoint asks for the positions and has what was written brought to the file system, as the image is: both are to
//! be there after the machine has failed. A restart opens the files again, and touches nothing in them.

use super::abi::*;
use super::files::open_lower;
use super::infos;
use super::lower::{ix, must};
use super::model::file::{self, File};
use super::model::{lock, Guard};
use super::replay::check;
use super::views;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Notes where the open files are.
///
/// # Safety
/// On the helper thread, when all ranks' calls are complete.
pub unsafe fn settle() -> Result<(), String> {
    let mut outcome = Ok(());
    let list = file::all(&lock());
    for f in list {
        // To the end even after an error: the other ranks take part in what follows.
        outcome = outcome.and(note(f));
    }
    outcome
}

unsafe fn note(f: &File) -> Result<(), String> {
    let path = f.path.to_string_lossy();
    let say = |what: &str, code: i32| match code {
        SUCCESS => Ok(()),
        code => Err(format!("{path}: {what}: {}", super::errs::text(code))),
    };
    let (mut position, mut shared, mut size) = (0i64, 0i64, 0i64);
    let at = |p: &mut i64| p as *mut i64 as u64;
    let mut outcome = Ok(());
    if f.state.get(&lock()).odd {
        outcome = Err(format!(
            "{path}: the MPI library tells wrong positions in a view whose filetype has data before its lower bound; close the \
             file, or set another view"
        ));
    }
    if f.writable() {
        outcome = outcome.and(say("MPI_File_sync", must(ix::File_sync, &[f.low()])));
    }
    let code = must(ix::File_get_position, &[f.low(), at(&mut position)]);
    outcome = outcome.and(say("MPI_File_get_position", code));
    let shares = f.shares.load(Relaxed);
    if shares {
        let code = must(ix::File_get_position_shared, &[f.low(), at(&mut shared)]);
        outcome = outcome.and(say("MPI_File_get_position_shared", code));
    }
    if f.comm.rank == 0 {
        let code = must(ix::File_get_size, &[f.low(), at(&mut size)]);
        outcome = outcome.and(say("MPI_File_get_size", code));
    }
    let guard = lock();
    let state = f.state.get(&guard);
    state.position = position;
    state.shared = shares.then_some(shared);
    state.size = size;
    outcome
}

/// Opens all files again.
///
/// # Safety
/// The communicators and datatypes have been made again; on the helper thread.
pub unsafe fn replay(guard: &Guard) -> Result<(), String> {
    let list = file::all(guard);
    for f in &list {
        if f.comm.rank == 0 {
            compare(f, f.state.get(guard).size)?;
        }
    }
    let mut opened: Vec<&CStr> = Vec::new();
    for f in list {
        if f.comm.rank == 0 && opened.contains(&&*f.path) {
            next_second();
        }
        opened.push(&f.path);
        reopen(guard, f)?;
    }
    Ok(())
}

/// Waits until the clock shows another second.
///
/// ROMIO keeps the shared position in a file whose name has the second in which it was opened: two handles of one file
/// that are opened in the same second have one shared position. It asks `time`, which is behind finer clocks by a tick.
fn next_second() {
    // SAFETY: nothing is stored.
    let now = || unsafe { libc::time(core::ptr::null_mut()) };
    let then = now();
    while now() == then {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Is the file there, with all that was in it?
fn compare(f: &File, then: i64) -> Result<(), String> {
    let path = Path::new(OsStr::from_bytes(f.plain_path()));
    let now = std::fs::metadata(path)
        .map_err(|e| format!("{}: can't be opened again: {e}", path.display()))?;
    let now = now.len() as i64;
    let path = path.display();
    if now < then {
        return Err(format!(
            "{path} is shorter than at the checkpoint: {now} bytes, not {then}"
        ));
    }
    if now > then && f.writable() {
        eprintln!(
            "splitproc: {path} has grown since the checkpoint, from {then} to {now} bytes: what is new stays, and the program \
             may write it again; to take it off, `truncate -s {then} {path}` before a restart"
        );
    }
    Ok(())
}

unsafe fn reopen(guard: &Guard, f: &File) -> Result<(), String> {
    let path = f.path.to_string_lossy();
    let state = f.state.get(guard);
    let amode = f.amode & !(MODE_CREATE | MODE_EXCL | MODE_APPEND);
    let opened = infos::with_lower(Some(&state.info), |info| {
        open_lower(f.comm.low(), &f.path, amode, info)
    });
    let code = opened.as_ref().err().copied().unwrap_or(SUCCESS);
    check(&format!("opening {path}"), code)?;
    f.lower.store(opened.unwrap_or_default(), Relaxed);
    let hints = Some(&state.hints[..]).filter(|h| !h.is_empty());
    if let Some(view) = &state.view {
        let set = views::set_lower(f, view, hints);
        check(&format!("the view of {path}"), set.unwrap_or(ERR_TYPE))?;
    } else if hints.is_some() {
        infos::with_lower(hints, |info| must(ix::File_set_info, &[f.low(), info]));
    }
    if state.atomic {
        let code = must(ix::File_set_atomicity, &[f.low(), 1]);
        check(&format!("the atomic mode of {path}"), code)?;
    }
    let whence = SEEK_SET as u64;
    let code = must(ix::File_seek, &[f.low(), state.position as u64, whence]);
    check(&format!("the position in {path}"), code)?;
    let shared = furthest(f, state.shared.unwrap_or(-1));
    if shared >= 0 {
        let code = must(ix::File_seek_shared, &[f.low(), shared as u64, whence]);
        check(&format!("the shared position in {path}"), code)?;
    }
    Ok(())
}

/// The shared position, from a rank that knows it: all that do know the same.
unsafe fn furthest(f: &File, own: i64) -> i64 {
    let mut all = own;
    must(
        ix::Allreduce,
        &[
            &raw const own as u64,
            &raw mut all as u64,
            1,
            LONG_LONG as u64,
            MAX as u64,
            f.comm.low(),
        ],
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_second_is_that_of_time() {
        // SAFETY: nothing is stored.
        let time = || unsafe { libc::time(core::ptr::null_mut()) };
        for _ in 0..3 {
            let then = time();
            next_second();
            assert!(time() > then);
        }
    }
}
