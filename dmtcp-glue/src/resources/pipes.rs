//! Pipes and Unix socket pairs whose ends are inside the process, with what is in them.

use super::blob::Blob;
use super::descriptors::up;
use super::info::Info;
use super::special::socket;
use crate::sys::check;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Why a pipe of ours is smaller than the program's.
const ROOM: &str = "see fs.pipe-user-pages-soft, the room of a user's pipes";
/// `RCV_SHUTDOWN`, in what the kernel says of a socket.
const SHUT_FOR_READING: u8 = 1;

/// A pipe or a socket pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Channel {
    /// `None`: a pipe; else the sockets' type.
    socket: Option<i32>,
    /// A pipe's room.
    capacity: i32,
    /// Which ends the process holds.
    open: [bool; 2],
    /// What can be read at each end: one entry a message, or all bytes of a stream.
    queued: [Vec<Blob>; 2],
    /// Options of a pair's sockets.
    options: [Vec<(i32, Blob)>; 2],
    /// Directions of a pair's sockets that are shut.
    shut: [u8; 2],
}

/// Collects ends until all descriptors have been seen.
#[derive(Default)]
pub struct Ends {
    channels: Vec<Channel>,
    /// Inodes and a descriptor of each end.
    ends: Vec<[Option<(u64, RawFd)>; 2]>,
    /// Sockets whose peer must be among the ends: descriptor and the peer's inode.
    wanted: Vec<(RawFd, u64)>,
}

impl Ends {
    /// Notes one end: the channel's index, and which end it is.
    pub fn add(&mut self, info: &Info) -> Result<(usize, usize)> {
        if info.kind() == libc::S_IFSOCK {
            return self.add_socket(info);
        }
        if info.flags & libc::O_DIRECT != 0 {
            bail!(
                "fd {}: a pipe of packets (O_DIRECT) can't be checkpointed",
                info.fd
            );
        }
        let end = match info.flags & libc::O_ACCMODE {
            libc::O_RDONLY => 0,
            libc::O_WRONLY => 1,
            _ => bail!(
                "fd {}: a pipe open for reading and writing can't be checkpointed",
                info.fd
            ),
        };
        let known = self.channels.iter().zip(&self.ends).position(|(c, e)| {
            c.socket.is_none() && e.iter().flatten().any(|(ino, _)| *ino == info.ino)
        });
        // SAFETY: only asks.
        let capacity = unsafe { libc::fcntl(info.fd, libc::F_GETPIPE_SZ) };
        let index = known.unwrap_or_else(|| self.push(None, capacity));
        self.set(index, end, info);
        Ok((index, end))
    }

    fn add_socket(&mut self, info: &Info) -> Result<(usize, usize)> {
        let socket::Unix { peer, shut } = socket::unix(info)?;
        self.wanted.extend(peer.map(|peer| (info.fd, peer)));
        let known = self
            .ends
            .iter()
            .position(|e| e[0].is_some_and(|(ino, _)| Some(ino) == peer));
        let (index, end) = match known {
            Some(index) => (index, 1),
            None => (self.push(Some(socket::kind(info.fd)), 0), 0),
        };
        self.set(index, end, info);
        self.channels[index].shut[end] = shut;
        Ok((index, end))
    }

    fn push(&mut self, socket: Option<i32>, capacity: i32) -> usize {
        self.channels.push(Channel {
            socket,
            capacity,
            open: [false; 2],
            queued: Default::default(),
            options: Default::default(),
            shut: [0; 2],
        });
        self.ends.push([None; 2]);
        self.channels.len() - 1
    }

    fn set(&mut self, index: usize, end: usize, info: &Info) {
        self.channels[index].open[end] = true;
        self.ends[index][end] = Some((info.ino, info.fd));
    }

    /// Reads what is queued, without taking it. Of a pipe that is used meanwhile, as it may unless the threads are `still`,
    /// it can't be told whether that is all.
    pub fn finish(mut self, still: bool) -> Result<Vec<Channel>> {
        let inside = |ino: &u64| self.ends.iter().flatten().flatten().any(|(i, _)| i == ino);
        if let Some((fd, _)) = self.wanted.iter().find(|(_, peer)| !inside(peer)) {
            bail!("fd {fd}: a socket whose other end is in another process can't be checkpointed; close it first");
        }
        for (channel, ends) in self.channels.iter_mut().zip(&self.ends) {
            for (i, end) in ends.iter().enumerate() {
                let Some((ino, fd)) = *end else { continue };
                if channel.socket.is_some() {
                    let ended = channel.shut[i] & SHUT_FOR_READING != 0;
                    channel.queued[i] = socket::queued(fd, ino, channel.socket, ended)?;
                    channel.options[i] = socket::options(fd);
                } else if !channel.open[1 - i] && !is_closed(fd) {
                    bail!("fd {fd}: a pipe whose other end is in another process can't be checkpointed; close it first");
                } else if i == 0 {
                    let (bytes, all) = piped(fd, channel.capacity)
                        .with_context(|| format!("fd {fd}: the pipe's contents can't be read"))?;
                    if still && bytes.len() < all {
                        bail!(
                            "fd {fd}: {} of the pipe's {all} bytes fit into a copy; {ROOM}",
                            bytes.len()
                        );
                    }
                    channel.queued[0] = vec![Blob(bytes)];
                }
            }
        }
        Ok(self.channels)
    }
}

