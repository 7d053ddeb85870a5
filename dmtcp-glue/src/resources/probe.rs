//! What some kernels don't tell of a descriptor is found out by trial, while the program's threads are stopped. All is put
//! back.

use crate::sys::check;
use std::io;
use std::os::fd::RawFd;

/// Whether two descriptors are the same open file, which has one number of a signal: kcmp may be forbidden, as it is in
/// containers. `None`: the kernel refuses this too.
pub fn same_file(a: RawFd, b: RawFd) -> Option<bool> {
    const F_SETSIG: i32 = 10;
    const F_GETSIG: i32 = 11;
    // SAFETY: asks for a number.
    let get = |fd: RawFd| check(unsafe { libc::fcntl(fd, F_GETSIG) }).ok();
    // SAFETY: without O_ASYNC, which is refused, the number has no effect.
    let set = |signal: i32| check(unsafe { libc::fcntl(a, F_SETSIG, signal) }).ok();
    let was = get(a)?;
    if get(b)? != was {
        return Some(false);
    }
    let mark = if was == libc::SIGURG {
        libc::SIGCHLD
    } else {
        libc::SIGURG
    };
    set(mark)?;
    let same = get(b)? == mark;
    set(was)?;
    Some(same)
}

/// Whether an eventfd is a semaphore, of which one is read at a time: kernels before 6.5 don't tell.
pub fn is_semaphore(fd: RawFd, count: u64) -> io::Result<bool> {
    // SAFETY: asks for flags, sets them.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let set = |flags: i32| check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) });
    set(flags | libc::O_NONBLOCK)?;
    let found = try_semaphore(fd, count);
    set(flags)?;
    found
}

fn try_semaphore(fd: RawFd, count: u64) -> io::Result<bool> {
    let add = |n: u64| {
        // SAFETY: the kernel reads the number.
        let done = unsafe { libc::write(fd, (&raw const n).cast(), 8) };
        check(done as i32)
    };
    let take = || {
        let mut n = 0_u64;
        // SAFETY: the kernel writes the number.
        let done = unsafe { libc::read(fd, (&raw mut n).cast(), 8) };
        check(done as i32).map(|_| n)
    };
    // Of two or more it tells which of the kinds it is.
    let more = 2_u64.saturating_sub(count);
    if more > 0 {
        add(more)?;
    }
    let semaphore = take()? == 1;
    let mut now = if semaphore { count + more - 1 } else { 0 };
    while now > count {
        now -= take()?;
    }
    if now < count {
        add(count - now)?;
    }
    Ok(semaphore)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    #[test]
    fn copies_are_told_from_files_that_look_the_same() {
        let open = || File::open("/proc/self/exe").unwrap();
        let (a, b) = (open(), open());
        let copy = a.try_clone().unwrap();
        let (reads, writes) = io::pipe().unwrap();
        for _ in 0..2 {
            assert_eq!(same_file(a.as_raw_fd(), copy.as_raw_fd()), Some(true));
            assert_eq!(same_file(a.as_raw_fd(), b.as_raw_fd()), Some(false));
            let pipe = same_file(reads.as_raw_fd(), writes.as_raw_fd());
            assert_eq!(pipe, Some(false));
            // SAFETY: sets a number of ours, F_SETSIG.
            unsafe { libc::fcntl(a.as_raw_fd(), 10, libc::SIGURG) };
        }
        // SAFETY: asks for it, F_GETSIG.
        let signal = unsafe { libc::fcntl(copy.as_raw_fd(), 11) };
        assert_eq!(signal, libc::SIGURG);
    }

    #[test]
    fn an_eventfd_is_as_it_was() {
        for semaphore in [false, true] {
            for count in [0, 1, 2, 3, u64::MAX - 1] {
                let flags = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
                // SAFETY: makes a descriptor, which becomes ours; the number is live.
                let fd = unsafe {
                    let fd = OwnedFd::from_raw_fd(check(libc::eventfd(0, flags)).unwrap());
                    libc::write(fd.as_raw_fd(), (&raw const count).cast(), 8);
                    fd
                };
                let fd = fd.as_raw_fd();
                assert_eq!(is_semaphore(fd, count).unwrap(), semaphore);
                let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
                let line = text.lines().find(|l| l.starts_with("eventfd-count:"));
                let now = line.and_then(|l| l.split_whitespace().last()).unwrap();
                assert_eq!(u64::from_str_radix(now, 16).unwrap(), count);
                // SAFETY: asks for flags.
                assert_eq!(
                    unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_NONBLOCK,
                    0
                );
            }
        }
    }
}
