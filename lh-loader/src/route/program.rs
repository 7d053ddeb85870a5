//! What the kernel would say to a program, before the old one is gone, and whether splitproc may take it.

use crate::arch::{is_err, syscall6};
use crate::elf::{self, File};
use crate::say::Text;
use core::fmt::Write;
use core::mem::MaybeUninit;

/// The kernel looks at so much of a file's beginning.
const LINE: usize = 256;
/// Most files that are looked at: a script's interpreter may be a script.
const DEPTH: usize = 6;
/// `AT_EXECVE_CHECK`, from Linux 6.14 on: execute nothing, say whether it could be.
const EXECVE_CHECK: usize = 0x1_0000;

/// A file, as `execveat` is told.
#[derive(Clone, Copy)]
pub struct Name {
    /// Where a relative path begins.
    pub dir: usize,
    /// Address of the path.
    pub path: usize,
    /// `AT_EMPTY_PATH`, `AT_SYMLINK_NOFOLLOW`.
    pub flags: usize,
}

/// Who runs a program.
pub enum Verdict {
    /// The kernel: it refuses it, or knows a format that we do not know.
    Kernels,
    /// The kernel, for this reason.
    Alone(&'static str),
    /// The `splitproc` command decides. The path's address.
    Ours(usize),
}

impl Name {
    /// A file's name.
    pub fn new(dir: usize, path: usize, flags: usize) -> Self {
        Name { dir, path, flags }
    }

    /// The same with another path.
    pub fn at(self, path: usize) -> Self {
        Name { path, ..self }
    }

    /// Whether the descriptor itself is meant.
    ///
    /// # Safety
    /// The path is a string.
    unsafe fn is_descriptor(&self) -> bool {
        // SAFETY: the caller's.
        self.flags & libc::AT_EMPTY_PATH as usize != 0 && unsafe { *(self.path as *const u8) } == 0
    }

    /// `newfstatat`: device, inode, mode.
    fn stat(&self) -> Option<(u64, u64, u32)> {
        let mut stat = MaybeUninit::<libc::stat>::zeroed();
        let (nr, to) = (libc::SYS_newfstatat as usize, stat.as_mut_ptr() as usize);
        // SAFETY: a path that can't be read is refused by the kernel; `stat` is large enough, and was zero before.
        unsafe {
            let result = syscall6(nr, self.dir, self.path, to, self.flags, 0, 0);
            let s = stat.assume_init();
            (!is_err(result)).then_some((s.st_dev, s.st_ino, s.st_mode))
        }
    }

    /// Whether it is a regular file that may be executed.
    ///
    /// # Safety
    /// The path is a string.
    unsafe fn runs(&self) -> bool {
        let (x, own) = (libc::X_OK as usize, self.flags | libc::AT_EACCESS as usize);
        let regular = |(.., mode): (u64, u64, u32)| mode & libc::S_IFMT == libc::S_IFREG;
        if !self.stat().is_some_and(regular) {
            return false;
        }
        // SAFETY: as in `stat`.
        let mut result = unsafe {
            let nr = libc::SYS_faccessat2 as usize;
            syscall6(nr, self.dir, self.path, x, own, 0, 0)
        };
        if matches!(-result as i32, libc::ENOSYS | libc::EPERM) {
            // An older kernel has no flags.
            // SAFETY: as in `stat`; the caller's.
            unsafe {
                let nr = libc::SYS_faccessat as usize;
                result = match self.is_descriptor() {
                    true => 0,
                    false => syscall6(nr, self.dir, self.path, x, 0, 0, 0),
                };
            }
        }
        !is_err(result)
    }

    /// Opens it for reading.
    ///
    /// # Safety
    /// The path is a string.
    unsafe fn open(&self) -> Option<File> {
        // SAFETY: the caller's.
        unsafe {
            if self.is_descriptor() {
                let link = link(self.dir);
                return File::open_at(libc::AT_FDCWD as usize, link.bytes().as_ptr() as usize).ok();
            }
            File::open_at(self.dir, self.path).ok()
        }
    }

