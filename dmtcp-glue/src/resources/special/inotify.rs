//! What inotify watches. The kernel tells the inode, not the path: it is found through the file handle, where
//! we may open one, or among the paths that the process is near to.

use super::super::info::Info;
use crate::sys::check;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `INOTIFY_IOC_SETNEXTWD`, of kernels that are built for it.
const INOTIFY_IOC_SETNEXTWD: libc::c_ulong = 0x4004_4900;
/// Watches that are made and removed, at most, to come to a number.
const TRIES: i32 = 1 << 16;

/// One watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    number: i32,
    mask: u32,
    path: PathBuf,
}

/// The watches of a descriptor.
pub fn watches(info: &Info) -> Result<Vec<Watch>> {
    let mut unread = 0_i32;
    // SAFETY: the kernel writes one int.
    unsafe { libc::ioctl(info.fd, libc::FIONREAD, &raw mut unread) };
    if unread > 0 {
        bail!(
            "fd {}: inotify has events that are not read yet; read them first",
            info.fd
        );
    }
    // `inotify wd:1 ino:3c4a7 sdev:fe00000 mask:100 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:…`
    let lines = info.lines.iter().filter(|(key, _)| key == "inotify wd");
    let mut found = Vec::new();
    for (_, line) in lines {
        let line = format!("wd:{line}");
        let get = |key: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(key)?.strip_prefix(':'))
        };
        let hex = |key| get(key).and_then(|v| u64::from_str_radix(v, 16).ok());
        let all = (|| Some((hex("wd")?, hex("mask")?, hex("ino")?, hex("sdev")?)))();
        let (number, mask, inode, device) =
            all.with_context(|| format!("fd {}: can't read what inotify watches", info.fd))?;
        let handle = Handle::parse(hex("fhandle-type"), get("f_handle"));
        // The kernel's own form of a device number.
        let device = libc::makedev((device >> 20) as u32, (device & 0xf_ffff) as u32);
        let same = |path: &Path| {
            let there = fs::metadata(path).map(|m| (m.dev(), m.ino()));
            there.is_ok_and(|there| there == (device, inode))
        };
        let path = handle
            .and_then(|h| h.path(device))
            .filter(|path| same(path))
            .or_else(|| near().into_iter().find(|path| same(path)));
        let Some(path) = path else {
            bail!(
                "fd {}: inotify watches inode {inode}, whose path can't be found; remove the watch first",
                info.fd
            );
        };
        found.push(Watch {
            number: number as i32,
            mask: mask as u32,
            path,
        });
    }
    found.sort_by_key(|w| w.number);
    Ok(found)
}

/// A file handle, as `open_by_handle_at` takes it: length, type, bytes.
struct Handle(Vec<u8>);

impl Handle {
    fn parse(kind: Option<u64>, text: Option<&str>) -> Option<Self> {
        let text = text?;
        let byte = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
        let bytes = bytes?;
        let mut all = (bytes.len() as u32).to_ne_bytes().to_vec();
        all.extend_from_slice(&(kind? as i32).to_ne_bytes());
        all.extend_from_slice(&bytes);
        Some(Handle(all))
    }

    /// The path, if this process may open handles.
    fn path(&self, device: u64) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
        let places = mounts.lines().filter_map(|l| l.split(' ').nth(4));
        places
            .filter(|place| fs::metadata(place).is_ok_and(|m| m.dev() == device))
            .find_map(|place| {
                let mount = fs::File::open(place).ok()?;
                let args = (
                    mount.as_raw_fd(),
                    self.0.as_ptr(),
                    libc::O_PATH | libc::O_CLOEXEC,
                );
                // SAFETY: the kernel reads the handle; a new descriptor becomes ours.
                let fd = unsafe {
                    let fd = libc::syscall(libc::SYS_open_by_handle_at, args.0, args.1, args.2);
                    (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))?
                };
                fs::read_link(format!("/proc/thread-self/fd/{}", fd.as_raw_fd())).ok()
            })
    }
}

/// Paths near the process: its directory and what is in it, and what its descriptors are.
fn near() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let links = fs::read_dir("/proc/thread-self/fd")
        .into_iter()
        .flatten()
        .flatten();
    found.extend(links.filter_map(|e| fs::read_link(e.path()).ok()));
    if let Ok(cwd) = fs::read_link("/proc/thread-self/cwd") {
        let entries = fs::read_dir(&cwd).into_iter().flatten().flatten();
        found.extend(entries.map(|e| e.path()));
        found.extend(cwd.ancestors().map(Path::to_owned));
    }
    found
}

/// Watches again, under the same numbers.
pub fn watch(fd: RawFd, watches: &[Watch]) -> Result<()> {
    for watch in watches {
        let path = CString::new(watch.path.as_os_str().as_bytes())?;
        let what = || format!("inotify can't watch {} again", watch.path.display());
        // SAFETY: our own descriptor; the path is a C string.
        unsafe {
            libc::ioctl(fd, INOTIFY_IOC_SETNEXTWD, watch.number);
            for _ in 0..TRIES {
                let got = libc::inotify_add_watch(fd, path.as_ptr(), watch.mask);
                if check(got).with_context(what)? == watch.number {
                    break;
                }
                check(libc::inotify_rm_watch(fd, got)).with_context(what)?;
                if got > watch.number {
                    bail!("{}: the kernel does not give its number", what());
                }
            }
        }
    }
    forget_events(fd);
    Ok(())
}

/// Removed watches left events behind.
fn forget_events(fd: i32) {
    let mut unread = 0_i32;
    let mut buffer = vec![0_u8; 1 << 16];
    // SAFETY: our own descriptor, on which events wait when it is read.
    unsafe {
        while libc::ioctl(fd, libc::FIONREAD, &raw mut unread) == 0 && unread > 0 {
            libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len());
        }
    }
}
