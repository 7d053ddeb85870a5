//! Files with a name, deleted files, memfds, directories, and devices that hold no state.

use super::blob::Blob;
use super::descriptors::up;
use super::info::Info;
use anyhow::{bail, Context, Result};
use lh_loader::layout::PAGE;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs;
use std::io::{Seek, SeekFrom};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Devices without state: opening them again is all there is to do.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];
/// File systems whose files are kernel objects: proc, POSIX message queues, huge pages, name spaces, pidfds.
const PSEUDO: [i64; 5] = [0x9fa0, 0x1980_0202, 0x9584_58f6, 0x6e73_6673, 0x5049_4446];
/// `F_ADD_SEALS`'s bits of a memfd.
const F_GET_SEALS: i32 = 1034;
const F_ADD_SEALS: i32 = 1033;

/// A file as it was at the checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct File {
    path: PathBuf,
    flags: i32,
    offset: u64,
    size: u64,
    mtime: i64,
    /// Permissions.
    mode: u32,
    /// Device number at the checkpoint.
    pub dev: u64,
    /// Inode at the checkpoint.
    pub ino: u64,
    regular: bool,
    /// Its bytes, if it has no name.
    contents: Option<Blob>,
    /// It has no name, and its bytes are with another open file of the same inode.
    alias: bool,
    /// A memfd: its seals.
    memfd: Option<i32>,
}

/// Whether the descriptor's link is a path.
pub fn has_name(info: &Info) -> bool {
    info.link.is_absolute()
}

/// Whether it is one of the devices without state.
pub fn is_plain_device(info: &Info) -> bool {
    DEVICES.iter().any(|d| info.link.as_os_str() == *d)
}

impl File {
    /// Records an open file.
    pub fn capture(info: &Info) -> Result<Self> {
        let regular = info.kind() == libc::S_IFREG;
        let mut file = File {
            path: info.link.clone(),
            flags: info.flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC),
            offset: info.pos,
            size: info.size,
            mtime: info.mtime,
            mode: info.mode & 0o7777,
            dev: info.dev,
            ino: info.ino,
            regular,
            ..File::default()
        };
        let text = info.link.to_string_lossy();
        if text.starts_with("/memfd:") {
            // SAFETY: only asks.
            file.memfd = Some(unsafe { libc::fcntl(info.fd, F_GET_SEALS) }.max(0));
        }
        if regular && (!info.link.is_absolute() || on_pseudo_filesystem(info.fd)) {
            bail!(
                "fd {}: {text} can't be checkpointed; close it first",
                info.fd
            );
        }
        let gone = info.links == 0
            || fs::metadata(&info.link).map(|m| (m.dev(), m.ino())).ok()
                != Some((info.dev, info.ino));
        if regular && gone && info.links > 0 {
            bail!(
                "fd {}: {text} is another file now, and the open one's name is not known; close it first",
                info.fd
            );
        }
        if regular && gone {
            file.contents = Some(Blob(contents(info)?));
        } else if gone && !is_plain_device(info) {
            bail!(
                "fd {}: the directory {text} is not there any more; it can't be checkpointed",
                info.fd
            );
        }
        if text.starts_with("/proc/") {
            bail!(
                "fd {}: {text} can't be checkpointed; close it first",
                info.fd
            );
        }
        Ok(file)
    }

    /// Leaves the bytes to another open file of the same inode; true if there were any.
    pub fn keep_bytes_elsewhere(&mut self) -> bool {
        self.alias = self.contents.take().is_some();
        self.alias
    }

    /// Whether it has no name.
    pub fn is_nameless(&self) -> bool {
        self.alias || self.contents.is_some()
    }

    /// Opens it again. `same` is an open file of the same inode.
    pub fn open(&self, same: Option<RawFd>, warnings: &mut Vec<String>) -> Result<OwnedFd> {
        let fd = match (&self.contents, same) {
            (Some(bytes), _) => self.remake(&bytes.0)?,
            (None, Some(same)) if self.alias => self.reopen(same)?,
            (None, _) if self.alias => bail!("the bytes of {} are lost", self.path.display()),
            (None, _) => open(&self.path, self.flags)
                .with_context(|| format!("{}: can't be opened again", self.path.display()))?,
        };
        let mut file = fs::File::from(fd);
        if self.regular {
            if !self.is_nameless() {
                self.compare(&file, warnings)?;
            }
            if self.flags & libc::O_PATH == 0 {
                file.seek(SeekFrom::Start(self.offset))?;
            }
        } else if self.path.is_dir() {
            // SAFETY: a directory's position is a cookie; setting it reads nothing.
            unsafe { libc::lseek(file.as_raw_fd(), self.offset as libc::off_t, libc::SEEK_SET) };
        }
        Ok(file.into())
    }

    /// Makes a file without a name again: where it was, so that it can be given a name there, or else in memory.
    fn remake(&self, bytes: &[u8]) -> Result<OwnedFd> {
        let name = self.path.to_string_lossy();
        let name = name.trim_end_matches(" (deleted)");
        let fd = match self.memfd {
            Some(_) => {
                let name = name.trim_start_matches("/memfd:").replace('/', "-");
                in_memory(&name, libc::MFD_ALLOW_SEALING)?
            }
            None => nameless(Path::new(name)).or_else(|_| in_memory("deleted", 0))?,
        };
        let file = fs::File::from(fd);
        if self.memfd.is_none() {
            file.set_permissions(fs::Permissions::from_mode(self.mode))?;
        }
        file.set_len(bytes.len() as u64)?;
        // Holes stay holes, and zeros become some.
        for (i, page) in bytes.chunks(PAGE).enumerate() {
            if page.iter().any(|b| *b != 0) {
                file.write_all_at(page, (i * PAGE) as u64)?;
            }
        }
        if let Some(seals @ 1..) = self.memfd {
            // SAFETY: seals our own memfd.
            unsafe { crate::sys::check(libc::fcntl(file.as_raw_fd(), F_ADD_SEALS, seals))? };
        }
        self.reopen(file.as_raw_fd())
    }

    /// Opened anew through its link: an open file with the flags that the program's had, but for those that say
    /// what the path may be: O_NOFOLLOW would refuse the link, O_TMPFILE wants a directory.
    fn reopen(&self, fd: RawFd) -> Result<OwnedFd> {
        let about_path = libc::O_NOFOLLOW | libc::O_TMPFILE;
        open(
            Path::new(&format!("/proc/thread-self/fd/{fd}")),
            self.flags & !about_path,
        )
    }

    /// Warns about a file that is not what it was.
    ///
    /// What was written after the checkpoint is never cut off, not even from a log: other processes, ranks and the
    /// user may have written there too, and what is cut off is lost, while a line too many can be taken out.
    fn compare(&self, file: &fs::File, warnings: &mut Vec<String>) -> Result<()> {
        let now = file.metadata()?;
        let path = self.path.display();
        if now.len() < self.size {
            warnings.push(format!(
                "{path} is shorter than at the checkpoint: {} bytes, not {}",
                now.len(),
                self.size
            ));
        } else if now.mtime() < self.mtime {
            warnings.push(format!("{path} is older than at the checkpoint"));
        } else if now.mtime() > self.mtime {
            warnings.push(self.newer(now.len()));
        }
        Ok(())
    }

    /// What to say about a file that was changed after the checkpoint and has this length now.
    fn newer(&self, now: u64) -> String {
        let (path, then) = (self.path.display(), self.size);
        let reads = self.flags & libc::O_ACCMODE == libc::O_RDONLY;
        if reads || now == then {
            format!("{path} has changed since the checkpoint")
        } else {
            format!(
                "{path} has grown since the checkpoint, from {then} to {now} bytes: what is new stays, and the program \
                 may write it again; to take it off, `truncate -s {then} {path}` before a restart"
            )
        }
    }
}

