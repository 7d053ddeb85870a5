//! Descriptors that a system call of their own makes: eventfd, epoll, signalfd, timerfd, inotify.

mod inotify;
mod listening;
mod options;
pub mod socket;

use super::descriptors::up;
use super::info::Info;
use super::probe;
use crate::sys::check;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

/// `TFD_IOC_SET_TICKS`: expirations that have not been read.
const TFD_IOC_SET_TICKS: libc::c_ulong = 0x4008_5400;

/// A descriptor that epoll watches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watched {
    fd: RawFd,
    events: u32,
    data: u64,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Special {
    /// Count, semaphore, flags.
    Event(u64, bool, i32),
    /// What it watches.
    Epoll(Vec<Watched>),
    /// Mask, flags.
    Signal(u64, i32),
    /// A timer.
    Timer {
        /// Clock.
        clock: i32,
        /// Status flags.
        flags: i32,
        /// Time left and interval, seconds and nanoseconds.
        value: [(i64, i64); 2],
        /// Expirations not yet read.
        ticks: u64,
    },
    /// Flags, and what it watches.
    Inotify(i32, Vec<inotify::Watch>),
    /// A TCP socket that waits for connections.
    Listening(socket::Listening),
}

impl Special {
    /// Records it, if it is one of these.
    pub fn capture(info: &Info) -> Result<Option<Self>> {
        let Some(name) = info.anonymous() else {
            return Ok(None);
        };
        let first = |key| info.values(key).next().unwrap_or("0");
        let hex = |key| u64::from_str_radix(first(key), 16).unwrap_or(0);
        let number = |key| first(key).parse().unwrap_or(0);
        let status = info.flags & libc::O_NONBLOCK;
        Ok(Some(match name.trim_matches(['[', ']']) {
            "eventfd" => {
                let count = hex("eventfd-count");
                let semaphore = match info.values("eventfd-semaphore").next() {
                    Some(semaphore) => semaphore != "0",
                    None if info.still => probe::is_semaphore(info.fd, count)
                        .with_context(|| format!("fd {}: an eventfd's kind", info.fd))?,
                    None => false,
                };
                Special::Event(count, semaphore, status)
            }
            "eventpoll" => Special::Epoll(watched(info)?),
            "signalfd" => Special::Signal(hex("sigmask"), status),
            "timerfd" => Special::Timer {
                clock: number("clockid"),
                flags: status,
                value: timer_value(
                    pair(first("it_value")),
                    pair(first("it_interval")),
                    number("ticks") != 0,
                ),
                ticks: number("ticks") as u64,
            },
            "inotify" => Special::Inotify(status, inotify::watches(info)?),
            other => bail!(
                "fd {}: a descriptor of {other} can't be checkpointed; close it first",
                info.fd
            ),
        }))
    }

    /// Numbers of the descriptors that epoll watches.
    pub fn watched(&self) -> impl Iterator<Item = RawFd> + '_ {
        let all: &[Watched] = match self {
            Special::Epoll(all) => all,
            _ => &[],
        };
        all.iter().map(|w| w.fd)
    }

    /// Makes it again.
    pub fn make(&self) -> Result<OwnedFd> {
        // SAFETY: each call makes a new descriptor, which becomes ours; masks are live.
        let fd = unsafe {
            check(match self {
                Special::Event(_, semaphore, flags) => {
                    libc::eventfd(0, flags | if *semaphore { libc::EFD_SEMAPHORE } else { 0 })
                }
                Special::Epoll(_) => libc::epoll_create1(0),
                Special::Signal(mask, flags) => {
                    let at = &raw const *mask as usize;
                    let args = [usize::MAX, at, 8, *flags as usize, 0, 0];
                    crate::sys::raw(libc::SYS_signalfd4, args)? as i32
                }
                Special::Timer { clock, flags, .. } => libc::timerfd_create(*clock, *flags),
                Special::Inotify(flags, _) => libc::inotify_init1(*flags),
                Special::Listening(socket) => socket.make()?,
            })?
        };
        // SAFETY: just made.
        let fd = up(unsafe { OwnedFd::from_raw_fd(fd) })?;
        if let Special::Event(count @ 1.., ..) = self {
            // SAFETY: adds to our own counter.
            let wrote = unsafe { libc::write(fd.as_raw_fd(), (&raw const *count).cast(), 8) };
            check(wrote as i32)?;
        }
        Ok(fd)
    }

    /// What it refers to, once all descriptors are at their numbers.
    pub fn connect(&self, fd: RawFd) -> Result<()> {
        match self {
            Special::Epoll(watched) => {
                for w in watched {
                    let mut event = libc::epoll_event {
                        events: w.events,
                        u64: w.data,
                    };
                    // SAFETY: one live event.
                    let result =
                        unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, w.fd, &raw mut event) };
                    check(result)
                        .with_context(|| format!("epoll can't watch fd {} again", w.fd))?;
                }
            }
            Special::Timer {
                value: [left, interval],
                ticks,
                ..
            } => {
                let spec = |(tv_sec, tv_nsec)| libc::timespec { tv_sec, tv_nsec };
                let set = |left| {
                    let new = libc::itimerspec {
                        it_value: spec(left),
                        it_interval: spec(*interval),
                    };
                    // SAFETY: our own timer; the value is live.
                    let result =
                        unsafe { libc::timerfd_settime(fd, 0, &raw const new, null_mut()) };
                    check(result)
                };
                set(*left)?;
                // SAFETY: our own timer; the number is live.
                let all = *ticks == 0
                    || unsafe { libc::ioctl(fd, TFD_IOC_SET_TICKS, &raw const *ticks) } == 0;
                if !all {
                    // A kernel that can't set them: at least one comes, at once.
                    set((0, 1))?;
                }
            }
            // Opening the process's files is nothing that it is to hear of.
            Special::Inotify(_, watches) => inotify::watch(fd, watches)?,
            _ => {}
        }
        Ok(())
    }
}

