//! The stack that the kernel would hand a new program: argc, argv, envp, auxv and their strings.
//!
//! ```text
//! low                                                                        high
//! │ argc │ argv… 0 │ envp… 0 │ auxv… AT_NULL │  …  │ AT_RANDOM bytes │  gap  │ strings │
//! ^ rsp (16-byte aligned)
//! ```

use core::ffi::CStr;

/// Most bytes of the gap.
const MAX_GAP: usize = 8192;

/// Most pointers (argv, envp and auxv words together) that a stack can be given.
const MAX_WORDS: usize = 1 << 16;

/// Writes a start stack from the top of a mapping downward.
///
/// Strings go to the top at once; the vectors' words are collected above the bottom of the mapping
/// and moved below the strings by [`StackBuilder::finish`].
pub struct StackBuilder {
    bottom: usize,
    strings: usize,
    words: usize,
}

impl StackBuilder {
    /// A builder over the writable mapping `[bottom, top)`.
    ///
    /// # Safety
    /// The mapping must be writable, unused, and larger than everything that is put there.
    pub unsafe fn new(bottom: usize, top: usize) -> Self {
        StackBuilder {
            bottom,
            strings: top,
            words: 0,
        }
    }

    /// Appends a word to the vectors.
    pub fn word(&mut self, w: usize) {
        let at = (self.bottom + 8 * self.words) as *mut usize;
        if self.words == MAX_WORDS || at as usize + 8 >= self.strings {
            crate::die!(126, "argument list too long");
        }
        // SAFETY: `at` is inside the mapping, below the strings (checked above).
        unsafe { at.write(w) };
        self.words += 1;
    }

    /// Makes room in the string area; gives its address.
    fn room(&mut self, len: usize) -> usize {
        if self.strings.saturating_sub(len) <= self.bottom + 8 * self.words {
            crate::die!(126, "argument list too long");
        }
        self.strings -= len;
        self.strings
    }

    /// Copies C strings to the string area, one behind the other and in their order, as the kernel lays arguments and
    /// environment out; gives where they begin and end.
    pub fn block<'a, I: Iterator<Item = &'a CStr>>(
        &mut self,
        strings: impl Fn() -> I,
    ) -> (usize, usize) {
        let len = strings().map(|s| s.to_bytes_with_nul().len()).sum();
        let begin = self.room(len);
        for (at, s) in placed(begin, strings()) {
            let s = s.to_bytes_with_nul();
            // SAFETY: there is room for all of them, above the vectors.
            unsafe { core::ptr::copy_nonoverlapping(s.as_ptr(), at as *mut u8, s.len()) };
        }
        (begin, begin + len)
    }

    /// Copies bytes to the string area; gives their address.
    pub fn bytes(&mut self, parts: &[&[u8]]) -> usize {
        let mut at = self.room(parts.iter().map(|p| p.len()).sum());
        for p in parts {
            // SAFETY: `len` bytes from `strings` on are in the mapping and above the vectors.
            unsafe { core::ptr::copy_nonoverlapping(p.as_ptr(), at as *mut u8, p.len()) };
            at += p.len();
        }
        self.strings
    }

    /// Leaves a gap of a random size, as the kernel does (`arch_align_stack`). A loop's speed can depend on which lines of the
    /// cache the stack shares with the program's other memory: that is by chance, and not always the same.
    pub fn gap(&mut self, random: usize) {
        self.room(random % MAX_GAP);
    }

    /// Copies a C string; its address goes to the vectors.
    pub fn string(&mut self, s: &CStr) {
        let at = self.bytes(&[s.to_bytes_with_nul()]);
        self.word(at);
    }

    /// Moves the vectors below the strings; gives the initial stack pointer.
    pub fn finish(self) -> usize {
        let to = (self.strings - 8 * self.words) & !15;
        if to < self.bottom + 8 * self.words {
            crate::die!(126, "argument list too long");
        }
        // SAFETY: source and destination are in the mapping and do not overlap (checked above).
        unsafe {
            core::ptr::copy_nonoverlapping(
                self.bottom as *const usize,
                to as *mut usize,
                self.words,
            )
        };
        to
    }
}

/// The strings of a [`StackBuilder::block`] that begins at `begin`, each with its address.
pub fn placed<'a>(
    begin: usize,
    strings: impl Iterator<Item = &'a CStr>,
) -> impl Iterator<Item = (usize, &'a CStr)> {
    strings.scan(begin, |next, s| {
        let at = *next;
        *next += s.to_bytes_with_nul().len();
        Some((at, s))
    })
}
