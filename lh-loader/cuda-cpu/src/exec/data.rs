//! Memory as kernels see it. Each address is looked at before it is used.
//!
//! Kernels of several threads race for memory as their programs will: every access here is an atomic one without an order
//! (a plain one of the processor), or is of memory that only this block sees.

use super::update::updated;
use super::{Cause, Device};
use crate::code::lanes::{Lanes, WARP};
use crate::code::Update;
use crate::ptx::{Space, Type};
use std::arch::{asm, x86_64::__m128i};
use std::mem::transmute;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering::*};

/// The memory that a block can use.
pub struct Memory<'a> {
    device: &'a dyn Device,
    /// The region that was used last.
    last: Range<u64>,
    /// Regions of the device's that were used before it.
    recent: [Range<u64>; 4],
    shared: Vec<u128>,
    shared_size: u64,
    local: Vec<u128>,
    local_size: usize,
    parameters: Vec<u128>,
    workspace: &'a Workspace,
}

/// Where blocks of a cooperative launch meet: its size, and the barrier that all of them count at. 0 at first.
pub type Workspace = [AtomicU32; 4];

/// Zeroed memory for so many bytes, aligned to 16.
fn room(bytes: usize) -> Vec<u128> {
    vec![0; bytes.div_ceil(16) + 1]
}

