//! Replacing this process by a program that finds what this one was started with.
//!
//! Rust's runtime ignores SIGPIPE and opens standard streams that are closed, before `main`; `Command` sorts the
//! environment and empties the signal mask. Nothing of that may reach the program.

use std::ffi::{c_char, CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What was there before the runtime came: SIGPIPE was ignored; 0, 1 or 2 was closed.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);
static CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// The C library calls this before `main`.
#[used]
#[link_section = ".init_array"]
static NOTE: extern "C" fn() = note;

extern "C" fn note() {
    // SAFETY: both calls only ask; all zeros is a valid `sigaction`.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action);
        PIPE_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Relaxed);
        for (fd, closed) in (0..).zip(&CLOSED) {
            closed.store(libc::fcntl(fd, libc::F_GETFD) < 0, Relaxed);
        }
    }
}

/// The environment as it is: in its order, entries without `=` and second ones of a name included.
pub fn environment() -> Vec<CString> {
    extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: nobody changes the environment of this program; its vector ends with a null.
    unsafe {
        (0..)
            .map(|i| *environ.add(i))
            .take_while(|entry| !entry.is_null())
            .map(|entry| CStr::from_ptr(entry).to_owned())
            .collect()
    }
}

/// Replaces this process by `program`; returns only when that fails.
pub fn exec<S: AsRef<OsStr>>(program: &Path, argv: &[S], environment: &[CString]) -> io::Error {
    let string = |s: &OsStr| CString::new(s.as_bytes());
    let argv: Result<Vec<CString>, _> = argv.iter().map(|a| string(a.as_ref())).collect();
    let (path, argv) = match (string(program.as_os_str()), argv) {
        (Ok(path), Ok(argv)) => (path, argv),
        _ => return io::ErrorKind::InvalidInput.into(),
    };
    let vector = |strings: &[CString]| {
        let all = strings.iter().map(|s| s.as_ptr());
        all.chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, environment) = (vector(&argv), vector(environment));
    // SAFETY: strings end with a NUL and vectors with a null, and live during the call.
    unsafe {
        for (fd, closed) in (0..).zip(&CLOSED) {
            if closed.load(Relaxed) {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        if !PIPE_IGNORED.load(Relaxed) {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr());
        let error = io::Error::last_os_error();
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        error
    }
}
