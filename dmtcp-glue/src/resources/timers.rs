//! Interval timers and POSIX timers.

use crate::sys::{check, raw};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

/// `PR_TIMER_CREATE_RESTORE_IDS`: `timer_create` takes the wanted id. Linux 6.15.
const PR_TIMER_CREATE_RESTORE_IDS: usize = 77;
/// Asks whether it does at the moment: an error where the kernel can't.
const RESTORE_IDS_GET: usize = 2;
/// Ids are tried up to here where the kernel does not take one: in some seconds.
const TRIES: i32 = 1 << 20;

/// Looks at timers that run down between them, and at intervals that tick.
const LOOKS: usize = 1000;
const TICKS: usize = 10;

/// Time left and interval, each in seconds and micro- or nanoseconds.
type Value = [(i64, i64); 2];
/// Of a timer at rest, or of one that ends at its first signal.
const NONE: (i64, i64) = (0, 0);

/// A timer of `timer_create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Posix {
    id: i32,
    clock: i32,
    /// `SIGEV_*`.
    notify: i32,
    signal: i32,
    value: usize,
    /// For `SIGEV_THREAD_ID`.
    tid: u32,
    left: Value,
}

/// All of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timers {
    intervals: [Value; 3],
    posix: Vec<Posix>,
}

impl Timers {
    /// Reads them, and by `signals` what is pending. They keep running: one that runs down after `signals` has looked
    /// would be in neither, so both look again.
    pub fn capture<S>(mut signals: impl FnMut() -> Result<S>) -> Result<(Self, S)> {
        let mut before = Self::look()?;
        for look in 0..LOOKS {
            let pending = signals()?;
            let mut now = Self::look()?;
            if !now.ended(&before) && (look >= TICKS || !now.ticked(&before)) {
                // The kernel starts it again when its signal is taken.
                if let [left @ NONE, interval] = &mut now.intervals[libc::ITIMER_REAL as usize] {
                    *left = *interval;
                }
                return Ok((now, pending));
            }
            before = now;
        }
        bail!("timers run down faster than they can be looked at")
    }

    /// Each timer that ran before: what was left of it, and what it is now.
    fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = ((i64, i64), Value)> + 'a {
        let values = |of: &'a Self| {
            let posix = of.posix.iter().map(|timer| timer.left);
            of.intervals.iter().copied().chain(posix)
        };
        let both = values(before).zip(values(self));
        both.filter_map(|(was, now)| (was[0] != NONE).then_some((was[0], now)))
    }

    /// Whether one has sent its only signal since.
    fn ended(&self, before: &Self) -> bool {
        let mut changes = self.changes(before);
        changes.any(|(_, now)| now == [NONE, NONE])
    }

    /// Whether one has sent a signal of many since.
    fn ticked(&self, before: &Self) -> bool {
        let mut changes = self.changes(before);
        changes.any(|(was, [left, interval])| interval != NONE && (left == NONE || left > was))
    }

    fn look() -> Result<Self> {
        let mut timers = Timers::default();
        for (which, value) in (0..).zip(&mut timers.intervals) {
            // SAFETY: the kernel writes one value, for which zeroes are valid.
            let now = unsafe {
                let mut now: libc::itimerval = std::mem::zeroed();
                check(libc::getitimer(which, &raw mut now))?;
                now
            };
            let pair = |t: libc::timeval| (t.tv_sec, t.tv_usec);
            *value = [pair(now.it_value), pair(now.it_interval)];
        }
        let text = match std::fs::read_to_string("/proc/self/timers") {
            Ok(text) => text,
            Err(_) if has_timers() => {
                bail!("timers of timer_create can't be checkpointed on this kernel (CONFIG_CHECKPOINT_RESTORE)")
            }
            Err(_) => String::new(),
        };
        for mut timer in parse(&text)? {
            // SAFETY: the kernel writes one value, for which zeroes are valid.
            let now = unsafe {
                let mut now: libc::itimerspec = std::mem::zeroed();
                let args = [timer.id as usize, &raw mut now as usize, 0, 0, 0, 0];
                raw(libc::SYS_timer_gettime, args)
                    .with_context(|| format!("timer {}", timer.id))?;
                now
            };
            let pair = |t: libc::timespec| (t.tv_sec, t.tv_nsec);
            timer.left = [pair(now.it_value), pair(now.it_interval)];
            timers.posix.push(timer);
        }
        // Who can't say what id he wants gets them in this order.
        timers.posix.sort_by_key(|timer| timer.id);
        if let Some(last) = timers.posix.last() {
            check_id(last.id, || restore_ids(RESTORE_IDS_GET).is_ok())?;
        }
        Ok(timers)
    }

    /// Makes and starts them.
    pub fn arm(
        &self,
        real_tid: &dyn Fn(u32) -> Option<u32>,
        warn: &mut dyn FnMut(String),
    ) -> Result<()> {
        for (which, [left, interval]) in (0..).zip(&self.intervals) {
            if *left == NONE {
                continue;
            }
            let time = |&(tv_sec, tv_usec): &(i64, i64)| libc::timeval { tv_sec, tv_usec };
            let new = libc::itimerval {
                it_value: time(left),
                it_interval: time(interval),
            };
            // SAFETY: the kernel reads one value.
            if unsafe { libc::setitimer(which, &raw const new, std::ptr::null_mut()) } != 0 {
                warn(format!("interval timer {which} can't be set"));
            }
        }
        for timer in &self.posix {
            let mut tid = 0;
            if timer.notify & libc::SIGEV_THREAD_ID != 0 {
                let Some(real) = real_tid(timer.tid) else {
                    warn(format!("timer {}: its thread has ended", timer.id));
                    continue;
                };
                tid = real;
            }
            let made = timer.make(tid);
            made.with_context(|| format!("timer {} can't be made again", timer.id))?;
        }
        Ok(())
    }
}

