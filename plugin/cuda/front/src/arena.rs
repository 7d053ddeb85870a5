//! Which part of the device address range is whose. Small allocations share regions of 2 MiB.

use std::collections::BTreeMap;

/// What the driver maps at once.
pub const GRANULE: u64 = 2 << 20;
/// Where our part of the range of devices begins, and ends.
pub const RANGE: [u64; 2] = [0x4000_0000_0000, 0x4800_0000_0000];
/// Alignment of allocations.
pub const ALIGN: u64 = 512;
/// From this size on an allocation has a region of its own.
const LARGE: u64 = 1 << 20;

/// In the place of a device: addresses that the program has reserved.
pub const RESERVED: i32 = -1;

/// Memory that is mapped at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its length: whole granules.
    pub len: u64,
    /// The device that it is on, or [`RESERVED`].
    pub device: i32,
    /// It is shared by small allocations.
    pub shared: bool,
}

/// An allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// As much as was asked for.
    pub len: u64,
    /// The context that it was made in.
    pub context: u64,
    /// The region that it is in.
    pub region: u64,
}

/// All device memory, by address.
#[derive(Default)]
pub struct Arena {
    /// Mapped regions.
    pub regions: BTreeMap<u64, Region>,
    /// Live allocations.
    pub live: BTreeMap<u64, Allocation>,
}

/// What an allocation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A place in a region that is there.
    In(u64, u64),
    /// A new region at this address.
    New(u64, Region),
}

fn up(n: u64, to: u64) -> u64 {
    n.div_ceil(to) * to
}

impl Arena {
    /// With nothing in it.
    pub const fn new() -> Arena {
        Arena {
            regions: BTreeMap::new(),
            live: BTreeMap::new(),
        }
    }

    /// Where memory of this size is to be; `None`: there is no room.
    pub fn plan(&self, len: u64, device: i32) -> Option<Plan> {
        // Programs give sizes that were negative: rounded up, they would be small.
        if len > RANGE[1] - RANGE[0] {
            return None;
        }
        let shared = len < LARGE;
        if shared {
            let mut fitting = self
                .regions
                .iter()
                .filter(|(_, r)| r.shared && r.device == device);
            if let Some(plan) = fitting.find_map(|(base, r)| self.gap(*base, r, len)) {
                return Some(plan);
            }
        }
        let len = if shared { GRANULE } else { up(len, GRANULE) };
        let region = Region {
            len,
            device,
            shared,
        };
        let at = self.room(len, GRANULE)?;
        Some(Plan::New(at, region))
    }

    /// The first address from which on so much is free.
    fn room(&self, len: u64, align: u64) -> Option<u64> {
        let mut at = up(RANGE[0], align);
        for (base, r) in &self.regions {
            if base.saturating_sub(at) >= len {
                break;
            }
            at = up(base + r.len, align);
        }
        (at.checked_add(len)? <= RANGE[1]).then_some(at)
    }

    /// Takes addresses for the program's own use: those that it wants, or others.
    pub fn reserve(&mut self, len: u64, align: u64, wanted: u64) -> Option<u64> {
        let inside = wanted >= RANGE[0] && wanted.checked_add(len)? <= RANGE[1];
        let before = self.regions.range(..wanted.saturating_add(len)).next_back();
        let free = before.is_none_or(|(base, r)| base + r.len <= wanted);
        let at = match inside && free && wanted.is_multiple_of(align) {
            true => wanted,
            false => self.room(len, align)?,
        };
        let region = Region {
            len,
            device: RESERVED,
            shared: false,
        };
        self.regions.insert(at, region);
        Some(at)
    }

    /// Gives such addresses back.
    pub fn give_back(&mut self, at: u64) {
        self.regions.remove(&at);
    }

    fn gap(&self, base: u64, region: &Region, len: u64) -> Option<Plan> {
        let mut at = base;
        for (next, a) in self.live.range(base..base + region.len) {
            if next - at >= len {
                break;
            }
            at = up(next + a.len, ALIGN);
        }
        (at + len <= base + region.len).then_some(Plan::In(at, base))
    }

