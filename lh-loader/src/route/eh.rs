//! Function bounds from an ELF file's `.eh_frame_hdr`: where decoding may start.

/// Reads bytes of the file at an offset; `false` if they are not all there.
pub type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

/// Most executable segments of a file that are looked at.
const MAX_TEXT: usize = 8;

/// What is known of an ELF file.
pub struct Elf<'a> {
    read: Read<'a>,
    /// Executable segments: file offset, virtual address, length in the file.
    text: [(u64, u64, u64); MAX_TEXT],
    texts: usize,
    /// `.eh_frame_hdr`: file offset, virtual address, entries of its table (0: no usable table).
    hdr: (u64, u64, usize),
}

fn word(b: &[u8], at: usize, n: usize) -> u64 {
    (0..n).fold(0, |v, i| v | u64::from(b[at + i]) << (8 * i))
}

impl<'a> Elf<'a> {
    /// Reads the headers; `None` if this is not an x86-64 ELF file.
    pub fn open(read: Read<'a>) -> Option<Self> {
        let mut head = [0u8; 64];
        if !read(0, &mut head) || head[..5] != *b"\x7fELF\x02" || word(&head, 18, 2) != 62 {
            return None;
        }
        let (phoff, size, count) = (word(&head, 32, 8), word(&head, 54, 2), word(&head, 56, 2));
        let mut elf = Elf {
            read,
            text: [(0, 0, 0); MAX_TEXT],
            texts: 0,
            hdr: (0, 0, 0),
        };
        for i in 0..count {
            let mut p = [0u8; 56];
            if size < 56 || !read(phoff + i * size, &mut p) {
                return None;
            }
            let (kind, flags) = (word(&p, 0, 4), word(&p, 4, 4));
            let (offset, vaddr, filesz) = (word(&p, 8, 8), word(&p, 16, 8), word(&p, 32, 8));
            if kind == 1 && flags & 1 != 0 && elf.texts < MAX_TEXT {
                elf.text[elf.texts] = (offset, vaddr, filesz);
                elf.texts += 1;
            } else if kind == 0x6474_e550 {
                let mut h = [0u8; 12];
                // Version 1; pointer pc-relative, count udata4, table datarel sdata4: what every linker makes.
                if read(offset, &mut h) && h[..4] == [1, 0x1b, 3, 0x3b] {
                    elf.hdr = (offset, vaddr, word(&h, 8, 4) as usize);
                }
            }
        }
        Some(elf)
    }

    /// The parts of `[offset, offset+len)` of the file that are code: calls `f(offset, vaddr, len)`.
    pub fn code_parts(&self, offset: u64, len: u64, f: &mut dyn FnMut(u64, u64, u64)) {
        for &(start, vaddr, size) in &self.text[..self.texts] {
            let (lo, hi) = (start.max(offset), (start + size).min(offset + len));
            if lo < hi {
                f(lo, vaddr + (lo - start), hi - lo);
            }
        }
    }

    /// Whether there is a table of functions.
    pub fn has_table(&self) -> bool {
        self.hdr.2 > 0
    }

    fn entry(&self, i: usize) -> Option<(u64, u64)> {
        let mut e = [0u8; 8];
        if !(self.read)(self.hdr.0 + 12 + 8 * i as u64, &mut e) {
            return None;
        }
        let rel = |at| {
            self.hdr
                .1
                .wrapping_add(i64::from(word(&e, at, 4) as u32 as i32) as u64)
        };
        Some((rel(0), rel(4)))
    }

    /// The function at or nearest below `vaddr`, and where the next one begins (`u64::MAX`: it is the last).
    pub fn function(&self, vaddr: u64) -> Option<(u64, u64, u64)> {
        let (mut lo, mut hi) = (0, self.hdr.2);
        while lo < hi {
            let mid = lo + (hi - lo) / 2;
            if self.entry(mid)?.0 <= vaddr {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        let (start, fde) = self.entry(lo.checked_sub(1)?)?;
        let next = if lo < self.hdr.2 {
            self.entry(lo)?.0
        } else {
            u64::MAX
        };
        // The FDE lies in .eh_frame, which follows the header in the same segment.
        let mut f = [0u8; 16];
        let at = self.hdr.0.wrapping_add(fde.wrapping_sub(self.hdr.1));
        let mut end = next;
        if (self.read)(at, &mut f) {
            let begin = (fde + 8).wrapping_add(i64::from(word(&f, 8, 4) as u32 as i32) as u64);
            if begin == start {
                end = start + word(&f, 12, 4);
            }
        }
        Some((start, end, next))
    }
}