/// Time left and interval of a timer that may have expired while it was looked at: what is left is read first, then the
/// number of expirations.
fn timer_value(left: (i64, i64), interval: (i64, i64), expired: bool) -> [(i64, i64); 2] {
    let none = (0, 0);
    let left = match (expired, left == none, interval == none) {
        (true, _, true) => none,
        (true, true, false) => interval,
        _ => left,
    };
    [left, interval]
}

/// `(3, 141592)`.
fn pair(text: &str) -> (i64, i64) {
    let mut numbers = text
        .trim_matches(['(', ')'])
        .split(',')
        .map(|n| n.trim().parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What epoll watches: `tfd: 5 events: 19 data: 5 …`.
fn watched(info: &Info) -> Result<Vec<Watched>> {
    let mut found = Vec::new();
    for line in info.values("tfd") {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |key: &str| {
            words
                .iter()
                .position(|w| *w == key)
                .and_then(|at| words.get(at + 1))
        };
        let parsed = (|| {
            Some(Watched {
                fd: words.first()?.parse().ok()?,
                events: u32::from_str_radix(after("events:")?, 16).ok()?,
                data: u64::from_str_radix(after("data:")?, 16).ok()?,
            })
        })();
        let watched =
            parsed.with_context(|| format!("fd {}: can't read what epoll watches", info.fd))?;
        if watched.fd < crate::sys::fd_base() {
            found.push(watched);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eventfd_of_an_old_kernel_is_tried() {
        for flags in [0, libc::EFD_SEMAPHORE] {
            // SAFETY: makes a descriptor, which becomes ours.
            let fd = unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(3, flags)).unwrap()) };
            let mut info = Info::of(fd.as_raw_fd()).unwrap().unwrap();
            info.still = true;
            info.lines.retain(|(key, _)| key != "eventfd-semaphore");
            let Some(Special::Event(3, semaphore, 0)) = Special::capture(&info).unwrap() else {
                panic!("it is an eventfd with 3");
            };
            assert_eq!(semaphore, flags != 0);
        }
    }

    /// It expires between any two looks; at rest it would never tick again.
    #[test]
    fn a_quick_timer_does_not_rest() {
        // SAFETY: makes a descriptor, which becomes ours; the value is live.
        let fd = unsafe {
            let fd = check(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)).unwrap();
            let often = libc::timespec {
                tv_sec: 0,
                tv_nsec: 100,
            };
            let new = libc::itimerspec {
                it_value: often,
                it_interval: often,
            };
            libc::timerfd_settime(fd, 0, &raw const new, null_mut());
            OwnedFd::from_raw_fd(fd)
        };
        let info = Info::of(fd.as_raw_fd()).unwrap().unwrap();
        let Some(Special::Timer { value, ticks, .. }) = Special::capture(&info).unwrap() else {
            panic!("it is a timer");
        };
        assert_ne!(value[0], (0, 0));
        assert!(ticks > 0);
        let expired_since = timer_value((0, 7), (0, 0), true);
        assert_eq!(expired_since[0], (0, 0), "not twice");
    }
}
