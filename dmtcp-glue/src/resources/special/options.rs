//! Options of sockets.

use super::super::blob::Blob;
use std::os::fd::RawFd;

/// Options of a pair's socket that are kept: room, time limits, credentials.
const KEPT: [i32; 5] = [
    libc::SO_SNDBUF,
    libc::SO_RCVBUF,
    libc::SO_SNDTIMEO,
    libc::SO_RCVTIMEO,
    libc::SO_PASSCRED,
];

/// What a socket's kept options are, as the kernel gives them.
pub fn options(fd: RawFd) -> Vec<(i32, Blob)> {
    let get = |name| {
        let mut value = vec![0_u8; 16];
        let mut len = value.len() as libc::socklen_t;
        let at = value.as_mut_ptr().cast();
        // SAFETY: the kernel writes at most the length given.
        let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, at, &raw mut len) };
        value.truncate(len as usize);
        (got == 0).then_some((name, Blob(value)))
    };
    KEPT.into_iter().filter_map(get).collect()
}

/// Makes a socket's room as large as may be: what was sent in other pieces may need more of it.
pub fn make_room(fd: RawFd) {
    // Twice that is the most that fits in the kernel's own number.
    let most = i32::MAX / 2;
    let len = size_of::<i32>() as libc::socklen_t;
    for name in [libc::SO_SNDBUF, libc::SO_SNDBUFFORCE] {
        let at = (&raw const most).cast();
        // SAFETY: the kernel reads one int; it cuts the first to the system's limit, and refuses the second without
        // the right to it.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, at, len) };
    }
}

/// Sets what `options` gave.
pub fn set_options(fd: RawFd, options: &[(i32, Blob)]) {
    for (name, value) in options {
        let mut value = value.0.clone();
        // The kernel doubles what it is given for its own use, and shows the double.
        if let (libc::SO_SNDBUF | libc::SO_RCVBUF, Ok(four)) = (*name, value.as_slice().try_into())
        {
            value = (i32::from_ne_bytes(four) / 2).to_ne_bytes().to_vec();
        }
        let (at, len) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
        // SAFETY: the kernel reads the value; a room beyond the system's limit is cut to it.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, *name, at, len) };
    }
}
