//! Function bounds from an ELF file's `.eh_frame_hdr`: where decoding may start.

/// Most loaded segments of a file that are looked at.
const MAX_LOADS: usize = 16;

/// A loaded segment.
#[derive(Clone, Copy, Default)]
struct Load {
    offset: u64,
    vaddr: u64,
    /// Length in the file.
    len: u64,
    executable: bool,
}

/// What is known of an ELF file.
pub struct Elf<'a> {
    bytes: &'a [u8],
    /// Loaded segments.
    loads: [Load; MAX_LOADS],
    count: usize,
    /// `.eh_frame_hdr`: file offset, virtual address, entries of its table (0: no usable table).
    hdr: (u64, u64, usize),
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(bytes: &[u8], at: u64) -> Option<u64> {
    let from = bytes.get(usize::try_from(at).ok()?..)?.first_chunk::<N>()?;
    Some(from.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)))
}

/// The place `base + distance`, for a signed 4-byte distance.
fn signed(base: u64, distance: u64) -> u64 {
    base.wrapping_add(i64::from(distance as u32 as i32) as u64)
}

impl<'a> Elf<'a> {
    /// Reads the headers; `None` if this is not an x86-64 ELF file.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(b"\x7fELF\x02") || number::<2>(bytes, 18)? != 62 {
            return None;
        }
        let (phoff, size) = (number::<8>(bytes, 32)?, number::<2>(bytes, 54)?);
        let count = number::<2>(bytes, 56)?;
        let mut elf = Elf {
            bytes,
            loads: [Load::default(); MAX_LOADS],
            count: 0,
            hdr: (0, 0, 0),
        };
        for i in 0..count {
            let p = phoff.checked_add(i * size)?;
            let (kind, flags) = (number::<4>(bytes, p)?, number::<4>(bytes, p + 4)?);
            let (offset, vaddr) = (number::<8>(bytes, p + 8)?, number::<8>(bytes, p + 16)?);
            let filesz = number::<8>(bytes, p + 32)?;
            if kind == 1 && elf.count < MAX_LOADS {
                elf.loads[elf.count] = Load {
                    offset,
                    vaddr,
                    len: filesz,
                    executable: flags & 1 != 0,
                };
                elf.count += 1;
            } else if kind == 0x6474_e550 {
                // Version 1; pointer pc-relative, count udata4, table datarel sdata4: what every linker makes.
                if number::<4>(bytes, offset)? == u64::from(u32::from_le_bytes([1, 0x1b, 3, 0x3b]))
                {
                    elf.hdr = (offset, vaddr, number::<4>(bytes, offset + 8)? as usize);
                }
            }
        }
        Some(elf)
    }

    /// The parts of `[offset, offset+len)` of the file that are code: calls `f(offset, vaddr, len)`.
    pub fn code_parts(&self, offset: u64, len: u64, f: &mut dyn FnMut(u64, u64, u64)) {
        for load in self.loads[..self.count].iter().filter(|l| l.executable) {
            let start = load.offset;
            let (lo, hi) = (start.max(offset), (start + load.len).min(offset + len));
            if lo < hi {
                f(lo, load.vaddr + (lo - start), hi - lo);
            }
        }
    }

    /// What the file has for a link-time address, up to the end of its segment.
    pub fn at(&self, vaddr: u64) -> Option<&'a [u8]> {
        let holds = |l: &&Load| vaddr.checked_sub(l.vaddr).is_some_and(|at| at < l.len);
        let load = self.loads[..self.count].iter().find(holds)?;
        let end = load.offset.checked_add(load.len)? as usize;
        let from = (load.offset + (vaddr - load.vaddr)) as usize;
        self.bytes.get(from..end.min(self.bytes.len()))
    }

    /// Whether there is a table of functions.
    pub fn has_table(&self) -> bool {
        self.hdr.2 > 0
    }

    fn entry(&self, i: usize) -> Option<(u64, u64)> {
        let (offset, vaddr, _) = self.hdr;
        let at = offset + 12 + 8 * i as u64;
        let start = number::<4>(self.bytes, at)?;
        Some((
            signed(vaddr, start),
            signed(vaddr, number::<4>(self.bytes, at + 4)?),
        ))
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
        let at = self.hdr.0.wrapping_add(fde.wrapping_sub(self.hdr.1));
        let begin = number::<4>(self.bytes, at + 8).map(|b| signed(fde + 8, b));
        let end = match number::<4>(self.bytes, at + 12) {
            Some(len) if begin == Some(start) => start + len,
            _ => next,
        };
        Some((start, end, next))
    }
}
