//! Sockets: pairs inside the process are saved; all others are refused by what they are.

use super::super::blob::Blob;
use super::super::info::Info;
pub use super::listening::Listening;
pub use super::options::{make_room, options, set_options};
use crate::sys::check;
use anyhow::{bail, Context, Result};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

/// Netlink's numbers for asking about one Unix socket.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_SHUTDOWN: u16 = 6;
/// Longest message that is looked at.
const LIMIT: usize = 1 << 24;

/// Whether it waits for connections.
pub fn listens(fd: RawFd) -> bool {
    let ip = matches!(option(fd, libc::SO_DOMAIN), libc::AF_INET | libc::AF_INET6);
    ip && kind(fd) == libc::SOCK_STREAM && option(fd, libc::SO_ACCEPTCONN) == 1
}

/// A number of a socket's options.
pub fn option(fd: RawFd, name: i32) -> i32 {
    let mut value = -1;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most one int.
    unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    value
}

/// The socket's type.
pub fn kind(fd: RawFd) -> i32 {
    option(fd, libc::SO_TYPE)
}

/// What the kernel tells of a Unix socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unix {
    /// The inode of its peer; `None`: it has gone.
    pub peer: Option<u64>,
    /// Bit 0: nothing is received any more; bit 1: nothing is sent.
    pub shut: u8,
}

/// A Unix socket's peer and state. Other sockets are refused.
pub fn unix(info: &Info) -> Result<Unix> {
    let fd = info.fd;
    let domain = option(fd, libc::SO_DOMAIN);
    if domain != libc::AF_UNIX {
        bail!(
            "fd {fd}: {} can't be checkpointed; close it first",
            describe(fd, domain)
        );
    }
    if option(fd, libc::SO_ACCEPTCONN) == 1
        || address(fd, libc::getsockname).1 > 2
        || address(fd, libc::getpeername).1 > 2
    {
        bail!("fd {fd}: a Unix socket with a name can't be checkpointed; close it first");
    }
    ask_peer(info.ino).with_context(|| format!("fd {fd}: a Unix socket whose peer can't be found"))
}

/// What a socket is, for people.
fn describe(fd: RawFd, domain: i32) -> String {
    let protocol = match (domain, kind(fd)) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => "TCP",
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => "UDP",
        (libc::AF_NETLINK, _) => "netlink",
        _ => return format!("a socket of family {domain}"),
    };
    let (there, len) = address(fd, libc::getpeername);
    if let Some(there) = ip(&there, len) {
        return format!("a connected {protocol} socket ({there})");
    }
    let (here, len) = address(fd, libc::getsockname);
    match ip(&here, len) {
        Some(here) if option(fd, libc::SO_ACCEPTCONN) == 1 => {
            format!("a listening {protocol} socket ({here})")
        }
        Some(here) => format!("a {protocol} socket ({here})"),
        None => format!("a {protocol} socket"),
    }
}

/// `getsockname` or `getpeername`.
pub type Getter = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

/// A socket's own or its peer's address and that one's length; 0: none.
pub fn address(fd: RawFd, get: Getter) -> (libc::sockaddr_storage, usize) {
    // SAFETY: an address is plain data; the kernel writes at most the length given.
    unsafe {
        let mut at: libc::sockaddr_storage = std::mem::zeroed();
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let failed = get(fd, (&raw mut at).cast(), &raw mut len) != 0;
        (at, if failed { 0 } else { len as usize })
    }
}

pub fn ip(at: &libc::sockaddr_storage, len: usize) -> Option<SocketAddr> {
    let at = std::ptr::from_ref(at);
    // SAFETY: read as what its family says, which fits in the storage.
    unsafe {
        match i32::from((*at).ss_family) {
            libc::AF_INET if len > 0 => {
                let v4 = &*at.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 if len > 0 => {
                let v6 = &*at.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))))
            }
            _ => None,
        }
    }
}