impl<'a> Memory<'a> {
    /// Memory for a block of so many warps, whose threads have `local` bytes each.
    pub fn new(
        device: &'a dyn Device,
        shared: usize,
        local: usize,
        warps: usize,
        parameters: &[u8],
        workspace: &'a Workspace,
    ) -> Memory<'a> {
        let mut copy = room(parameters.len());
        // SAFETY: there is room for all of them; bytes are copied into integers, for which all bits are good.
        unsafe {
            std::ptr::copy_nonoverlapping(
                parameters.as_ptr(),
                copy.as_mut_ptr().cast(),
                parameters.len(),
            )
        };
        Memory {
            device,
            last: 0..0,
            recent: [const { 0..0 }; 4],
            shared: room(shared),
            shared_size: shared as u64,
            local: room(local * warps * WARP),
            local_size: local,
            parameters: copy,
            workspace,
        }
    }

    /// Where the kernel's parameters are.
    pub fn parameters(&self) -> u64 {
        self.parameters.as_ptr() as u64
    }

    /// Where blocks meet.
    pub fn workspace(&self) -> u64 {
        self.workspace.as_ptr() as u64
    }

    /// Where a thread's local memory is.
    pub fn local(&self, warp: usize, lane: usize) -> u64 {
        self.local.as_ptr() as u64 + ((warp * WARP + lane) * self.local_size) as u64
    }

    /// How much of it there is.
    pub fn local_size(&self) -> usize {
        self.local_size
    }

    /// Where shared memory is.
    pub fn shared_base(&self) -> u64 {
        self.shared.as_ptr() as u64
    }

    /// How much of it there is.
    pub fn shared_size(&self) -> u64 {
        self.shared_size
    }

    /// Copies within a thread's local memory, between frames.
    pub fn copy_local(&mut self, warp: usize, lane: usize, from: usize, to: usize, size: usize) {
        assert!(
            from.max(to) + size <= self.local_size,
            "a frame ends before the stack does"
        );
        let at = (warp * WARP + lane) * self.local_size;
        // SAFETY: both places lie in this thread's part, as was just checked; they may overlap.
        unsafe {
            let start = self.local.as_mut_ptr().cast::<u8>().add(at);
            std::ptr::copy(start.add(from), start.add(to), size);
        }
    }

    /// The region that an address is in.
    #[cold]
    fn find(&mut self, address: u64, size: u64) -> Result<(), Cause> {
        let own = |v: &Vec<u128>| {
            let start = v.as_ptr() as u64;
            start..start + 16 * v.len() as u64
        };
        let meeting = self.workspace()..self.workspace() + size_of::<Workspace>() as u64;
        let mine = [
            own(&self.shared),
            own(&self.local),
            own(&self.parameters),
            meeting,
        ];
        let fits = |r: &Range<u64>| r.contains(&address) && address + size <= r.end;
        let found = mine
            .into_iter()
            .find(fits)
            .or_else(|| self.recent.iter().find(|r| fits(r)).cloned());
        self.last = match found {
            Some(found) => found,
            None => {
                let new = self.device.region(address).filter(fits);
                let new = new.ok_or(Cause::Address(address))?;
                self.recent.rotate_right(1);
                self.recent[0] = new.clone();
                new
            }
        };
        Ok(())
    }

    /// A pointer to `size` bytes, if a kernel may use them.
    #[inline(always)]
    pub fn at(&mut self, address: u64, size: u64, shared: bool) -> Result<*mut u8, Cause> {
        if address & (size - 1) != 0 {
            return Err(Cause::Misaligned(address));
        }
        if shared {
            return match address.checked_add(size) {
                Some(end) if end <= self.shared_size => {
                    Ok((self.shared_base() + address) as *mut u8)
                }
                _ => Err(Cause::Address(address)),
            };
        }
        if address < self.last.start
            || address.wrapping_add(size) > self.last.end
            || address.wrapping_add(size) < address
        {
            self.find(address, size)?;
        }
        Ok(address as *mut u8)
    }

    /// Loads a value.
    #[inline(always)]
    pub fn load(&mut self, address: u64, bytes: u64, shared: bool) -> Result<u64, Cause> {
        let p = self.at(address, bytes, shared)?;
        // SAFETY: the address was checked: it is memory of this size that a kernel may use, and aligned.
        Ok(unsafe {
            match bytes {
                1 => (*p.cast::<AtomicU8>()).load(Relaxed).into(),
                2 => (*p.cast::<AtomicU16>()).load(Relaxed).into(),
                4 => (*p.cast::<AtomicU32>()).load(Relaxed).into(),
                _ => (*p.cast::<AtomicU64>()).load(Relaxed),
            }
        })
    }

    /// Loads the values of a thread's vector, up to 16 bytes, all at once, as devices do: programs put a value and the word that
    /// says that it is there into one (CUB's scans do).
    pub fn load_vector(&mut self, address: u64, size: u64, shared: bool) -> Result<u128, Cause> {
        if size < 16 {
            return self.load(address, size, shared).map(u128::from);
        }
        let p = self.at(address, 16, shared)?;
        let value: __m128i;
        // SAFETY: the address was checked: 16 bytes that a kernel may use, and aligned, which processors with AVX load at once. It is
        // assembly because others may store there meanwhile.
        unsafe {
            asm!("movdqa {}, [{}]", out(xmm_reg) value, in(reg) p, options(nostack, preserves_flags, readonly));
            Ok(transmute::<__m128i, u128>(value))
        }
    }

    /// Stores the values of a thread's vector, likewise.
    pub fn store_vector(
        &mut self,
        address: u64,
        size: u64,
        shared: bool,
        value: u128,
    ) -> Result<(), Cause> {
        if size < 16 {
            return self.store(address, size, shared, value as u64);
        }
        let p = self.at(address, 16, shared)?;
        // SAFETY: as in `load_vector`.
        unsafe {
            let value = transmute::<u128, __m128i>(value);
            asm!("movdqa [{}], {}", in(reg) p, in(xmm_reg) value, options(nostack, preserves_flags));
        }
        Ok(())
    }

    /// A pointer to the values of half a warp's threads, if they lie one after the other in memory that a kernel may use.
    #[inline(always)]
    fn row(
        &mut self,
        base: &[u64; HALF],
        offset: i64,
        bytes: u64,
        shared: bool,
    ) -> Option<*mut u8> {
        let first = place(base[0], offset, shared);
        let apart = (0..HALF).fold(0, |apart, i| {
            apart | (base[i].wrapping_sub(base[0]) ^ (i as u64 * bytes))
        });
        let size = bytes * HALF as u64;
        if apart != 0 || first & (bytes - 1) != 0 {
            return None;
        }
        let end = first.checked_add(size)?;
        if shared {
            return (end <= self.shared_size).then(|| (self.shared_base() + first) as *mut u8);
        }
        if first < self.last.start || end > self.last.end {
            self.find(first, size).ok()?;
        }
        Some(first as *mut u8)
    }

    /// Loads values for all threads of a warp, of which each half's lie one after the other, or are one. False: they are not so.
    #[inline(always)]
    pub fn load_rows(
        &mut self,
        to: &mut Lanes,
        base: &Lanes,
        offset: i64,
        bytes: u64,
        shared: bool,
    ) -> Result<bool, Cause> {
        for (to, base) in halves_mut(to).zip(halves(base)) {
            if base.iter().all(|b| *b == base[0]) {
                to.fill(self.load(place(base[0], offset, shared), bytes, shared)?);
                continue;
            }
            let Some(p) = self.row(base, offset, bytes, shared) else {
                return Ok(false);
            };
            // SAFETY: all of it was checked, as in `load`.
            unsafe {
                match bytes {
                    4 => {
                        for (i, lane) in to.iter_mut().enumerate() {
                            *lane = (*p.cast::<AtomicU32>().add(i)).load(Relaxed).into();
                        }
                    }
                    8 => {
                        for (i, lane) in to.iter_mut().enumerate() {
                            *lane = (*p.cast::<AtomicU64>().add(i)).load(Relaxed);
                        }
                    }
                    _ => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// Stores values of all threads of a warp, of which each half's lie one after the other. False: they do not, and may be stored in part.
    #[inline(always)]
    pub fn store_rows(
        &mut self,
        from: &Lanes,
        base: &Lanes,
        offset: i64,
        bytes: u64,
        shared: bool,
    ) -> bool {
        for (from, base) in halves(from).zip(halves(base)) {
            let Some(p) = self.row(base, offset, bytes, shared) else {
                return false;
            };
            // SAFETY: all of it was checked, as in `load`.
            unsafe {
                match bytes {
                    4 => {
                        for (i, value) in from.iter().enumerate() {
                            (*p.cast::<AtomicU32>().add(i)).store(*value as u32, Relaxed);
                        }
                    }
                    8 => {
                        for (i, value) in from.iter().enumerate() {
                            (*p.cast::<AtomicU64>().add(i)).store(*value, Relaxed);
                        }
                    }
                    _ => return false,
                }
            }
        }
        true
    }

    /// Stores a value.
    #[inline(always)]
    pub fn store(
        &mut self,
        address: u64,
        bytes: u64,
        shared: bool,
        value: u64,
    ) -> Result<(), Cause> {
        let p = self.at(address, bytes, shared)?;
        // SAFETY: as in `load`.
        unsafe {
            match bytes {
                1 => (*p.cast::<AtomicU8>()).store(value as u8, Relaxed),
                2 => (*p.cast::<AtomicU16>()).store(value as u16, Relaxed),
                4 => (*p.cast::<AtomicU32>()).store(value as u32, Relaxed),
                _ => (*p.cast::<AtomicU64>()).store(value, Relaxed),
            }
        }
        Ok(())
    }

    /// Updates a value at once; gives the old one.
    pub fn update(
        &mut self,
        address: u64,
        shared: bool,
        ty: Type,
        how: Update,
        b: u64,
        c: u64,
    ) -> Result<u64, Cause> {
        let bytes = ty.bytes() as u64;
        let p = self.at(address, bytes, shared)?;
        // SAFETY: as in `load`.
        unsafe {
            Ok(match bytes {
                2 => {
                    let at = &*p.cast::<AtomicU16>();
                    at.fetch_update(SeqCst, SeqCst, |a| {
                        Some(updated(ty, how, a.into(), b, c) as u16)
                    })
                    .unwrap_or(0)
                    .into()
                }
                4 => {
                    let at = &*p.cast::<AtomicU32>();
                    at.fetch_update(SeqCst, SeqCst, |a| {
                        Some(updated(ty, how, a.into(), b, c) as u32)
                    })
                    .unwrap_or(0)
                    .into()
                }
                _ => {
                    let at = &*p.cast::<AtomicU64>();
                    at.fetch_update(SeqCst, SeqCst, |a| Some(updated(ty, how, a, b, c)))
                        .unwrap_or(0)
                }
            })
        }
    }

    /// Copies bytes, each of both sides in shared memory or not.
    pub fn copy(&mut self, at: [u64; 2], shared: [bool; 2], n: u64) -> Result<(), Cause> {
        let [to, from] = at;
        // As large as both sides allow.
        let unit = match (to | from | n) & 7 {
            0 => 8,
            4 => 4,
            _ => 1,
        };
        for i in (0..n).step_by(unit) {
            let value = self.load(from + i, unit as u64, shared[1])?;
            self.store(to + i, unit as u64, shared[0], value)?;
        }
        Ok(())
    }

    /// Does an address, one of the process's, lie in memory of this kind?
    pub fn is_in(&self, address: u64, space: Space) -> bool {
        let of = |v: &Vec<u128>| {
            let start = v.as_ptr() as u64;
            (start..start + 16 * v.len() as u64).contains(&address)
        };
        match space {
            Space::Shared => of(&self.shared),
            Space::Local => of(&self.local),
            Space::Param => of(&self.parameters),
            // Constants lie in the device's memory, and nobody asks for them.
            Space::Const => false,
            _ => !of(&self.shared) && !of(&self.local) && !of(&self.parameters),
        }
    }

    /// Bytes up to a NUL.
    pub fn text(&mut self, address: u64) -> Result<Vec<u8>, Cause> {
        let mut text = Vec::new();
        loop {
            match self.load(address + text.len() as u64, 1, false)? {
                0 => return Ok(text),
                c => text.push(c as u8),
            }
        }
    }
}

/// A loaded value, its sign extended from so many bytes to so many bits.
#[inline(always)]
pub fn extended(value: u64, bytes: u8, bits: u8) -> u64 {
    if bits == 0 {
        return value;
    }
    let unused = 64 - 8 * u32::from(bytes);
    let wide = ((value << unused) as i64 >> unused) as u64;
    wide & u64::MAX >> (64 - u32::from(bits))
}

/// The address of an access: a base and an offset.
#[inline(always)]
fn place(base: u64, offset: i64, shared: bool) -> u64 {
    let at = base.wrapping_add(offset as u64);
    // Shared memory's addresses may be in registers of 32 bits.
    if shared {
        at & 0xffff_ffff
    } else {
        at
    }
}

/// The address of a thread's access.
#[inline(always)]
pub fn address(base: &Lanes, lane: usize, offset: i64, shared: bool) -> u64 {
    place(base.0[lane], offset, shared)
}

/// Threads of half a warp: what is 16 wide lies in rows of so many.
const HALF: usize = WARP / 2;

fn halves(of: &Lanes) -> impl Iterator<Item = &[u64; HALF]> {
    of.0.as_chunks::<HALF>().0.iter()
}

fn halves_mut(of: &mut Lanes) -> impl Iterator<Item = &mut [u64; HALF]> {
    of.0.as_chunks_mut::<HALF>().0.iter_mut()
}
