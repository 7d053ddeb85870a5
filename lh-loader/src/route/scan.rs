//! Finds the `syscall` instructions of a piece of code.
//!
//! A byte search finds candidates (fast: whole libraries go through it at load time); each is then
//! confirmed by decoding towards it, from the start of its function where `.eh_frame_hdr` names one,
//! else from many points before it, which must mostly agree.

use super::decode::{decode, Insn};
use super::eh::Elf;
use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
};

/// How many instructions before a site are kept.
pub const BEFORE: usize = 6;
/// Hand-written code may end its unwind entry before the `syscall` (glibc's `clone` does).
const PAST_END: usize = 64;
/// How far back a walk starts where no function is known.
const BACK: usize = 64;

/// A confirmed site, in offsets from the start of the code.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Offset of the `syscall`.
    pub at: usize,
    /// The number, where it is the same on every way to the site that was seen.
    pub nr: Option<u32>,
    /// Where branches that may lead into the site are looked for.
    pub bounds: (usize, usize),
    /// The instructions before it on the straight line, nearest first: offset and decoding.
    pub before: [(usize, Insn); BEFORE],
    /// How many of them there are.
    pub befores: usize,
}

/// The bytes of `code` at an offset, empty past its end.
pub fn tail(code: &[u8], at: usize) -> &[u8] {
    code.get(at..).unwrap_or(&[])
}

/// The first `0f 05` at or after `from`.
pub fn candidate(code: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    // SAFETY: SSE2 is part of x86-64; both loads stay inside `code` by the loop's condition.
    unsafe {
        let (first, second) = (_mm_set1_epi8(0x0f), _mm_set1_epi8(0x05));
        while at + 17 <= code.len() {
            let p = code.as_ptr().add(at);
            let a = _mm_cmpeq_epi8(_mm_loadu_si128(p.cast::<__m128i>()), first);
            let b = _mm_cmpeq_epi8(_mm_loadu_si128(p.add(1).cast::<__m128i>()), second);
            let hits = _mm_movemask_epi8(_mm_and_si128(a, b)) as u32;
            if hits != 0 {
                return Some(at + hits.trailing_zeros() as usize);
            }
            at += 16;
        }
    }
    while at + 2 <= code.len() {
        if code[at] == 0x0f && code[at + 1] == 0x05 {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Decodes from `from` and tells whether an instruction begins at `to`.
fn lands(code: &[u8], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        match decode(tail(code, at)) {
            Some(i) => at += usize::from(i.len),
            None => return false,
        }
    }
    at == to
}

/// Whether a relative branch in `range` leads strictly inside `(lo, hi)`.
pub fn branch_into(code: &[u8], range: (usize, usize), lo: usize, hi: usize) -> bool {
    let mut at = range.0;
    while at < range.1 {
        let Some(i) = decode(tail(code, at)) else {
            at += 1;
            continue;
        };
        at += usize::from(i.len);
        if let Some(d) = i.relative {
            let to = at as i64 + i64::from(d);
            if to > lo as i64 && to < hi as i64 {
                return true;
            }
        }
    }
    false
}

/// Walks from `from` (which leads to `at`) and describes the site.
fn describe(code: &[u8], from: usize, end: usize, at: usize) -> Site {
    let mut ring = [(0, Insn::default()); BEFORE];
    let (mut n, mut eax, mut set_at, mut pos) = (0usize, None, 0, from);
    while pos < at {
        let Some(i) = decode(tail(code, pos)) else {
            break;
        };
        if let Some(v) = i.sets_eax() {
            (eax, set_at) = (Some(v), pos);
        } else if !i.keeps_rax() {
            eax = None;
        }
        if i.is_control() && !matches!((i.map, i.op), (0, 0x70..=0x7f) | (1, 0x80..=0x8f)) {
            n = 0;
        } else {
            ring[n % BEFORE] = (pos, i);
            n += 1;
        }
        pos += usize::from(i.len);
    }
    let bounds = (from, end.max(at + 2).min(code.len()));
    let mut site = Site {
        at,
        nr: eax,
        bounds,
        before: [(0, Insn::default()); BEFORE],
        befores: n.min(BEFORE),
    };
    for k in 0..site.befores {
        site.before[k] = ring[(n - 1 - k) % BEFORE];
    }
    // Another way in, between the number and the site, may bring another number.
    if eax.is_some() && branch_into(code, bounds, set_at, at + 1) {
        site.nr = None;
    }
    site
}

/// Confirms the candidate at `at`; `vaddr` is the link-time address of `code[0]`.
fn confirm(code: &[u8], vaddr: u64, elf: Option<&Elf>, at: usize) -> Option<Site> {
    let mut outside = false;
    if let Some(elf) = elf.filter(|e| e.has_table()) {
        if let Some((start, end, next)) = elf.function(vaddr + at as u64) {
            let from = start.saturating_sub(vaddr) as usize;
            let end = end.saturating_sub(vaddr) as usize;
            let limit = next.saturating_sub(vaddr).min((end + 1024) as u64) as usize;
            if start >= vaddr && at < end.saturating_add(PAST_END) {
                if lands(code, from, at) {
                    // Code without an entry of its own may follow, and belongs to the function.
                    return Some(describe(
                        code,
                        from,
                        if at < end { end } else { limit + PAST_END },
                        at,
                    ));
                }
                if at < end {
                    return None;
                }
            }
        }
        outside = true;
    }
    let room = BACK.min(at);
    let mut good = 0;
    let mut from = at;
    for k in 1..=room {
        if lands(code, at - k, at) {
            good += 1;
            from = at - k;
        }
    }
    if good * 2 <= room {
        return None;
    }
    let site = describe(code, from, at + 2 + BACK, at);
    // Data between functions looks like code now and then; a number in front of it does not come by chance.
    if outside && site.nr.is_none() {
        return None;
    }
    Some(site)
}

/// `mov $15,%rax`: rt_sigreturn.
const RESTORER: [u8; 7] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0];

/// The first `syscall` at or after `from` in `code`, which begins at link-time address `vaddr`.
pub fn next(code: &[u8], vaddr: u64, elf: Option<&Elf>, from: usize) -> Option<Site> {
    let mut at = from;
    while let Some(c) = candidate(code, at) {
        // The signal restorer stays as it is: its unwind entry begins a byte early on purpose, so it can't be
        // decoded from there, and unwinders know it by these very bytes.
        if code[..c].ends_with(&RESTORER) {
            at = c + 2;
            continue;
        }
        if let Some(site) = confirm(code, vaddr, elf, c) {
            return Some(site);
        }
        at = c + 2;
    }
    None
}
