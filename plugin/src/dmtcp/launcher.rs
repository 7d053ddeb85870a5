//! What the launcher gave this process: an environment, and a descriptor (PMI_FD).
//!
//! At a restart both are the new launcher's. DMTCP keeps its environment in a file behind a descriptor of its own;
//! the descriptor's number may be one that the application had, so it is moved away before DMTCP brings the
//! application's back. The application goes on with the environment that it had.

use super::{fail, kin};
use crate::symbols;
use core::ffi::{c_char, c_int};
use lh_loader::arch::{is_err, syscall6};
use lh_loader::{layout, lhinfo};
use restart::launcher::Launcher;
use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// MPICH's and Open MPI's programs that start jobs.
const LAUNCHERS: [&str; 6] = [
    "mpiexec.hydra",
    "hydra_pmi_proxy",
    "orterun",
    "prterun",
    "mpiexec",
    "mpirun",
];
const PMI_FD: &[u8] = b"PMI_FD=";

extern "C" {
    static environ: *const *const c_char;
}

/// The launcher's environment: the first one's, and after a restart the new one's. Never freed, and without a lock: a
/// forked child may look at any time.
static LAUNCHER: AtomicPtr<Vec<CString>> = AtomicPtr::new(null_mut());
/// Descriptors that DMTCP takes for itself.
const PROTECTED: std::ops::Range<u64> = 820..842;

/// This process's own environment.
pub fn variables() -> Vec<CString> {
    // SAFETY: nobody changes the environment while DMTCP starts or runs its events; it ends with a null.
    unsafe {
        (0..)
            .map(|i| *environ.add(i))
            .take_while(|p| !p.is_null())
            .map(|p| CStr::from_ptr(p).to_owned())
            .collect()
    }
}

/// Ends a launcher of MPI jobs that is itself under DMTCP. Its ranks would be too, and at the first checkpoint all of them would
/// wait for ever: for its connections to them belong to what is never saved.
pub fn refuse() {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    if LAUNCHERS.contains(&name.as_ref()) {
        fail(&format!(
            "{name} starts MPI jobs, and can't be checkpointed with its ranks: put dmtcp_launch behind it (mpirun -n 4 dmtcp_launch \
             --join-coordinator --with-plugin libsplitproc.so ./app), and dmtcp_coordinator before"
        ));
    }
}

/// The process starts: moves PMI_FD into the lower halves' range.
pub fn begin() {
    take(variables());
}

/// A restart begins: reads the new environment, and moves PMI_FD out of the application's way.
///
/// A rank's child that has halves of its own goes on with what it was started with: the launcher is its parent's.
pub fn arrive() {
    let own = LAUNCHER.load(Ordering::Acquire);
    take(read());
    if kin::child() {
        LAUNCHER.store(own, Ordering::Release);
    }
}

fn take(mut environment: Vec<CString>) {
    for variable in &mut environment {
        let fd = variable.to_bytes().strip_prefix(PMI_FD);
        let fd = fd.and_then(|fd| std::str::from_utf8(fd).ok()?.parse().ok());
        if let Some(fd) = fd {
            let text = format!("PMI_FD={}", moved(fd));
            *variable = CString::new(text).unwrap_or_default();
        }
    }
    LAUNCHER.store(Box::into_raw(Box::new(environment)), Ordering::Release);
}

/// What the lower halves are started with: the launcher's environment, with PMI_FD's new number.
pub fn environment() -> Vec<CString> {
    // SAFETY: null, or what `take` has left there for ever.
    let launcher = unsafe { LAUNCHER.load(Ordering::Acquire).as_ref() };
    let known = launcher.filter(|l| !l.is_empty());
    known.cloned().unwrap_or_else(variables)
}

/// The value of a variable of the launcher's environment.
pub fn value(name: &str) -> Option<OsString> {
    value_of(&environment(), name)
}

fn value_of(environment: &[CString], name: &str) -> Option<OsString> {
    let variable = |v: &CString| {
        let value = v.to_bytes().strip_prefix(name.as_bytes())?;
        Some(OsString::from_vec(value.strip_prefix(b"=")?.to_vec()))
    };
    environment.iter().find_map(variable)
}

