//! Messages on stderr, written without a libc and without allocation.

use crate::arch::syscall6;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicI32, Ordering};

/// The variable by which a host says the code of processes that are given up, if it is not `die!`'s.
pub const FAIL_CODE: &[u8] = b"SPLITPROC_FAIL_CODE";

static CODE: AtomicI32 = AtomicI32::new(0);

/// Takes the value of [`FAIL_CODE`].
pub fn set_fail_code(value: &[u8]) {
    let code = core::str::from_utf8(value)
        .ok()
        .and_then(|v| v.parse().ok());
    CODE.store(code.unwrap_or(0), Ordering::Relaxed);
}

/// Text that is built on the stack; what does not fit is cut off.
pub struct Text<const SIZE: usize> {
    text: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Text<SIZE> {
    /// No text yet.
    pub const fn new() -> Self {
        Text {
            text: [0; SIZE],
            len: 0,
        }
    }

    /// Appends bytes that may be no UTF-8; an error if they do not fit.
    ///
    /// # Errors
    /// There is no room for all of them.
    pub fn raw(&mut self, bytes: &[u8]) -> fmt::Result {
        let room = self.text.get_mut(self.len..self.len + bytes.len());
        room.ok_or(fmt::Error)?.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

impl<const SIZE: usize> Default for Text<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SIZE: usize> Write for Text<SIZE> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let n = s.len().min(SIZE - self.len);
        self.text[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// A line that is written with one `write`.
pub struct Line(Text<1024>);

impl Line {
    /// A line that begins `splitproc: `.
    pub fn new() -> Self {
        let mut line = Line(Text::new());
        let _ = line.write_str("splitproc: ");
        line
    }

    /// Writes the line to stderr.
    pub fn send(mut self) {
        let _ = self.write_str("\n");
        let bytes = self.0.bytes();
        // SAFETY: the bytes live until the call returns.
        unsafe {
            let at = bytes.as_ptr() as usize;
            syscall6(libc::SYS_write as usize, 2, at, bytes.len(), 0, 0, 0);
        }
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.write_str(s)
    }
}

/// Writes `splitproc: …` to stderr.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use core::fmt::Write as _;
        let mut line = $crate::say::Line::new();
        let _ = write!(line, $($arg)*);
        line.send();
    }};
}

/// Writes `splitproc: …` to stderr and ends the process with `code`, or what the host wants in its place.
#[macro_export]
macro_rules! die {
    ($code:expr, $($arg:tt)*) => {{
        $crate::say!($($arg)*);
        $crate::say::give_up($code)
    }};
}

/// Ends the process with `code`, or the host's.
pub fn give_up(code: i32) -> ! {
    match CODE.load(Ordering::Relaxed) {
        0 => exit(code),
        hosts => exit(hosts),
    }
}

/// Ends the process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: exit_group has no preconditions.
        unsafe { syscall6(libc::SYS_exit_group as usize, code as usize, 0, 0, 0, 0, 0) };
    }
}