impl Posix {
    /// `tid` is the thread that its signals are for, where they are for one.
    fn make(&self, tid: u32) -> Result<()> {
        // SAFETY: plain data, for which zeroes are valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = self.notify;
        event.sigev_signo = self.signal;
        event.sigev_value.sival_ptr = self.value as *mut libc::c_void;
        event.sigev_notify_thread_id = tid as i32;
        let mut id = self.id;
        let args = [
            self.clock as usize,
            &raw const event as usize,
            &raw mut id as usize,
            0,
            0,
            0,
        ];
        if restore_ids(1).is_ok() {
            // SAFETY: the kernel reads the event and the wanted id.
            let made = unsafe { raw(libc::SYS_timer_create, args) };
            // Leaving the flag set would break the program's own timers; the kernel that set it clears it.
            let _ = restore_ids(0);
            made?;
        } else {
            for _ in 0..=TRIES {
                // SAFETY: the kernel reads the event and writes the id; a timer with another id is ours.
                unsafe {
                    raw(libc::SYS_timer_create, args)?;
                    if id == self.id {
                        break;
                    }
                    raw(libc::SYS_timer_delete, [id as usize, 0, 0, 0, 0, 0])?;
                }
            }
            if id != self.id {
                bail!("the kernel does not give its number");
            }
        }
        let time = |(tv_sec, tv_nsec)| libc::timespec { tv_sec, tv_nsec };
        let new = libc::itimerspec {
            it_value: time(self.left[0]),
            it_interval: time(self.left[1]),
        };
        // SAFETY: the kernel reads one value.
        unsafe {
            raw(
                libc::SYS_timer_settime,
                [self.id as usize, 0, &raw const new as usize, 0, 0, 0],
            )?
        };
        Ok(())
    }
}

/// Sets the process's flag, or asks for it.
fn restore_ids(how: usize) -> std::io::Result<usize> {
    let args = [PR_TIMER_CREATE_RESTORE_IDS, how, 0, 0, 0, 0];
    // SAFETY: a flag of the process.
    unsafe { raw(libc::SYS_prctl, args) }
}

/// Refuses a timer whose id would not be reached. A restart is on such a kernel as this one.
fn check_id(id: i32, kernel_takes: impl FnOnce() -> bool) -> Result<()> {
    if id >= TRIES && !kernel_takes() {
        bail!(
            "timer {id} (timer_create) can't be checkpointed: Linux can make a number so high again since 6.15; \
             make timers once, and set them anew"
        );
    }
    Ok(())
}

/// Whether there is a timer among the first numbers.
fn has_timers() -> bool {
    (0..64).any(|id| {
        let mut now = [0_u64; 4];
        let args = [id, now.as_mut_ptr() as usize, 0, 0, 0, 0];
        // SAFETY: the kernel writes one value, of 32 bytes.
        unsafe { raw(libc::SYS_timer_gettime, args) }.is_ok()
    })
}

