//! TCP sockets that wait for connections.

use super::super::blob::Blob;
use super::super::info::Info;
use super::socket::{address, ip, option};
use crate::sys::check;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Where `struct tcp_info` of a listening socket has the connections that wait, and the most that may.
const WAITING: usize = 24;
const BACKLOG: usize = 28;
/// Options that are kept: level and name.
const KEPT: [(i32, i32); 6] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listening {
    domain: i32,
    address: Blob,
    backlog: i32,
    flags: i32,
    options: Vec<(i32, i32, i32)>,
}

impl Listening {
    /// Records it.
    pub fn capture(info: &Info) -> Result<Self> {
        let fd = info.fd;
        let (at, len) = address(fd, libc::getsockname);
        let mut about = [0_u8; 104];
        let mut room = about.len() as libc::socklen_t;
        // SAFETY: the kernel writes at most the length given.
        let got = unsafe {
            let to = about.as_mut_ptr().cast();
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut room)
        };
        check(got).with_context(|| format!("fd {fd}: a listening TCP socket"))?;
        let word = |at: usize| about[at..at + 4].try_into().map_or(0, i32::from_ne_bytes);
        if word(WAITING) > 0 {
            let whose = ip(&at, len).map(|a| format!(" ({a})")).unwrap_or_default();
            bail!("fd {fd}: connections wait in a listening TCP socket{whose}; accept them first");
        }
        let kept = |&(level, name): &(i32, i32)| {
            let mut value = 0_i32;
            let mut room = size_of::<i32>() as libc::socklen_t;
            let to = (&raw mut value).cast();
            // SAFETY: the kernel writes at most one int.
            let got = unsafe { libc::getsockopt(fd, level, name, to, &raw mut room) };
            (got == 0).then_some((level, name, value))
        };
        let at = (&raw const at).cast::<u8>();
        Ok(Listening {
            domain: option(fd, libc::SO_DOMAIN),
            // SAFETY: the kernel wrote so much of the address.
            address: Blob(unsafe { std::slice::from_raw_parts(at, len) }.to_vec()),
            backlog: word(BACKLOG),
            flags: info.flags & libc::O_NONBLOCK,
            options: KEPT.iter().filter_map(kept).collect(),
        })
    }

    /// Makes it again, at a number below the host's own perhaps.
    pub fn make(&self) -> Result<RawFd> {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | self.flags;
        // SAFETY: makes a new descriptor, which becomes ours; addresses and options are live.
        unsafe {
            let fd = check(libc::socket(self.domain, kind, 0))?;
            let owned = OwnedFd::from_raw_fd(fd);
            let set = |level, name, value: i32| {
                let (at, len) = (
                    (&raw const value).cast(),
                    size_of::<i32>() as libc::socklen_t,
                );
                libc::setsockopt(fd, level, name, at, len)
            };
            for (level, name, value) in &self.options {
                set(*level, *name, *value);
            }
            // Connections of the killed process may still be known to the kernel.
            set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
            let (at, len) = (self.address.0.as_ptr().cast(), self.address.0.len());
            check(libc::bind(fd, at, len as libc::socklen_t))
                .and_then(|_| check(libc::listen(fd, self.backlog)))
                .with_context(|| format!("can't listen at {} again", self.place()))?;
            for (level, name, value) in &self.options {
                set(*level, *name, *value);
            }
            Ok(owned.into_raw_fd())
        }
    }

    /// Its address, for people.
    fn place(&self) -> String {
        // SAFETY: an address is plain data; no more is copied than it holds.
        let at = unsafe {
            let mut at: libc::sockaddr_storage = std::mem::zeroed();
            let len = self.address.0.len().min(size_of_val(&at));
            let to = (&raw mut at).cast::<u8>();
            std::ptr::copy_nonoverlapping(self.address.0.as_ptr(), to, len);
            at
        };
        ip(&at, 1).map_or_else(String::new, |a| a.to_string())
    }
}
