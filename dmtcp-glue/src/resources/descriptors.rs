//! The descriptor table: which numbers are the same open file, and what each open file is.

use super::identity::Identity;
use super::info::{numbers, same_file, Info};
use super::locks::Lock;
use super::pipes::{Channel, Ends};
use super::special::socket;
use super::{files, pipes, special};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Once;

/// What the launcher gave the process: what it is, not what its number is.
#[derive(Clone, Debug, Default)]
pub struct Launcher {
    /// Device and inode of descriptors 0, 1 and 2.
    standard: [Option<(u64, u64)>; 3],
    /// Where the first of them stood.
    begin: u64,
    /// Device, inode of other sockets and pipes that were there at the start.
    others: Vec<(u64, u64)>,
    /// Who the process is.
    pub identity: Identity,
}

impl Launcher {
    /// What is open now, before the program runs.
    pub fn here() -> Self {
        let mut launcher = Launcher {
            identity: Identity::here(),
            ..Launcher::default()
        };
        for fd in numbers().unwrap_or_default() {
            let Ok(Some(info)) = Info::of(fd) else {
                continue;
            };
            match launcher.standard.get_mut(fd as usize) {
                Some(place) => {
                    *place = Some((info.dev, info.ino));
                    if fd == 0 {
                        launcher.begin = info.pos;
                    }
                }
                None if matches!(info.kind(), libc::S_IFSOCK | libc::S_IFIFO) => {
                    launcher.others.push((info.dev, info.ino));
                }
                None => {}
            }
        }
        launcher
    }

    /// Which of 0, 1 and 2 this descriptor still is, or is a copy of.
    ///
    /// A file that the program reads as its standard input is a file like others: one of which nothing has been read may be
    /// anything, a batch script for one, and need not be there at a restart.
    fn standard(&self, info: &Info) -> Option<RawFd> {
        let read = info.kind() == libc::S_IFREG && info.pos != self.begin;
        let is =
            |n: RawFd| self.standard[n as usize] == Some((info.dev, info.ino)) && !(n == 0 && read);
        if (0..3).contains(&info.fd) && is(info.fd) {
            return Some(info.fd);
        }
        let stream = matches!(info.kind(), libc::S_IFSOCK | libc::S_IFIFO | libc::S_IFCHR);
        let null = info.link.as_os_str() == "/dev/null";
        (0..3).find(|&n| is(n) && ((stream && !null) || same_file(info, n)))
    }

    /// Whether it is another stream of the launcher's.
    fn owns(&self, info: &Info) -> bool {
        self.others.contains(&(info.dev, info.ino))
    }
}

/// An open file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Object {
    /// The launcher's standard stream of that number.
    Standard(RawFd),
    /// Another stream of the launcher's; the new one gives its own.
    Launchers,
    /// On a disk.
    File(files::File),
    /// An end of a pipe or a socket pair: index of the channel, which end, status flags.
    End {
        /// Index into the table's channels.
        channel: usize,
        /// 0 or 1; for a pipe 0 is the reading end.
        end: usize,
        /// Status flags.
        flags: i32,
    },
    /// Made by a system call of its own.
    Special(special::Special),
}

/// One number.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Descriptor {
    fd: RawFd,
    cloexec: bool,
    object: usize,
}

/// The table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    descriptors: Vec<Descriptor>,
    objects: Vec<Object>,
    channels: Vec<Channel>,
    locks: Vec<Lock>,
}

/// Open files of a restart, at numbers of the host's own.
pub struct Opened {
    objects: Vec<Option<OwnedFd>>,
    inodes: HashMap<(u64, u64), RawFd>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Opened {
    /// The file that had this device and inode at the checkpoint.
    pub fn by_inode(&self, dev: u64, inode: u64) -> Option<RawFd> {
        self.inodes.get(&(dev, inode)).copied()
    }
}

impl Table {
    /// Reads the application's descriptors.
    pub fn capture(launcher: &Launcher, still: bool) -> Result<Self> {
        let mut table = Table::default();
        let mut infos: Vec<Info> = Vec::new();
        for fd in numbers()? {
            let Some(info) = Info::of(fd)? else { continue };
            let info = Info { still, ..info };
            let first = infos.iter().position(|other| is_copy(&info, other));
            let object = match first {
                Some(i) => table.descriptors[i].object,
                None => table.objects.len(),
            };
            table.descriptors.push(Descriptor {
                fd,
                cloexec: info.cloexec,
                object,
            });
            if first.is_none() {
                table.objects.push(Object::Launchers);
            }
            infos.push(info);
        }
        let mut ends = Ends::default();
        for (object, place) in table.objects.iter_mut().enumerate() {
            let Some(at) = table.descriptors.iter().position(|d| d.object == object) else {
                continue;
            };
            *place = capture_one(&infos[at], launcher, &mut ends)?;
        }
        table.channels = ends.finish(still)?;
        for info in &infos {
            table.locks.extend(Lock::of(info)?);
        }
        table.share_contents();
        table.check_watched()?;
        Ok(table)
    }