    /// A path that names the opened file in the next program too, where descriptors may be closed, and that program
    /// is another process's, as far as `/proc` goes. `None`: the file has no name.
    ///
    /// # Safety
    /// The path is a string.
    unsafe fn lasting(&self, file: &File, room: &mut [u8]) -> Option<usize> {
        // SAFETY: the caller's.
        let passing = unsafe {
            let begins = |with: &[u8]| super::paths::begins(self.path, with);
            let relative = self.dir as i32 != libc::AT_FDCWD && !begins(b"/");
            relative || self.is_descriptor() || begins(b"/proc/") || begins(b"/dev/")
        };
        if !passing {
            return Some(self.path);
        }
        let link = link(file.number() as usize);
        let (nr, to) = (libc::SYS_readlink as usize, room.as_mut_ptr() as usize);
        // SAFETY: the kernel writes at most so many bytes; the last one stays.
        let len = unsafe {
            let path = link.bytes().as_ptr() as usize;
            syscall6(nr, path, to, room.len() - 1, 0, 0, 0)
        };
        let len = usize::try_from(len).ok().filter(|&n| n < room.len() - 1)?;
        room[len] = 0;
        let named = Name::new(libc::AT_FDCWD as usize, to, 0).stat();
        let opened = Name::new(libc::AT_FDCWD as usize, link.bytes().as_ptr() as usize, 0).stat();
        (named.is_some() && named == opened).then_some(to)
    }
}

/// The link to a descriptor's file.
fn link(fd: usize) -> Text<40> {
    let mut text = Text::new();
    // It fits.
    let _ = write!(text, "/proc/self/fd/{}\0", fd as i32);
    text
}

/// Whether the kernel has nothing against the file and the vectors, where it can be asked that.
pub fn accepted(name: &Name, argv: usize, env: usize) -> bool {
    let (nr, flags) = (libc::SYS_execveat as usize, name.flags | EXECVE_CHECK);
    // SAFETY: nothing is executed: a kernel that does not know the flag refuses the call.
    let result = unsafe { syscall6(nr, name.dir, name.path, argv, env, flags, 0) };
    !is_err(result) || matches!(-result as i32, libc::EINVAL | libc::ENOSYS | libc::EPERM)
}

/// Looks at a program as the kernel will. `room` may be used for a path.
///
/// # Safety
/// The path is a string.
pub unsafe fn look(name: &Name, room: &mut [u8]) -> Verdict {
    let (mut at, mut path) = (*name, None);
    let mut interpreter = [0u8; LINE + 1];
    for _ in 0..DEPTH {
        // SAFETY: the caller's; an interpreter's path ends with a NUL.
        unsafe {
            if !at.runs() {
                return Verdict::Kernels;
            }
            let Some(file) = at.open() else {
                return Verdict::Alone("it can't be read, and splitproc loads programs itself");
            };
            if path.is_none() {
                path = at.lasting(&file, room);
            }
            let mut head = [0u8; LINE];
            file.start(&mut head);
            if head.starts_with(b"\x7fELF") {
                return match (elf(&file, &head), path) {
                    (Verdict::Ours(_), Some(path)) => Verdict::Ours(path),
                    (Verdict::Ours(_), None) => Verdict::Alone("the file has no name"),
                    (other, _) => other,
                };
            }
            let Some(next) = script(&head) else {
                return Verdict::Kernels;
            };
            interpreter[..next.len()].copy_from_slice(next);
            interpreter[next.len()] = 0;
            at = Name::new(libc::AT_FDCWD as usize, interpreter.as_ptr() as usize, 0);
        }
    }
    Verdict::Kernels
}

/// The verdict on an ELF file; of ours, without the path.
fn elf(file: &File, head: &[u8; LINE]) -> Verdict {
    const CLASS: usize = 4;
    const PHENTSIZE: usize = 54;
    const PHNUM: usize = 56;
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let (kind, machine) = (half(16), half(18));
    if kind != libc::ET_EXEC && kind != libc::ET_DYN {
        return Verdict::Kernels;
    }
    match (head[CLASS], machine) {
        (2, libc::EM_X86_64) => {}
        (1, libc::EM_386 | libc::EM_X86_64) => {
            return Verdict::Alone("it is a 32-bit program, and splitproc runs 64-bit ones")
        }
        _ => return Verdict::Kernels,
    }
    if half(PHENTSIZE) == 56 && half(PHNUM) as usize > elf::MAX_PHDRS {
        return Verdict::Alone("it has more program headers than splitproc loads");
    }
    let Ok(interpreter) = elf::interpreter(file) else {
        return Verdict::Kernels;
    };
    let at = interpreter.as_ptr() as usize;
    // A static one is refused by the command.
    // SAFETY: the path ends with a NUL.
    if interpreter[0] == 0 || unsafe { Name::new(libc::AT_FDCWD as usize, at, 0).runs() } {
        Verdict::Ours(0)
    } else {
        Verdict::Kernels
    }
}

/// The interpreter in a script's first line, as the kernel reads it; `None`: it is no script.
fn script(head: &[u8; LINE]) -> Option<&[u8]> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let rest = head.strip_prefix(b"#!")?;
    // The last byte is not looked at.
    let rest = &rest[..rest.len() - 1];
    let whole = rest.iter().position(|&b| b == b'\n');
    let line = &rest[..whole.unwrap_or(rest.len())];
    let name = &line[line.iter().position(|b| !blank(b))?..];
    let end = name.iter().position(|b| blank(b) || *b == 0);
    // Without a line's end the name may have been cut off.
    let end = end.or(whole.map(|_| name.len()))?;
    (end > 0).then_some(&name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_first_line_is_read_as_the_kernel_reads_it() {
        let read = |text: &[u8]| {
            let mut head = [0; LINE];
            head[..text.len().min(LINE)].copy_from_slice(&text[..text.len().min(LINE)]);
            script(&head).map(<[u8]>::to_vec)
        };
        assert_eq!(read(b"#!/bin/sh\nx"), Some(b"/bin/sh".to_vec()));
        assert_eq!(read(b"#! \t/bin/sh -e\n"), Some(b"/bin/sh".to_vec()));
        assert_eq!(read(b"#!/bin/sh"), Some(b"/bin/sh".to_vec()));
        assert_eq!(read(b"#!  \n/bin/sh"), None);
        assert_eq!(read(b"#!\n"), None);
        assert_eq!(read(b"echo"), None);
        assert_eq!(read(&[b"#!/".as_slice(), &[b'x'; 300]].concat()), None);
    }
}
