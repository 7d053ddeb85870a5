//! Copies and fills of memory.

use super::Pointer;

/// Where a copy begins, and how far apart its rows and slices are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side {
    /// The first byte.
    pub start: Pointer,
    /// From row to row.
    pub pitch: u64,
    /// From slice to slice.
    pub slice: u64,
}

/// A copy: of bytes, rows of them, slices of rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copy {
    /// From here.
    pub from: Side,
    /// To here.
    pub to: Side,
    /// Bytes of a row, rows of a slice, slices.
    pub size: [u64; 3],
}

/// Rows filled with a value.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Where, and how far apart the rows are.
    pub to: Side,
    /// The value.
    pub value: u32,
    /// Its bytes: 1, 2 or 4.
    pub bytes: u32,
    /// Values of a row, rows.
    pub size: [u64; 2],
}

impl Side {
    /// Bytes in a line.
    pub fn line(start: Pointer) -> Side {
        Side {
            start,
            ..Side::default()
        }
    }

    /// The addresses that rows and slices of this size take.
    pub fn extent(&self, size: [u64; 3]) -> Option<u64> {
        if size.contains(&0) {
            return Some(0);
        }
        let rows = self.pitch.checked_mul(size[1] - 1)?;
        self.slice
            .checked_mul(size[2] - 1)?
            .checked_add(rows)?
            .checked_add(size[0])
    }
}

impl Copy {
    /// Bytes in a line.
    pub fn line(to: Pointer, from: Pointer, size: u64) -> Copy {
        Copy {
            from: Side::line(from),
            to: Side::line(to),
            size: [size, 1, 1],
        }
    }

    /// Does it.
    pub fn run(&self) {
        let [width, height, depth] = self.size;
        for z in 0..depth {
            for y in 0..height {
                let at = |side: &Side| side.start + z * side.slice + y * side.pitch;
                // SAFETY: the device's memory was found to be there when the copy was given to the stream; that the host's is,
                // the program answers for.
                unsafe {
                    std::ptr::copy(
                        at(&self.from) as *const u8,
                        at(&self.to) as *mut u8,
                        width as usize,
                    )
                };
            }
        }
    }
}

impl Fill {
    /// Does it.
    pub fn run(&self) {
        for y in 0..self.size[1] {
            let row = self.to.start + y * self.to.pitch;
            let n = self.size[0] as usize;
            // SAFETY: the memory was found to be the device's, and the address aligned, when this was given to the stream.
            unsafe {
                match self.bytes {
                    1 => std::ptr::write_bytes(row as *mut u8, self.value as u8, n),
                    2 => std::slice::from_raw_parts_mut(row as *mut u16, n).fill(self.value as u16),
                    _ => std::slice::from_raw_parts_mut(row as *mut u32, n).fill(self.value),
                }
            }
        }
    }
}
