//! The futex and the one-slot message channel of lhInfo (see `lh_loader::lhinfo::Mailbox`).

use lh_loader::lhinfo::Mailbox;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const IDLE: u32 = 0;
const REQUEST: u32 = 1;
const REPLY: u32 = 2;

/// How often a waiter looks whether it should go on.
const PATIENCE: Duration = Duration::from_millis(20);

/// Waits until `word` is not `value` any more, or is woken, or `timeout` is over.
pub fn futex_wait(word: &AtomicU32, value: u32, timeout: Duration) {
    let limit = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    };
    // SAFETY: waits on a live word; the time limit lives across the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            value,
            &raw const limit,
        );
    }
}

/// Wakes everybody who waits on `word`.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: a wake touches no memory.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            i32::MAX,
        );
    }
}

/// A mailbox of lhInfo. Plain fields are read and written only by the side whose turn it is.
#[derive(Clone, Copy)]
pub struct Channel(*mut Mailbox);

// SAFETY: the mailbox's state word says whose turn it is; the pointee outlives the process's threads.
unsafe impl Send for Channel {}

impl Channel {
    /// The channel over `mailbox`.
    ///
    /// # Safety
    /// `mailbox` stays valid for as long as the channel or a copy of it is used.
    pub const unsafe fn new(mailbox: *mut Mailbox) -> Self {
        Self(mailbox)
    }

    fn state(&self) -> &AtomicU32 {
        // SAFETY: valid by the contract of `new`; the word is atomic.
        unsafe { &(*self.0).state }
    }

    /// Moves to `state` and wakes the other side.
    fn turn(&self, state: u32) {
        self.state().store(state, Ordering::Release);
        futex_wake(self.state());
    }

    /// Sends a request and waits for the reply: its result and bytes. `None`: no reply in time.
    pub fn request(&self, op: u32, arg: &[u8], timeout: Duration) -> Option<(i64, Vec<u8>)> {
        self.request_while(op, arg, |waited| waited < timeout)
    }

    /// The same, for as long as `patient` says so; it is asked now and then, with the time so far.
    pub fn request_while(
        &self,
        op: u32,
        arg: &[u8],
        mut patient: impl FnMut(Duration) -> bool,
    ) -> Option<(i64, Vec<u8>)> {
        let begun = Instant::now();
        if self.state().load(Ordering::Acquire) == REPLY {
            self.turn(IDLE);
        }
        if self.state().load(Ordering::Acquire) != IDLE {
            return None;
        }
        // SAFETY: the channel is idle, so its fields are the requester's; `arg` outlives the wait, or
        // the callee's use of it ends with the process.
        unsafe {
            (*self.0).op = op;
            (*self.0).arg = arg.as_ptr() as usize;
            (*self.0).len = arg.len();
        }
        self.turn(REQUEST);
        while self.state().load(Ordering::Acquire) == REQUEST {
            if !patient(begun.elapsed()) {
                return None;
            }
            futex_wait(self.state(), REQUEST, PATIENCE);
        }
        // SAFETY: the callee has set `REPLY` after its fields; its bytes are valid until the next request.
        let reply = unsafe { ((*self.0).result, bytes((*self.0).out, (*self.0).out_len)) };
        self.turn(IDLE);
        Some(reply)
    }

    /// Waits for a request and gives its number and bytes.
    pub fn receive(&self) -> (u32, Vec<u8>) {
        loop {
            let state = self.state().load(Ordering::Acquire);
            if state == REQUEST {
                // SAFETY: the requester has set `REQUEST` after its fields, and waits.
                return unsafe { ((*self.0).op, bytes((*self.0).arg, (*self.0).len)) };
            }
            futex_wait(self.state(), state, Duration::from_secs(3600));
        }
    }

    /// Waits until the requester has taken the reply's bytes.
    pub fn wait_taken(&self) {
        while self.state().load(Ordering::Acquire) == REPLY {
            futex_wait(self.state(), REPLY, Duration::from_millis(1));
        }
    }

    /// Answers the request that `receive` gave. `out` must stay alive until the next `receive` returns.
    pub fn reply(&self, result: i64, out: &[u8]) {
        // SAFETY: between `REQUEST` and `REPLY` the fields are the callee's.
        unsafe {
            (*self.0).result = result;
            (*self.0).out = out.as_ptr() as usize;
            (*self.0).out_len = out.len();
        }
        self.turn(REPLY);
    }
}

/// Copies bytes out of the other side's memory.
///
/// # Safety
/// `len` bytes at `at` are readable, or `len` is 0.
unsafe fn bytes(at: usize, len: usize) -> Vec<u8> {
    if at == 0 || len == 0 {
        return Vec::new();
    }
    // SAFETY: by the caller's word.
    unsafe { std::slice::from_raw_parts(at as *const u8, len) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        // SAFETY: a mailbox is plain data, for which zeroes are valid; it is leaked, so it stays valid.
        unsafe { Channel::new(Box::leak(Box::new(std::mem::zeroed::<Mailbox>()))) }
    }

    #[test]
    fn requests_are_answered() {
        let here = channel();
        let there = here;
        std::thread::spawn(move || {
            let there = there;
            let mut kept;
            for _ in 0..100 {
                let (op, arg) = there.receive();
                kept = [arg.as_slice(), b"!"].concat();
                there.reply(i64::from(op) + 1, &kept);
                there.wait_taken();
            }
        });
        for i in 0..100 {
            let reply = here.request(i, b"hello", Duration::from_secs(10));
            assert_eq!(reply, Some((i64::from(i) + 1, b"hello!".to_vec())));
        }
    }

    #[test]
    fn a_missing_reply_is_noticed() {
        assert_eq!(channel().request(1, b"", Duration::from_millis(20)), None);
    }
}
