//! `/proc/self/fd` and `/proc/self/fdinfo`: what the kernel says about a descriptor.

use super::probe;
use anyhow::{Context, Result};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// One open descriptor of the application.
#[derive(Clone, Debug)]
pub struct Info {
    /// Its number.
    pub fd: RawFd,
    /// Where the link in `/proc` points.
    pub link: PathBuf,
    /// Device of what it is.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// File type and permissions.
    pub mode: u32,
    /// Length.
    pub size: u64,
    /// Modification time.
    pub mtime: i64,
    /// Number of names.
    pub links: u64,
    /// File offset.
    pub pos: u64,
    /// `O_*` flags, without `O_CLOEXEC`.
    pub flags: i32,
    /// Closed on exec.
    pub cloexec: bool,
    /// The program's threads are stopped: it may be tried what it is.
    pub still: bool,
    /// All lines of its fdinfo.
    pub lines: Vec<(String, String)>,
}

impl Info {
    /// Reads it; `None`: it is not open.
    pub fn of(fd: RawFd) -> Result<Option<Self>> {
        let Ok(link) = fs::read_link(format!("/proc/thread-self/fd/{fd}")) else {
            return Ok(None);
        };
        // SAFETY: the kernel fills one stat structure, for which zeroes are valid.
        let stat = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(fd, &raw mut stat) != 0 {
                return Ok(None);
            }
            stat
        };
        if link.as_os_str() == "anon_inode:[timerfd]" {
            // A periodic timer that has expired rests until somebody asks it: its fdinfo says that nothing is left.
            let mut left = MaybeUninit::<libc::itimerspec>::uninit();
            // SAFETY: the kernel writes one structure.
            unsafe { libc::timerfd_gettime(fd, left.as_mut_ptr()) };
        }
        let text = fs::read_to_string(format!("/proc/thread-self/fdinfo/{fd}"))
            .with_context(|| format!("fd {fd}: can't be examined"))?;
        let lines: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let get = |key: &str| {
            lines
                .iter()
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.as_str())
        };
        let flags = get("flags")
            .and_then(|v| i32::from_str_radix(v, 8).ok())
            .unwrap_or(0);
        Ok(Some(Info {
            fd,
            link,
            dev: stat.st_dev,
            ino: stat.st_ino,
            mode: stat.st_mode,
            size: stat.st_size as u64,
            mtime: stat.st_mtime,
            links: stat.st_nlink,
            pos: get("pos").and_then(|v| v.parse().ok()).unwrap_or(0),
            flags: flags & !libc::O_CLOEXEC,
            cloexec: flags & libc::O_CLOEXEC != 0,
            still: false,
            lines,
        }))
    }

    /// The file type.
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// Values of one key of fdinfo.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// What a `anon_inode:[…]` link is.
    pub fn anonymous(&self) -> Option<&str> {
        self.link.to_str()?.strip_prefix("anon_inode:")
    }
}

/// Numbers of the application's open descriptors.
pub fn numbers() -> Result<Vec<RawFd>> {
    let base = crate::sys::fd_base();
    let mut found: Vec<RawFd> = fs::read_dir("/proc/thread-self/fd")
        .context("/proc/thread-self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd < base)
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Closes every descriptor of the application's range above 2: in a restart, what the new launcher
/// gave and the program does not know.
pub fn close_all() -> Result<()> {
    for fd in numbers()?.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: nobody in this process uses the application's range yet.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Whether two descriptors are the same open file. While the program runs that may stay unknown, which is no.
pub fn same_file(a: &Info, b: RawFd) -> bool {
    const KCMP_FILE: usize = 0;
    // SAFETY: only compares.
    let result = unsafe {
        let pid = libc::getpid();
        libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, a.fd, b)
    };
    match result {
        0.. => result == 0,
        _ => a.still && probe::same_file(a.fd, b) == Some(true),
    }
}
