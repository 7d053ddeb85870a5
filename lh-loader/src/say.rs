//! Messages on stderr, written without a libc and without allocation.

use crate::arch::syscall6;
use core::fmt::{self, Write};

/// A line that is built on the stack and written with one `write`.
pub struct Line {
    text: [u8; 1024],
    len: usize,
}

impl Line {
    /// A line that begins `splitproc: `.
    pub fn new() -> Self {
        let mut line = Line {
            text: [0; 1024],
            len: 0,
        };
        let _ = line.write_str("splitproc: ");
        line
    }

    /// Writes the line to stderr.
    pub fn send(mut self) {
        let _ = self.write_str("\n");
        // SAFETY: `text[..len]` is initialised and lives until the call returns.
        unsafe {
            let at = self.text.as_ptr() as usize;
            syscall6(libc::SYS_write as usize, 2, at, self.len, 0, 0, 0);
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
        let room = self.text.len() - self.len;
        let n = s.len().min(room);
        self.text[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
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

/// Writes `splitproc: …` to stderr and ends the process with `code`.
#[macro_export]
macro_rules! die {
    ($code:expr, $($arg:tt)*) => {{
        $crate::say!($($arg)*);
        $crate::say::exit($code)
    }};
}

/// Ends the process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: exit_group has no preconditions.
        unsafe { syscall6(libc::SYS_exit_group as usize, code as usize, 0, 0, 0, 0, 0) };
    }
}