/// Whose launcher it is.
pub fn which() -> Launcher {
    let environment = environment();
    Launcher::of(|name| value_of(&environment, name).is_some())
}

/// The rank and the number of ranks that a launcher's environment names.
pub fn rank_and_size_of(environment: &[CString]) -> Option<(u32, u32)> {
    let get = |name: &str| value_of(environment, name)?.into_string().ok();
    restart::launcher::rank_and_size(get).ok()?
}

/// The rank and the number of ranks that the launcher gave a process with an MPI half.
pub fn rank_and_size() -> Option<(u32, u32)> {
    // SAFETY: lhInfo is mapped; names do not change.
    let info = unsafe { lhinfo::get() };
    let mpi = info
        .halves
        .iter()
        .any(|half| half.name.starts_with(b"mpi\0"));
    rank_and_size_of(&environment()).filter(|_| mpi)
}

/// The numbers from which lower halves have their descriptors, and the limits of open files.
fn range() -> (u64, libc::rlimit) {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: libc fills the structure.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits) };
    (layout::fd_base(limits.rlim_max, true), limits)
}

/// Moves a descriptor into that range, which lies above the soft limit.
fn moved(fd: c_int) -> c_int {
    let (base, limits) = range();
    let most = libc::rlimit {
        rlim_cur: limits.rlim_max,
        ..limits
    };
    // SAFETY: limits are read, and fcntl and close get a number that the launcher named. DMTCP, which follows
    // the application's descriptors through libc, does not see this one's.
    unsafe {
        libc::setrlimit(libc::RLIMIT_NOFILE, &most);
        let how = libc::F_DUPFD as usize;
        let nr = libc::SYS_fcntl as usize;
        let new = syscall6(nr, fd as usize, how, base as usize, 0, 0, 0);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limits);
        if is_err(new) {
            return fd;
        }
        syscall6(libc::SYS_close as usize, fd as usize, 0, 0, 0, 0, 0);
        new as c_int
    }
}

/// The process is about to execute another program, which gets the launcher's descriptor but no other of the lower
/// halves'.
pub fn hand_on(environment: *mut *const c_char) {
    let keep = value("PMI_FD").map(|fd| fd.to_string_lossy().into_owned());
    let (base, _) = range();
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    for name in open.filter_map(|e| e.ok()?.file_name().into_string().ok()) {
        let number = name.parse().unwrap_or(0);
        if number >= base && !PROTECTED.contains(&number) && keep.as_ref() != Some(&name) {
            let (nr, set) = (libc::SYS_fcntl as usize, libc::F_SETFD as usize);
            let flag = libc::FD_CLOEXEC as usize;
            // SAFETY: sets a flag of a descriptor.
            unsafe { syscall6(nr, number as usize, set, flag, 0, 0, 0) };
        }
    }
    let Some(text) = keep.and_then(|fd| CString::new(format!("PMI_FD={fd}")).ok()) else {
        return;
    };
    // SAFETY: DMTCP's copy of the new program's environment ends with a null; the string is never freed.
    unsafe {
        let mut entry = environment;
        while !(*entry).is_null() {
            if CStr::from_ptr(*entry).to_bytes().starts_with(PMI_FD) {
                *entry = text.into_raw();
                break;
            }
            entry = entry.add(1);
        }
    }
}

/// The environment that `dmtcp_restart` was given.
fn read() -> Vec<CString> {
    let Some(number) = symbols::find(c"dmtcp_protected_environ_fd") else {
        return Vec::new();
    };
    // SAFETY: the function has this type.
    let fd = unsafe { core::mem::transmute::<usize, extern "C" fn() -> c_int>(number)() };
    let mut bytes = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        let (at, len) = (part.as_mut_ptr() as usize, part.len());
        // SAFETY: the kernel writes at most `len` bytes to `part`.
        let n = unsafe {
            let nr = libc::SYS_pread64 as usize;
            syscall6(nr, fd as usize, at, len, bytes.len(), 0, 0)
        };
        if n <= 0 {
            break;
        }
        bytes.extend_from_slice(&part[..n as usize]);
    }
    let entries = bytes.split(|b| *b == 0).filter(|e| !e.is_empty());
    entries.filter_map(|e| CString::new(e).ok()).collect()
}