/// A file without a name in the folder of this path.
fn nameless(path: &Path) -> Result<OwnedFd> {
    let folder = path.parent().unwrap_or(path);
    open(folder, libc::O_TMPFILE | libc::O_RDWR)
}

/// A file in memory.
fn in_memory(name: &str, flags: u32) -> Result<OwnedFd> {
    let name = CString::new(name)?;
    let flags = flags | libc::MFD_CLOEXEC;
    // SAFETY: makes a new descriptor, which becomes ours.
    up(unsafe {
        OwnedFd::from_raw_fd(crate::sys::check(libc::memfd_create(name.as_ptr(), flags))?)
    })
}

/// Opens a path, at a number of the host's own.
fn open(path: &Path, flags: i32) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let flags =
        flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC) | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: makes a new descriptor, which becomes ours.
    up(
        unsafe {
            OwnedFd::from_raw_fd(crate::sys::check(libc::open(name.as_ptr(), flags, 0o600))?)
        },
    )
}

/// Whether the open file is a kernel object that looks like a file.
fn on_pseudo_filesystem(fd: RawFd) -> bool {
    // SAFETY: the kernel fills one structure, for which zeroes are valid.
    unsafe {
        let mut about: libc::statfs = std::mem::zeroed();
        libc::fstatfs(fd, &raw mut about) == 0 && PSEUDO.contains(&about.f_type)
    }
}

/// All bytes of a file without a name, whatever its offset and access mode are.
fn contents(info: &Info) -> Result<Vec<u8>> {
    let path = format!("/proc/thread-self/fd/{}", info.fd);
    let what = || {
        format!(
            "fd {}: the deleted file {} can't be read",
            info.fd,
            info.link.display()
        )
    };
    let mut bytes = vec![0; info.size as usize];
    let readable = info.flags & libc::O_ACCMODE != libc::O_WRONLY && info.flags & libc::O_PATH == 0;
    if readable {
        // Through the program's own descriptor: closing another one would drop its record locks.
        // SAFETY: a descriptor of the program's, whose threads are stopped or only read it; not closed here.
        let file = ManuallyDrop::new(unsafe { fs::File::from_raw_fd(info.fd) });
        file.read_exact_at(&mut bytes, 0).with_context(what)?;
    } else if info.values("lock").next().is_some() {
        bail!("{}: it is locked; unlock it first", what());
    } else {
        let file = fs::File::open(path).with_context(what)?;
        file.read_exact_at(&mut bytes, 0).with_context(what)?;
    }
    Ok(bytes)
}
