//! What is mapped at an address, by `/proc/self/maps`.

use crate::arch::{is_err, syscall6};
use crate::elf::File;
use crate::layout::{page_down, PAGE};
use crate::say::Text;
use core::ffi::CStr;

/// A mapping.
pub struct Mapping {
    /// Its first byte.
    pub start: usize,
    /// Past its last.
    pub end: usize,
    /// Where it begins in its file.
    pub offset: u64,
    /// Code in it may run.
    pub executable: bool,
    private: bool,
    /// The file's path with a NUL, or what the kernel calls it; empty for none.
    name: Text<512>,
}

impl Mapping {
    /// Writes to it do not reach the file that it is of.
    pub fn is_private_file(&self) -> bool {
        self.private && self.name.bytes().starts_with(b"/")
    }

    /// Its file.
    pub fn open(&self) -> Option<File> {
        let path = CStr::from_bytes_with_nul(self.name.bytes()).ok()?;
        File::open(path).ok()
    }
}

/// The mapping that holds `addr`.
pub fn find(addr: usize) -> Option<Mapping> {
    let mut found = None;
    lines(|line| {
        found = parse(line).filter(|m| m.start <= addr && addr < m.end);
        found.is_none()
    });
    found
}

/// The highest place within `[begin, end)` where nothing is mapped for `len` bytes, at a multiple of `align`.
pub fn gap([begin, end]: [usize; 2], len: usize, align: usize) -> Option<usize> {
    let fits = |from: usize, to: usize| {
        let at = from.checked_next_multiple_of(align)?;
        (at.checked_add(len)? <= to).then_some(at)
    };
    let (mut found, mut free) = (None, begin);
    lines(|line| {
        let Some([start, past]) = range(line) else {
            return false;
        };
        found = fits(free, start.min(end)).or(found);
        free = free.max(past);
        start < end
    });
    fits(free, end).or(found)
}

/// Calls `f` for each line of the list, until it gives false.
fn lines(mut f: impl FnMut(&[u8]) -> bool) {
    let Ok(file) = File::open(c"/proc/thread-self/maps") else {
        return;
    };
    let mut buffer = [0u8; PAGE];
    let mut len = 0;
    loop {
        let room = &mut buffer[len..];
        let (nr, to) = (libc::SYS_read as usize, room.as_mut_ptr() as usize);
        // SAFETY: the kernel writes into the buffer's rest.
        let got = unsafe { syscall6(nr, file.number() as usize, to, room.len(), 0, 0, 0) };
        if is_err(got) || got == 0 {
            return;
        }
        len += got as usize;
        let mut done = 0;
        while let Some(end) = buffer[done..len].iter().position(|&b| b == b'\n') {
            if !f(&buffer[done..done + end]) {
                return;
            }
            done += end + 1;
        }
        buffer.copy_within(done..len, 0);
        len -= done;
        if len == buffer.len() {
            return;
        }
    }
}

fn hex(digits: &[u8]) -> Option<usize> {
    usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

/// A line's first word: `start-end`.
fn range(line: &[u8]) -> Option<[usize; 2]> {
    let mut ends = line.split(|&b| b == b' ').next()?.split(|&b| b == b'-');
    Some([hex(ends.next()?)?, hex(ends.next()?)?])
}

/// Parses a line: `start-end rwxp offset dev inode   name`.
fn parse(line: &[u8]) -> Option<Mapping> {
    let [start, end] = range(line)?;
    let mut words = line.split(|&b| b == b' ').filter(|w| !w.is_empty());
    let rights = words.nth(1)?;
    let offset = hex(words.next()?)? as u64;
    let mut name = Text::new();
    if let Some(at) = line.iter().position(|&b| b == b'/') {
        name.raw(&line[at..]).and_then(|()| name.raw(b"\0")).ok()?;
    }
    (start == page_down(start)).then_some(Mapping {
        start,
        end,
        offset,
        executable: rights.get(2) == Some(&b'x'),
        private: rights.get(3) == Some(&b'p'),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_code_is_found() {
        let m = find(find as *const () as usize).expect("mapped");
        assert!(m.executable && m.is_private_file() && m.open().is_some());
        let word = 0usize;
        let m = find(&raw const word as usize).expect("mapped");
        assert!(!m.executable && !m.is_private_file());
        assert!(find(0).is_none());
    }

    #[test]
    fn gaps_are_where_nothing_is_mapped() {
        let all = [0x1000, 0x7fff_ffff_f000];
        let at = gap(all, 1 << 30, 2 << 20).expect("a gap");
        assert!(
            at.is_multiple_of(2 << 20) && find(at).is_none() && find(at + (1 << 30) - 1).is_none()
        );
        let here = find(find as *const () as usize).expect("mapped");
        assert_eq!(gap([here.start, here.end], PAGE, PAGE), None);
        assert_eq!(gap(all, 0x7fff_ffff_0000, PAGE), None);
    }

    #[test]
    fn a_line_is_read() {
        let line = b"7f00-7f80 r-xp 00001000 fe:01 77   /a b/c (deleted)";
        assert!(parse(line).is_none(), "not whole pages");
        let m = parse(b"7f000-80000 r--s 00002000 fe:01 77   /a b/c").expect("a mapping");
        assert_eq!((m.start, m.end, m.offset), (0x7f000, 0x80000, 0x2000));
        assert_eq!(m.name.bytes(), b"/a b/c\0");
        assert!(!m.executable && !m.is_private_file());
    }
}