    /// The bytes of a file without a name are kept once.
    fn share_contents(&mut self) {
        let mut kept = HashSet::new();
        for object in &mut self.objects {
            if let Object::File(file) = object {
                if file.is_nameless() && !kept.insert((file.dev, file.ino)) {
                    file.keep_bytes_elsewhere();
                }
            }
        }
    }

    /// epoll may watch an open file whose number is closed; that can't be set up again.
    fn check_watched(&self) -> Result<()> {
        for descriptor in &self.descriptors {
            let Some(Object::Special(special)) = self.objects.get(descriptor.object) else {
                continue;
            };
            let open = |fd: &RawFd| self.descriptors.iter().any(|d| d.fd == *fd);
            if let Some(lost) = special.watched().find(|fd| !open(fd)) {
                bail!(
                    "fd {}: epoll watches an open file whose number {lost} is closed; it can't be checkpointed",
                    descriptor.fd
                );
            }
        }
        Ok(())
    }

    /// Locks files again, once no other descriptor of them is open in this process.
    pub fn lock(&self) -> Result<()> {
        self.locks.iter().try_for_each(Lock::take)
    }

    /// Whether the application has as many numbers here as it had.
    fn check_room(&self) -> Result<()> {
        let base = crate::sys::fd_base();
        let own = |d: &&Descriptor| !matches!(self.objects.get(d.object), Some(Object::Launchers));
        let highest = self.descriptors.iter().filter(own).map(|d| d.fd).max();
        match highest.filter(|fd| *fd >= base) {
            None => Ok(()),
            Some(fd) => bail!(
                "the program has a descriptor {fd}, and the hard limit of open files (ulimit -Hn) leaves it the \
                 numbers below {base} here; raise it to {} or more",
                lh_loader::layout::fd_limit(fd as u64)
            ),
        }
    }

    /// An object's numbers, for people.
    fn numbers(&self, object: usize) -> String {
        let all = self.descriptors.iter().filter(|d| d.object == object);
        let all: Vec<String> = all.map(|d| format!("fd {}", d.fd)).collect();
        all.join(", ")
    }

    /// Makes every open file.
    pub fn open(&self, launcher: &Launcher) -> Result<Opened> {
        self.check_room()?;
        let mut opened = Opened {
            objects: Vec::new(),
            inodes: HashMap::new(),
            warnings: Vec::new(),
        };
        let mut channels: Vec<[Option<OwnedFd>; 2]> = Vec::new();
        for (i, channel) in self.channels.iter().enumerate() {
            let is_end = |o: &Object| matches!(o, Object::End { channel, .. } if *channel == i);
            let ends = self.objects.iter().enumerate().filter(|(_, o)| is_end(o));
            let made = channel.make().with_context(|| {
                let ends: Vec<String> = ends.map(|(object, _)| self.numbers(object)).collect();
                format!("{}: the pipe or socket pair can't be made", ends.join(", "))
            });
            channels.push(made?);
        }
        for (i, object) in self.objects.iter().enumerate() {
            let numbers = || self.numbers(i);
            let fd = match object {
                Object::Standard(n) if launcher.standard[*n as usize].is_some() => {
                    Some(duplicate(*n).with_context(numbers)?)
                }
                Object::Standard(_) | Object::Launchers => None,
                Object::File(file) => {
                    let same = opened.by_inode(file.dev, file.ino);
                    let fd = file
                        .open(same, &mut opened.warnings)
                        .with_context(numbers)?;
                    opened.inodes.insert((file.dev, file.ino), fd.as_raw_fd());
                    Some(fd)
                }
                Object::End {
                    channel,
                    end,
                    flags,
                } => {
                    let fd = channels
                        .get_mut(*channel)
                        .and_then(|c| c.get_mut(*end)?.take());
                    let fd = fd
                        .context("a pipe's end is missing")
                        .with_context(numbers)?;
                    pipes::set_status(&fd, *flags)?;
                    Some(fd)
                }
                Object::Special(special) => Some(special.make().with_context(numbers)?),
            };
            opened.objects.push(fd);
        }
        Ok(opened)
    }