    /// Notes an allocation.
    pub fn add(&mut self, plan: Plan, len: u64, context: u64) -> u64 {
        let (at, region) = match plan {
            Plan::In(at, region) => (at, region),
            Plan::New(at, region) => {
                self.regions.insert(at, region);
                (at, at)
            }
        };
        let allocation = Allocation {
            len,
            context,
            region,
        };
        self.live.insert(at, allocation);
        at
    }

    /// Forgets an allocation; gives its region if nothing else is in it.
    pub fn remove(&mut self, at: u64) -> Option<(u64, Region)> {
        let allocation = self.live.remove(&at)?;
        let base = allocation.region;
        let region = *self.regions.get(&base)?;
        let empty = self.live.range(base..base + region.len).next().is_none();
        if empty {
            self.regions.remove(&base);
        }
        empty.then_some((base, region))
    }

    /// The allocation that an address is in.
    pub fn find(&self, at: u64) -> Option<(u64, Allocation)> {
        let (base, a) = self.live.range(..=at).next_back()?;
        (at < base + a.len).then_some((*base, *a))
    }

    /// The region of an allocation: where it begins, and its length.
    pub fn region_of(&self, at: u64) -> Option<(u64, u64)> {
        let base = self.live.get(&at)?.region;
        Some((base, self.regions.get(&base)?.len))
    }

    /// What is to be saved: address, length and a context on the device, region by region.
    pub fn spans(&self) -> Vec<(u64, u64, u64)> {
        let span = |base: &u64, region: &Region| {
            let mut inside = self.live.range(*base..base + region.len);
            let (first, a) = inside.next()?;
            let (last, b) = inside.next_back().unwrap_or((first, a));
            Some((*first, last + b.len - first, a.context))
        };
        self.regions
            .iter()
            .filter_map(|(b, r)| span(b, r))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(arena: &mut Arena, len: u64) -> u64 {
        let plan = arena.plan(len, 0).unwrap();
        arena.add(plan, len, 1)
    }

    #[test]
    fn small_allocations_share_a_region_and_large_ones_do_not() {
        let mut arena = Arena::new();
        let [a, b, c] = [100, 600, LARGE].map(|n| put(&mut arena, n));
        assert_eq!([a, b], [RANGE[0], RANGE[0] + ALIGN]);
        assert_eq!(c, RANGE[0] + GRANULE);
        assert_eq!(put(&mut arena, 1), RANGE[0] + 3 * ALIGN);
        assert_eq!(arena.find(b + 599).map(|(at, _)| at), Some(b));
        assert_eq!(arena.find(b + 600), None);
        assert_eq!(arena.spans().len(), 2);
    }

    #[test]
    fn there_is_no_room_for_what_is_larger_than_all() {
        let arena = Arena::new();
        for len in [u64::MAX, u64::MAX - GRANULE, RANGE[1] - RANGE[0] + 1] {
            assert!(arena.plan(len, 0).is_none(), "{len:#x}");
        }
    }

    #[test]
    fn what_is_freed_is_used_again() {
        let mut arena = Arena::new();
        let [a, b] = [100, 100].map(|n| put(&mut arena, n));
        let large = put(&mut arena, 3 * GRANULE + 1);
        let last = put(&mut arena, LARGE);
        assert_eq!(last, large + 4 * GRANULE);
        assert_eq!(arena.remove(a), None);
        assert_eq!(put(&mut arena, 512), a);
        assert_eq!(arena.remove(large).map(|r| r.1.len), Some(4 * GRANULE));
        assert_eq!(put(&mut arena, GRANULE), large);
        assert_eq!(arena.remove(a), None);
        assert_eq!(arena.remove(b).map(|r| r.0), Some(RANGE[0]));
        assert_eq!(arena.remove(b), None);
        assert!(arena.plan(RANGE[1] - RANGE[0], 0).is_none());
    }
}
