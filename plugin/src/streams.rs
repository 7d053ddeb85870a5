//! The program's standard I/O, where a lower half is about to end the process, or to write to the same file.
//!
//! The half's `exit` flushes the streams of its own C library. Those of the program are in another one, and it
//! expects that MPI_Abort loses nothing that it had printed.

use std::sync::mpsc;
use std::time::Duration;

/// A stream whose lock somebody holds, in a `getchar` that waits, is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes out what the program's streams hold.
pub fn flush() {
    let (done, wait) = mpsc::channel();
    let all = move || {
        // SAFETY: a null pointer means every stream; the C library locks each.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        // The other side may have lost patience.
        let _ = done.send(());
    };
    if std::thread::Builder::new().spawn(all).is_ok() {
        let _ = wait.recv_timeout(PATIENCE);
    }
}

extern "C" {
    static stdout: *mut libc::FILE;
    fn ftrylockfile(stream: *mut libc::FILE) -> libc::c_int;
    fn funlockfile(stream: *mut libc::FILE);
}

/// Writes out what the program has printed on its standard output, unless another thread is at it.
pub fn flush_output() {
    // SAFETY: the C library's stream, which it locks for the thread.
    unsafe {
        if ftrylockfile(stdout) == 0 {
            libc::fflush(stdout);
            funlockfile(stdout);
        }
    }
}
