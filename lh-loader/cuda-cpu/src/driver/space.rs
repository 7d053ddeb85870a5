//! Ranges of addresses: which are free, which have memory behind them.
//!
//! The lowest free range that is large enough is taken, so the same calls give the same addresses in another process.

use std::collections::BTreeMap;

/// Memory is asked of the kernel, and given back, in pieces of this size.
const PIECE: u64 = 2 << 20;

/// A range of addresses, and what of it is free.
pub struct Space {
    start: u64,
    end: u64,
    free: BTreeMap<u64, u64>,
}

/// Maps a range anew: as memory, or only reserved.
pub fn map(start: u64, len: u64, memory: bool) -> bool {
    let prot = match memory {
        true => libc::PROT_READ | libc::PROT_WRITE,
        false => libc::PROT_NONE,
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let at = start as *mut libc::c_void;
    // SAFETY: the range is the device's own: nothing but its free or new memory lies there.
    unsafe { libc::mmap(at, len as usize, prot, flags, -1, 0) == at }
}

impl Space {
    /// A free range.
    pub fn new(start: u64, len: u64) -> Space {
        Space {
            start,
            end: start + len,
            free: BTreeMap::from([(start, start + len)]),
        }
    }

    /// Is the address in it?
    pub fn has(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Takes `size` bytes, with memory behind them.
    pub fn take(&mut self, size: u64, align: u64) -> Option<u64> {
        let fits = |(start, end): (&u64, &u64)| {
            let at = start.next_multiple_of(align);
            (at.checked_add(size)? <= *end).then_some((*start, *end, at))
        };
        let (start, end, at) = self.free.iter().find_map(fits)?;
        // Pieces that were wholly free have no memory yet.
        let first = (at / PIECE * PIECE).max(start.next_multiple_of(PIECE));
        let last = (at + size).next_multiple_of(PIECE).min(end / PIECE * PIECE);
        if first < last && !map(first, last - first, true) {
            return None;
        }
        self.free.remove(&start);
        if start < at {
            self.free.insert(start, at);
        }
        if at + size < end {
            self.free.insert(at + size, end);
        }
        Some(at)
    }

    /// Gives them back.
    pub fn give(&mut self, at: u64, size: u64) {
        let (mut start, mut end) = (at, at + size);
        if let Some((before, until)) = self.free.range(..at).next_back() {
            if *until == start {
                start = *before;
            }
        }
        if let Some(after) = self.free.remove(&end) {
            end = after;
        }
        self.free.insert(start, end);
        // Pieces that have become wholly free go back to the kernel.
        let first = (at / PIECE * PIECE).max(start.next_multiple_of(PIECE));
        let last = (at + size).next_multiple_of(PIECE).min(end / PIECE * PIECE);
        if first < last {
            map(first, last - first, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far from what the device itself uses.
    const AT: u64 = 0x4fff_0000_0000;

    #[test]
    fn the_lowest_place_is_taken_and_memory_comes_and_goes() {
        let mut space = Space::new(AT, 64 << 20);
        let small: Vec<u64> = (0..4).map(|_| space.take(1024, 512).unwrap()).collect();
        assert_eq!(small, [AT, AT + 1024, AT + 2048, AT + 3072]);
        let large = space.take(5 << 20, 512).unwrap();
        assert_eq!(large, AT + 4096);
        for at in [AT, large, large + (5 << 20) - 1] {
            // SAFETY: it was just taken.
            unsafe { (at as *mut u8).write(7) };
        }
        space.give(small[1], 1024);
        assert_eq!(space.take(512, 512), Some(small[1]));
        assert_eq!(space.take(1024, 512), Some(large + (5 << 20)));
        space.give(large, 5 << 20);
        // SAFETY: small memory is still there, in a piece that it shared with the large one.
        assert_eq!(unsafe { (AT as *const u8).read() }, 7);
        assert_eq!(space.take(5 << 20, 512), Some(large));
        // SAFETY: it was just taken; its middle has gone to the kernel and come back empty.
        assert_eq!(unsafe { ((large + (3 << 20)) as *const u8).read() }, 0);
        assert_eq!(space.take(100 << 20, 512), None);
        assert!(space.has(AT) && !space.has(AT + (64 << 20)));
    }
}