    /// Puts every open file at its numbers.
    pub fn install(&self, opened: &Opened) -> Result<()> {
        super::info::close_all()?;
        for descriptor in &self.descriptors {
            let Some(Some(fd)) = opened.objects.get(descriptor.object) else {
                continue;
            };
            place(fd.as_raw_fd(), descriptor.fd, descriptor.cloexec)
                .with_context(|| format!("fd {} can't be put back", descriptor.fd))?;
        }
        // A standard stream that the program had closed.
        for fd in (0..3).filter(|fd| !self.descriptors.iter().any(|d| d.fd == *fd)) {
            // SAFETY: closes a number that the program did not have.
            unsafe { libc::close(fd) };
        }
        for (i, object) in self.objects.iter().enumerate() {
            if let (Object::Special(special), Some(Some(fd))) = (object, opened.objects.get(i)) {
                special.connect(fd.as_raw_fd())?;
            }
        }
        Ok(())
    }
}

/// Whether `a` is a copy (dup) of `b`.
fn is_copy(a: &Info, b: &Info) -> bool {
    (a.dev, a.ino, a.flags, a.pos) == (b.dev, b.ino, b.flags, b.pos) && same_file(a, b.fd)
}

/// Tells the user, once, of what has come on standard input and is in no image.
fn warn_of_unread(info: &Info) {
    static TOLD: Once = Once::new();
    let mut n: libc::c_int = 0;
    let stream = matches!(info.kind(), libc::S_IFSOCK | libc::S_IFIFO);
    // SAFETY: asks how much can be read, for which there is an int.
    if stream && unsafe { libc::ioctl(info.fd, libc::FIONREAD, &mut n) } == 0 && n > 0 {
        TOLD.call_once(|| {
            eprintln!(
                "splitproc: warning: the program has not read all of its standard input, which is not saved: a restart reads \
                 its own launcher's; let the program read a file by its name"
            );
        });
    }
}

/// What one descriptor is.
fn capture_one(info: &Info, launcher: &Launcher, ends: &mut Ends) -> Result<Object> {
    let fd = info.fd;
    if info.flags & libc::O_ASYNC != 0 {
        bail!("fd {fd}: signal-driven I/O (O_ASYNC) can't be checkpointed; clear the flag first");
    }
    if let Some(n) = launcher.standard(info) {
        if n == 0 {
            warn_of_unread(info);
        }
        return Ok(Object::Standard(n));
    }
    if launcher.owns(info) {
        return Ok(Object::Launchers);
    }
    if let Some(special) = special::Special::capture(info)? {
        return Ok(Object::Special(special));
    }
    match info.kind() {
        libc::S_IFREG | libc::S_IFDIR => Ok(Object::File(files::File::capture(info)?)),
        libc::S_IFCHR if files::is_plain_device(info) => {
            Ok(Object::File(files::File::capture(info)?))
        }
        libc::S_IFCHR => bail!(
            "fd {fd}: the device {} can't be checkpointed; close it first",
            info.link.display()
        ),
        libc::S_IFIFO if files::has_name(info) => {
            bail!(
                "fd {fd}: the named pipe {} can't be checkpointed; close it first",
                info.link.display()
            )
        }
        libc::S_IFSOCK if socket::listens(fd) => Ok(Object::Special(special::Special::Listening(
            socket::Listening::capture(info)?,
        ))),
        libc::S_IFIFO | libc::S_IFSOCK => {
            let (channel, end) = ends.add(info)?;
            Ok(Object::End {
                channel,
                end,
                flags: info.flags,
            })
        }
        _ => bail!(
            "fd {fd}: {} can't be checkpointed; close it first",
            info.link.display()
        ),
    }
}

/// A copy at a number of the host's own.
fn duplicate(fd: RawFd) -> Result<OwnedFd> {
    let base = crate::sys::fd_base();
    // SAFETY: makes a new descriptor, which becomes ours.
    unsafe {
        let new = crate::sys::check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, base));
        let new = new.with_context(|| {
            format!("the hard limit of open files (ulimit -Hn) leaves no number from {base} up; raise it to 1024 or more")
        })?;
        Ok(OwnedFd::from_raw_fd(new))
    }
}

/// Copies `from` to the number `to`.
fn place(from: RawFd, to: RawFd, cloexec: bool) -> Result<()> {
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: `to` is in the application's range, whose old contents are not used any more.
    unsafe {
        crate::sys::raw(
            libc::SYS_dup3,
            [from as usize, to as usize, flags as usize, 0, 0, 0],
        )?
    };
    Ok(())
}

/// Moves a fresh descriptor out of the application's range.
pub fn up(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= crate::sys::fd_base() {
        return Ok(fd);
    }
    duplicate(fd.as_raw_fd())
}