impl Channel {
    /// Makes it again and fills it. An end that the process does not hold is closed.
    pub fn make(&self) -> Result<[Option<OwnedFd>; 2]> {
        let mut pair = [-1; 2];
        // SAFETY: the kernel writes two descriptors, which become ours.
        let [mut a, mut b] = unsafe {
            check(match self.socket {
                None => libc::pipe2(pair.as_mut_ptr(), libc::O_CLOEXEC),
                Some(kind) => libc::socketpair(
                    libc::AF_UNIX,
                    kind | libc::SOCK_CLOEXEC,
                    0,
                    pair.as_mut_ptr(),
                ),
            })?;
            pair.map(|fd| OwnedFd::from_raw_fd(fd))
        };
        (a, b) = (up(a)?, up(b)?);
        if self.socket.is_none() {
            // SAFETY: sets the room of our own pipe; a smaller one only matters if it is too small.
            unsafe { libc::fcntl(b.as_raw_fd(), libc::F_SETPIPE_SZ, self.capacity) };
        }
        let set_options = || {
            socket::set_options(a.as_raw_fd(), &self.options[0]);
            socket::set_options(b.as_raw_fd(), &self.options[1]);
        };
        set_options();
        if self.socket.is_some() {
            socket::make_room(a.as_raw_fd());
            socket::make_room(b.as_raw_fd());
        }
        set_status(&a, libc::O_NONBLOCK)?;
        set_status(&b, libc::O_NONBLOCK)?;
        let why = match self.socket {
            None => format!("; {ROOM}"),
            Some(_) => String::new(),
        };
        for (from, queued) in [(&b, &self.queued[0]), (&a, &self.queued[1])] {
            let mut from = File::from(from.try_clone()?);
            for bytes in queued {
                from.write_all(&bytes.0)
                    .with_context(|| format!("what was in it does not fit{why}"))?;
            }
        }
        set_options();
        if self.open == [true; 2] {
            for (end, shut) in [(&a, self.shut[0]), (&b, self.shut[1])] {
                for (bit, how) in [(1, libc::SHUT_RD), (2, libc::SHUT_WR)] {
                    if shut & bit != 0 {
                        // SAFETY: a socket of our own.
                        unsafe { libc::shutdown(end.as_raw_fd(), how) };
                    }
                }
            }
        }
        Ok([self.open[0].then_some(a), self.open[1].then_some(b)])
    }
}

/// Sets status flags.
pub fn set_status(fd: &OwnedFd, flags: i32) -> Result<()> {
    // SAFETY: changes flags of a descriptor of ours.
    unsafe {
        check(libc::fcntl(
            fd.as_raw_fd(),
            libc::F_SETFL,
            flags & !libc::O_ACCMODE,
        ))?
    };
    Ok(())
}

/// Whether nobody has a pipe's other end.
fn is_closed(fd: RawFd) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    };
    // SAFETY: one live structure; does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    poll.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// A copy of what is in a pipe, and how much that should be.
fn piped(fd: RawFd, capacity: i32) -> Result<(Vec<u8>, usize)> {
    let mut pair = [-1; 2];
    let mut all: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut all) })?;
    // SAFETY: a pipe of our own; `tee` copies references into it and takes nothing out of the other.
    let (mut from, to) = unsafe {
        check(libc::pipe2(
            pair.as_mut_ptr(),
            libc::O_CLOEXEC | libc::O_NONBLOCK,
        ))?;
        let (from, to) = (File::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1]));
        libc::fcntl(pair[1], libc::F_SETPIPE_SZ, capacity);
        let got = libc::tee(
            fd,
            to.as_raw_fd(),
            capacity as usize,
            libc::SPLICE_F_NONBLOCK,
        );
        if got < 0 && std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock {
            return Err(std::io::Error::last_os_error().into());
        }
        (from, to)
    };
    drop(to);
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok((bytes, all as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_copied_whole_or_not_at_all() {
        let (reads, mut writes) = std::io::pipe().unwrap();
        let contents: Vec<u8> = (0..5000_u32).flat_map(u32::to_ne_bytes).collect();
        writes.write_all(&contents).unwrap();
        let copied = |capacity| {
            let mut ends = Ends::default();
            for fd in [reads.as_raw_fd(), writes.as_raw_fd()] {
                ends.add(&Info::of(fd).unwrap().unwrap()).unwrap();
            }
            ends.channels[0].capacity = capacity;
            ends.finish(true)
        };
        assert_eq!(copied(1 << 16).unwrap()[0].queued[0][0].0, contents);
        let refused = copied(1 << 12).unwrap_err().to_string();
        assert!(
            refused.contains("4096 of the pipe's 20000 bytes")
                && refused.contains("pipe-user-pages-soft"),
            "{refused}"
        );
    }

    #[test]
    fn a_pipe_that_is_too_small_for_its_contents_is_not_made() {
        let channel = |capacity| Channel {
            socket: None,
            capacity,
            open: [true; 2],
            queued: [vec![Blob(vec![1; 20000])], Vec::new()],
            options: Default::default(),
            shut: [0; 2],
        };
        assert!(channel(1 << 16).make().is_ok());
        let refused = channel(1 << 12).make().unwrap_err().to_string();
        assert!(refused.contains("does not fit; see fs.pipe"), "{refused}");
    }
}