/// Reads `/proc/self/timers`.
fn parse(text: &str) -> Result<Vec<Posix>> {
    let mut timers: Vec<Posix> = Vec::new();
    for line in text.lines() {
        let (key, value) = line
            .split_once(':')
            .with_context(|| format!("/proc/self/timers: `{line}`"))?;
        let value = value.trim();
        let bad = || format!("/proc/self/timers: `{line}`");
        if key == "ID" {
            let id = value.parse().with_context(bad)?;
            timers.push(Posix {
                id,
                clock: 0,
                notify: 0,
                signal: 0,
                value: 0,
                tid: 0,
                left: [NONE; 2],
            });
            continue;
        }
        let Some(timer) = timers.last_mut() else {
            continue;
        };
        match key {
            "signal" => {
                let (signal, pointer) = value.split_once('/').with_context(bad)?;
                timer.signal = signal.parse().with_context(bad)?;
                timer.value =
                    usize::from_str_radix(pointer.trim_start_matches("0x"), 16).unwrap_or(0);
            }
            "notify" => {
                let (how, whom) = value.split_once('/').with_context(bad)?;
                let (what, id) = whom.split_once('.').with_context(bad)?;
                timer.notify = if how == "none" {
                    libc::SIGEV_NONE
                } else {
                    libc::SIGEV_SIGNAL
                };
                if what == "tid" {
                    timer.notify |= libc::SIGEV_THREAD_ID;
                    timer.tid = id.parse().with_context(bad)?;
                }
            }
            "ClockID" => {
                timer.clock = value.parse().with_context(bad)?;
                // A processor-time clock has the inverted id of its process or thread above three bits.
                if timer.clock < 0 && !(timer.clock >> 3) != 0 {
                    bail!("timer {} runs on another process's or thread's clock: it can't be checkpointed", timer.id);
                }
            }
            _ => {}
        }
    }
    Ok(timers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blocked signal that is pending for this thread.
    fn is_pending(signal: i32) -> bool {
        // SAFETY: the kernel fills the set, for which zeroes are valid.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigpending(&raw mut set);
            libc::sigismember(&raw const set, signal) == 1
        }
    }

    /// The timer runs down after the signals were looked at and before the timers are.
    #[test]
    fn a_timer_that_runs_down_between_the_looks_is_not_lost() {
        // SAFETY: blocks a signal for this thread alone, which the timer is for.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&raw mut set, libc::SIGURG);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
        for interval in [NONE, (1000, 0)] {
            let mut timer = Posix {
                id: 0,
                clock: libc::CLOCK_MONOTONIC,
                notify: libc::SIGEV_THREAD_ID,
                signal: libc::SIGURG,
                value: 0,
                // SAFETY: has no preconditions.
                tid: unsafe { libc::gettid() } as u32,
                left: [(0, 100_000_000), interval],
            };
            timer.id = 1000 + interval.0 as i32;
            timer.make(timer.tid).unwrap();
            let look = || {
                let was = is_pending(libc::SIGURG);
                while !is_pending(libc::SIGURG) {
                    std::thread::yield_now();
                }
                Ok(was)
            };
            let (timers, pending) = Timers::capture(look).unwrap();
            assert!(pending);
            let left = timers.posix.iter().find(|t| t.id == timer.id).unwrap().left;
            assert_eq!(left[0] == NONE, interval == NONE);
            let args = [timer.id as usize, 0, 0, 0, 0, 0];
            // SAFETY: a timer of this test's; its signal is taken.
            unsafe {
                raw(libc::SYS_timer_delete, args).unwrap();
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigaddset(&raw mut set, libc::SIGURG);
                let (info, now) = (std::ptr::null_mut(), std::mem::zeroed());
                libc::sigtimedwait(&raw const set, info, &raw const now);
            }
        }
    }

    #[test]
    fn a_timer_whose_number_can_t_be_had_again_is_refused() {
        assert!(check_id(TRIES - 1, || false).is_ok() && check_id(TRIES, || true).is_ok());
        let refused = check_id(TRIES, || false).unwrap_err().to_string();
        assert!(refused.contains("timer 1048576"), "{refused}");
    }

    #[test]
    fn the_kernels_list_is_read() {
        let text = "ID: 3\nsignal: 34/00007f0012345678\nnotify: signal/tid.77\nClockID: 1\nID: 4\nsignal: 14/0000000000000000\nnotify: none/pid.5\nClockID: 0\n";
        let timers = parse(text).unwrap();
        assert_eq!(timers.len(), 2);
        assert_eq!(
            (
                timers[0].id,
                timers[0].signal,
                timers[0].tid,
                timers[0].clock
            ),
            (3, 34, 77, 1)
        );
        assert_eq!(timers[0].value, 0x7f00_1234_5678);
        assert_eq!(timers[0].notify, libc::SIGEV_THREAD_ID);
        assert_eq!(timers[1].notify, libc::SIGEV_NONE);
        assert!(parse("nonsense").is_err());
    }
}
