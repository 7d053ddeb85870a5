//! `/proc/thread-self/maps`, read and classified by the layout's table.

use lh_loader::layout::{owner, Owner};
use std::io;

/// One line of `/proc/thread-self/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// `PROT_READ`, `PROT_WRITE`, `PROT_EXEC`.
    pub prot: i32,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// The file's device number as the kernel prints it (major, minor).
    pub dev: (u32, u32),
    /// The file's inode; 0 for anonymous memory.
    pub inode: u64,
    /// The rest of the line: a path, `[stack]`, or nothing.
    pub name: String,
}

impl Mapping {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it belongs to the image.
    pub fn is_saved(&self) -> bool {
        match owner(self.start) {
            Owner::Shared | Owner::Upper => true,
            Owner::Loader | Owner::Lower(_) | Owner::Device => false,
            Owner::Elsewhere => !is_kernels(&self.name),
        }
    }

    /// Its parts, in order: those in these ranges, which are in order too, and those that are not (true).
    pub fn parts(&self, ranges: &[[usize; 2]]) -> Vec<(Mapping, bool)> {
        let mut parts = Vec::new();
        let mut at = self.start;
        let mut add = |until: usize, outside| {
            if until > at {
                let part = Mapping {
                    start: at,
                    end: until,
                    offset: self.offset + (at - self.start) as u64,
                    ..self.clone()
                };
                parts.push((part, outside));
                at = until;
            }
        };
        for &[start, end] in ranges.iter().filter(|r| r[1] > self.start) {
            add(start.min(self.end), true);
            add(end.min(self.end), false);
        }
        add(self.end, true);
        parts
    }

    /// Whether the file behind it has no name any more.
    pub fn is_deleted(&self) -> bool {
        self.name.ends_with(" (deleted)")
    }
}

/// Mappings that the kernel makes in every process.
fn is_kernels(name: &str) -> bool {
    matches!(name, "[stack]" | "[vdso]" | "[vsyscall]" | "[uprobes]") || name.starts_with("[vvar")
}

/// Parses one line.
fn parse_line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_start_matches(' ');
        let end = rest.find(' ').unwrap_or(rest.len());
        let (first, tail) = rest.split_at(end);
        rest = tail;
        first
    };
    let (start, end) = field().split_once('-')?;
    let perms = field().as_bytes();
    let offset = field();
    let (major, minor) = field().split_once(':')?;
    let inode = field();
    let has = |i: usize, c: u8, bit: i32| if perms.get(i) == Some(&c) { bit } else { 0 };
    Some(Mapping {
        start: usize::from_str_radix(start, 16).ok()?,
        end: usize::from_str_radix(end, 16).ok()?,
        prot: has(0, b'r', libc::PROT_READ)
            | has(1, b'w', libc::PROT_WRITE)
            | has(2, b'x', libc::PROT_EXEC),
        shared: perms.get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        dev: (
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        ),
        inode: inode.parse().ok()?,
        name: rest.trim_start_matches(' ').to_owned(),
    })
}

/// Parses the whole file.
pub fn parse(text: &str) -> io::Result<Vec<Mapping>> {
    text.lines()
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("/proc/thread-self/maps: can't read the line `{line}`"),
                )
            })
        })
        .collect()
}

/// This process's mappings.
pub fn own() -> io::Result<Vec<Mapping>> {
    parse(&std::fs::read_to_string("/proc/thread-self/maps")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
00400000-00401000 r-xp 00000000 fd:00 1234                               /opt/my app/run
2f0000000000-2f0000100000 rw-p 00000000 00:00 0 
200000000000-200000001000 rw-p 00000000 00:00 0                          [anon:splitproc:lh:host]
300000000000-300000002000 rw-s 00001000 00:01 77                         /memfd:buf (deleted)
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
7ffc00030000-7ffc00034000 r--p 00000000 00:00 0                          [vvar_vclock]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn lines_are_read_and_classified() {
        let maps = parse(TEXT).unwrap();
        assert_eq!(maps.len(), 7);
        assert_eq!(maps[0].name, "/opt/my app/run");
        assert_eq!(maps[0].prot, libc::PROT_READ | libc::PROT_EXEC);
        assert_eq!(maps[0].dev, (0xfd, 0));
        assert_eq!(maps[1].name, "");
        assert!(maps[3].shared && maps[3].is_deleted());
        assert_eq!((maps[3].offset, maps[3].inode), (4096, 77));
        let saved: Vec<bool> = maps.iter().map(Mapping::is_saved).collect();
        assert_eq!(saved, [true, true, false, true, false, false, false]);
    }

    #[test]
    fn own_maps_are_readable() {
        assert!(own().unwrap().iter().any(|m| m.name == "[stack]"));
        assert!(parse("nonsense").is_err());
    }

    #[test]
    fn parts_are_in_ranges_or_not() {
        let mut mapping = parse(TEXT).unwrap().remove(0);
        (mapping.start, mapping.end, mapping.offset) = (0x10000, 0x20000, 0x3000);
        let parts = |ranges: &[[usize; 2]]| -> Vec<(usize, usize, u64, bool)> {
            let parts = mapping.parts(ranges).into_iter();
            parts
                .map(|(m, here)| (m.start, m.end, m.offset, here))
                .collect()
        };
        assert_eq!(parts(&[]), [(0x10000, 0x20000, 0x3000, true)]);
        assert_eq!(
            parts(&[[0x1000, 0x2000], [0x8000, 0x11000], [0x12000, 0x30000]]),
            [
                (0x10000, 0x11000, 0x3000, false),
                (0x11000, 0x12000, 0x4000, true),
                (0x12000, 0x20000, 0x5000, false)
            ]
        );
        assert_eq!(
            parts(&[[0x30000, 0x40000]]),
            [(0x10000, 0x20000, 0x3000, true)]
        );
    }
}