/// Asks the kernel for the peer of a Unix socket.
fn ask_peer(inode: u64) -> Result<Unix> {
    // SAFETY: a new descriptor, which becomes ours.
    let netlink = unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_NETLINK,
            kind,
            libc::NETLINK_SOCK_DIAG,
        ))?)
    };
    // Header: length, type, flags (request), sequence, port. Then family, protocol, pad, states, inode,
    // what to show, and two words that any cookie matches.
    let mut request = Vec::with_capacity(40);
    request.extend_from_slice(&40_u32.to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&1_u16.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[libc::AF_UNIX as u8, 0, 0, 0]);
    for word in [u32::MAX, inode as u32, UDIAG_SHOW_PEER, u32::MAX, u32::MAX] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    let mut reply = [0_u8; 1024];
    // SAFETY: the kernel reads and writes at most the buffers' lengths.
    let got = unsafe {
        let fd = netlink.as_raw_fd();
        check(libc::send(fd, request.as_ptr().cast(), request.len(), 0) as i32)?;
        check(libc::recv(fd, reply.as_mut_ptr().cast(), reply.len(), 0) as i32)? as usize
    };
    let word = |at: usize| {
        let bytes = reply.get(at..at + 4).filter(|_| at + 4 <= got);
        bytes
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    };
    if word(4) as u16 != SOCK_DIAG_BY_FAMILY {
        bail!(
            "the kernel does not tell (error {})",
            (word(16) as i32).wrapping_neg()
        );
    }
    // Behind the header (16) and the message (16): attributes of length and type, 4-aligned.
    let mut at = 32;
    let mut found = Unix::default();
    while at + 8 <= got {
        let (len, kind) = (word(at) as u16, (word(at) >> 16) as u16);
        match kind {
            UNIX_DIAG_PEER => {
                found.peer = Some(u64::from(word(at + 4))).filter(|peer| *peer != 0);
            }
            UNIX_DIAG_SHUTDOWN => found.shut = word(at + 4) as u8,
            _ => {}
        }
        at += usize::from(len.max(4)).next_multiple_of(4);
    }
    Ok(found)
}

/// Looks at what comes next: its length (behind 0: an error), and whether it carries descriptors.
fn peek(fd: RawFd, buffer: &mut [u8]) -> (isize, bool) {
    let mut control = [0_u64; 128];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the kernel writes at most the lengths given; each control message is read where the kernel says
    // that it is, and the copies of descriptors that it brought are ours to close.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let got = libc::recvmsg(fd, &raw mut message, flags);
        let mut carries = false;
        let mut at = libc::CMSG_FIRSTHDR(&raw const message);
        while got >= 0 && !at.is_null() {
            if (*at).cmsg_level == libc::SOL_SOCKET && (*at).cmsg_type == libc::SCM_RIGHTS {
                carries = true;
                let count = ((*at).cmsg_len - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                for i in 0..count {
                    libc::close(libc::CMSG_DATA(at).cast::<RawFd>().add(i).read_unaligned());
                }
            }
            at = libc::CMSG_NXTHDR(&raw const message, at);
        }
        (got, carries)
    }
}

/// Sockets, by their inodes, in which an empty message was seen: the kernel shows it at an offset only once. So where one was,
/// the next checkpoint must wait until all is received.
static EMPTY: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Is there nothing to read?
fn nothing(fd: RawFd) -> bool {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: nothing is written to a buffer of no length.
    unsafe { libc::recv(fd, std::ptr::null_mut(), 0, flags) < 0 }
}

/// What can be read from a socket, without taking it; `ended`: nothing more will come.
pub fn queued(fd: RawFd, inode: u64, kind: Option<i32>, ended: bool) -> Result<Vec<Blob>> {
    let off = |value: i32| {
        let len = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the kernel reads one int.
        unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEEK_OFF,
                (&raw const value).cast(),
                len,
            )
        }
    };
    let mut empty = EMPTY.lock().unwrap_or_else(|e| e.into_inner());
    if empty.contains(&inode) && nothing(fd) {
        empty.remove(&inode);
    }
    check(off(0)).with_context(|| format!("fd {fd}: what is in the socket can't be read"))?;
    let mut found = Vec::new();
    let mut buffer = vec![0_u8; 1 << 18];
    // Nothing was read: an empty packet, or the end, which comes again and again.
    let mut nothing_read = false;
    let result = loop {
        let (got, carries) = peek(fd, &mut buffer);
        if carries {
            break Err(anyhow::anyhow!(
                "fd {fd}: descriptors are on their way in the socket; it can't be checkpointed"
            ));
        }
        match got {
            0 if kind == Some(libc::SOCK_STREAM) => break Ok(()),
            0 => {
                let end = ended && kind == Some(libc::SOCK_SEQPACKET);
                if end && nothing_read {
                    break Ok(());
                }
                if !end {
                    empty.insert(inode);
                }
                nothing_read = true;
            }
            1.. if got as usize > buffer.len() => {
                break Err(anyhow::anyhow!(
                    "fd {fd}: a message of {got} bytes is in the socket; it can't be checkpointed"
                ))
            }
            1.. => {
                if nothing_read {
                    empty.insert(inode);
                }
                found.push(Blob(buffer[..got as usize].to_vec()));
            }
            _ => break Ok(()),
        }
        if found.iter().map(|b| b.0.len()).sum::<usize>() > LIMIT {
            break Err(anyhow::anyhow!("fd {fd}: too much is in the socket"));
        }
    };
    off(-1);
    if empty.contains(&inode) {
        bail!("fd {fd}: an empty message is in the socket; it can't be checkpointed before that is received");
    }
    if kind == Some(libc::SOCK_STREAM) && found.len() > 1 {
        found = vec![Blob(found.into_iter().flat_map(|b| b.0).collect())];
    }
    result.map(|()| found)
}
