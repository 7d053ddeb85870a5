//! Finds the `syscall` instructions of a piece of code, and the room for a jump around each.
//!
//! A byte search finds candidates (fast: whole libraries go through it at load time); each is then
//! confirmed by decoding towards it, from the start of its function where `.eh_frame_hdr` names one,
//! else from many points before it, which must mostly agree.
//!
//! A 5-byte jump replaces the `syscall` and whole instructions beside it. Nobody may jump *into* those
//! bytes, which is made sure of in three steps: relative branches of the function itself, and its jump
//! tables, are looked at here; relative branches from elsewhere (a function's cold part) by
//! [`super::segment`]. A function that jumps by a table that can't be read is patched only where the
//! jump covers `mov $number,%eax; syscall` and nothing else: the one place inside is the `syscall`, and a
//! table does not lead there, for its number would be missing. What comes by none of these ways (a
//! computed address, an exception's landing pad) meets `int3`: it stops, and does not go astray.

use super::code::{self, Table};
use super::eh::Elf;
use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
};
use iced_x86::Instruction;

/// Length of the jump that is written over a site.
pub const JUMP: usize = 5;
/// How many instructions before a site are kept.
const BEFORE: usize = 6;
/// How many after it: enough for the jump.
const AFTER: usize = 3;
/// How many tables of a function are looked at, and entries of one.
const TABLES: usize = 16;
const ENTRIES: usize = 1024;
/// Hand-written code may end its unwind entry before the `syscall` (glibc's `clone` does).
const PAST_END: usize = 64;
/// How far back a walk starts where no function is known.
const BACK: usize = 64;
/// Bytes before a candidate in which it is looked whether an instruction may begin there.
const SURE: usize = 45;
/// Bytes before a site about which it is known whether something leads there; after it, [`AHEAD`].
const BEHIND: usize = 96;
const AHEAD: usize = 32;

/// A confirmed site, in offsets from the start of the code.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Offset of the `syscall`.
    pub at: usize,
    /// The number, where it is the same on every way to the site that was seen.
    pub nr: Option<u32>,
    /// What the jump can replace.
    pub window: Option<Window>,
}

/// Instructions around a site that the jump replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Offset of the first.
    pub start: usize,
    /// Offset past the last.
    pub end: usize,
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
    let rest = code.get(at..)?;
    let hit = rest.windows(2).position(|pair| pair == [0x0f, 0x05])?;
    Some(at + hit)
}

/// Whether decoding from `from` leads to an instruction that begins at `to`.
pub fn lands(code: &[u8], from: usize, to: usize) -> bool {
    code::walk(code, from, to, &mut |_, _| true) == to
}

/// Places near a site that something leads to.
struct Entered {
    at: usize,
    places: u128,
}

impl Entered {
    fn note(&mut self, to: i64) {
        let bit = to - self.at as i64 + BEHIND as i64;
        if (0..(BEHIND + AHEAD) as i64).contains(&bit) {
            self.places |= 1 << bit;
        }
    }

    /// Whether something leads to one of `[lo, hi)`; yes where that is not known.
    fn any(&self, lo: usize, hi: usize) -> bool {
        lo + BEHIND < self.at
            || hi > self.at + AHEAD
            || (lo..hi).any(|place| self.places >> (place + BEHIND - self.at) & 1 == 1)
    }
}

/// What a walk over a function found around a site.
struct Around {
    entered: Entered,
    /// Movable instructions before the site, nearest last; a ring.
    before: [usize; BEFORE],
    befores: usize,
    /// Ends of the movable instructions after it.
    after: [usize; AFTER],
    afters: usize,
    /// The number, and where it was set.
    number: Option<(u32, usize)>,
    tables: [Table; TABLES],
    table_count: usize,
    by_table: bool,
    seen: bool,
}

impl Around {
    fn new(at: usize) -> Self {
        Around {
            entered: Entered { at, places: 0 },
            before: [0; BEFORE],
            befores: 0,
            after: [0; AFTER],
            afters: 0,
            number: None,
            tables: [Table::default(); TABLES],
            table_count: 0,
            by_table: false,
            seen: false,
        }
    }

    /// Takes an instruction in; `false`: the walk does not come by the site.
    fn take(&mut self, pos: usize, insn: &Instruction, vaddr: u64) -> bool {
        let at = self.entered.at;
        let end = pos + insn.len();
        if pos < at && end > at {
            return false;
        }
        if let Some(to) = code::target(insn) {
            self.entered.note(to);
        }
        self.by_table |= code::jumps_by_table(insn);
        if let Some(table) = code::table(insn, vaddr) {
            if let Some(free) = self.tables.get_mut(self.table_count) {
                *free = table;
            }
            self.table_count += 1;
        }
        if pos < at {
            self.lead(pos, insn);
        } else if pos == at {
            self.seen = true;
            (self.after[0], self.afters) = (end, 1);
        } else if self.afters < AFTER
            && pos == self.after[self.afters - 1]
            && code::is_movable(insn)
        {
            self.after[self.afters] = end;
            self.afters += 1;
        }
        true
    }

    /// An instruction before the site.
    fn lead(&mut self, pos: usize, insn: &Instruction) {
        if let Some(value) = code::sets_rax(insn) {
            self.number = Some((value, pos));
        } else if !code::keeps_rax(insn) {
            self.number = None;
        }
        if code::is_movable(insn) {
            self.before[self.befores % BEFORE] = pos;
            self.befores += 1;
        } else {
            self.befores = 0;
            if !code::falls_through(insn) {
                self.number = None;
            }
        }
    }

    /// Notes where the function's jump tables lead inside `function` (offsets); `false` if it jumps by a table
    /// that can't be read.
    fn read_tables(&mut self, vaddr: u64, function: (usize, usize), elf: Option<&Elf>) -> bool {
        if !self.by_table {
            return true;
        }
        let (tables, mut read) = (self.tables, false);
        let (Some(elf), Some(tables)) = (elf, tables.get(..self.table_count)) else {
            return false;
        };
        for table in tables {
            let size = if table.absolute { 8 } else { 4 };
            let words = elf.at(table.at).unwrap_or(&[]).chunks_exact(size);
            for word in words.take(ENTRIES) {
                let mut entry = [0u8; 8];
                entry[..size].copy_from_slice(word);
                let word = u64::from_le_bytes(entry);
                let to = if table.absolute {
                    word.wrapping_sub(vaddr) as i64
                } else {
                    let distance = i64::from(word as u32 as i32);
                    table.at.wrapping_add(distance as u64).wrapping_sub(vaddr) as i64
                };
                if to < function.0 as i64 || to >= function.1 as i64 {
                    break;
                }
                read = true;
                self.entered.note(to);
            }
        }
        read
    }

    /// The site, with the shortest window from `floor` on that nobody jumps into.
    fn site(&self, tables_known: bool, floor: usize) -> Site {
        let at = self.entered.at;
        let clear = |lo, hi| !self.entered.any(lo, hi);
        let number = self.number.filter(|&(_, set)| clear(set + 1, at + 1));
        let kept = self.befores.min(BEFORE);
        let place = |n: usize| self.before[(self.befores - n) % BEFORE];
        let mut choices = [1, 0, 2, 3, 4, 5, 6].into_iter().filter(|&n| n <= kept);
        let window = choices.find_map(|n| {
            let start = if n == 0 { at } else { place(n) };
            let ends = &self.after[..self.afters];
            let end = *ends.iter().find(|&&end| end - start >= JUMP)?;
            let pair = number.is_some_and(|(_, set)| set == start) && n == 1 && end == at + 2;
            let fits = start >= floor && clear(start + 1, end) && (tables_known || pair);
            fits.then_some(Window { start, end })
        });
        Site {
            at,
            nr: number.map(|(value, _)| value),
            window,
        }
    }
}

/// Says for a number (`None`: any) whether its sites are looked for.
pub type Wanted<'a> = &'a dyn Fn(Option<u32>) -> bool;

/// Whether the candidate is `mov $number,%eax; syscall` with a number that is not wanted, and nothing in
/// `[from, end)` that might be a branch leads between the two. Most sites of a libc are told apart by this,
/// without decoding.
fn is_unwanted_pair(code: &[u8], from: usize, end: usize, at: usize, wanted: Wanted) -> bool {
    let Some([0xb8, number @ ..]) = code.get(at.wrapping_sub(5)..at) else {
        return false;
    };
    let Ok(number) = number.try_into().map(u32::from_le_bytes) else {
        return false;
    };
    if wanted(Some(number)) || at < from + 5 {
        return false;
    }
    let near = at.saturating_sub(130)..(at + 130).min(code.len());
    let short = code[near.clone()].windows(2).zip(near).any(|(b, pos)| {
        matches!(b[0], 0x70..=0x7f | 0xe0..=0xe3 | 0xeb)
            && (pos + 2) as i64 + i64::from(b[1] as i8) == at as i64
    });
    let mut far = false;
    far_branches(&code[from..end.min(code.len())], &mut |_, to| {
        far |= to == (at - from) as i64;
    });
    !short && !far
}

/// Describes the site at `at`, reading the function `[from, end)`; `None` if no instruction begins there.
fn describe(
    code: &[u8],
    vaddr: u64,
    elf: Option<&Elf>,
    from: usize,
    end: usize,
    at: usize,
    floor: usize,
) -> Option<Site> {
    let end = end.max(at + 2).min(code.len());
    let mut around = Around::new(at);
    let mut pos = from;
    loop {
        let mut missed = false;
        pos = code::walk(code, pos, end, &mut |pos, insn| {
            missed = !around.take(pos, insn, vaddr);
            !missed
        });
        if missed || (!around.seen && (pos < end || pos > at)) {
            return None;
        }
        if pos >= end {
            break;
        }
        // Padding or data behind the site.
        pos += 1;
    }
    let known = around.read_tables(vaddr, (from, end), elf);
    Some(around.site(known, floor))
}

/// Confirms the candidate at `at`; `vaddr` is the link-time address of `code[0]`.
fn confirm(
    code: &[u8],
    vaddr: u64,
    elf: Option<&Elf>,
    wanted: Wanted,
    at: usize,
    floor: usize,
) -> Option<Site> {
    let mut outside = false;
    if let Some(table) = elf.filter(|e| e.has_table()) {
        if let Some((start, end, next)) = table.function(vaddr + at as u64) {
            let from = start.saturating_sub(vaddr) as usize;
            let end = end.saturating_sub(vaddr) as usize;
            let limit = next.saturating_sub(vaddr).min((end + 1024) as u64) as usize;
            if at < end && start >= vaddr && is_unwanted_pair(code, from, end, at, wanted) {
                return None;
            }
            // No instruction is longer than 15 bytes, so one of 15 walks begins at a true one. Most candidates are
            // parts of other instructions, and this tells it without decoding the whole function.
            if at < end && at > from + SURE && landings(code, at, SURE) >> (SURE - 15) == 0 {
                return None;
            }
            if start >= vaddr && at < end.saturating_add(PAST_END) {
                // Code without an entry of its own may follow, and belongs to the function.
                let last = if at < end { end } else { limit + PAST_END };
                let site = describe(code, vaddr, elf, from, last, at, floor);
                if site.is_some() || at < end {
                    return site;
                }
            }
        }
        outside = true;
    }
    let from = mostly_lands(code, at)?;
    let site = describe(code, vaddr, elf, from, at + 2 + BACK, at, floor)?;
    // Data between functions looks like code now and then; a number in front of it does not come by chance.
    (!outside || site.nr.is_some()).then_some(site)
}

/// From which of the bytes before `at` decoding leads there: bit `k - 1` stands for `at - k`.
fn landings(code: &[u8], at: usize, back: usize) -> u64 {
    let mut good = 0u64;
    for k in 1..=back.min(at).min(BACK) {
        let mut next = 0;
        code::walk(code, at - k, at, &mut |_, insn| {
            next = insn.len();
            false
        });
        if next == k || (next > 0 && next < k && good >> (k - next - 1) & 1 == 1) {
            good |= 1 << (k - 1);
        }
    }
    good
}

/// Where a walk to `at` can begin, if most walks from the bytes before come by there.
pub fn mostly_lands(code: &[u8], at: usize) -> Option<usize> {
    let good = landings(code, at, BACK);
    let most = good.count_ones() as usize * 2 > BACK.min(at);
    (most && good != 0).then(|| at - (64 - good.leading_zeros() as usize))
}

/// `mov $15,%rax`: rt_sigreturn.
const RESTORER: [u8; 7] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0];

/// The first wanted `syscall` at or after `from` in `code`, which begins at link-time address `vaddr`. Its
/// window does not reach in front of `from` either.
pub fn next(
    code: &[u8],
    vaddr: u64,
    elf: Option<&Elf>,
    wanted: Wanted,
    from: usize,
) -> Option<Site> {
    next_of(code, vaddr, elf, wanted, from, &mut |at| {
        candidate(code, at)
    })
}

/// The same, where somebody else looks for candidates.
pub fn next_of(
    code: &[u8],
    vaddr: u64,
    elf: Option<&Elf>,
    wanted: Wanted,
    from: usize,
    candidate: &mut dyn FnMut(usize) -> Option<usize>,
) -> Option<Site> {
    let mut at = from;
    while let Some(c) = candidate(at) {
        // The signal restorer stays as it is: its unwind entry begins a byte early on purpose, so it can't be
        // decoded from there, and unwinders know it by these very bytes.
        if !code[..c].ends_with(&RESTORER) {
            let site = confirm(code, vaddr, elf, wanted, c, from);
            if site.is_some_and(|site| wanted(site.nr)) {
                return site;
            }
        }
        at = c + 2;
    }
    None
}

/// Calls `f(offset, target)` for what may be relative branches with a 4-byte distance, in `code`.
pub fn far_branches(code: &[u8], f: &mut dyn FnMut(usize, i64)) {
    let mut at = 0;
    // SAFETY: SSE2 is part of x86-64; both loads stay inside `code` by the loop's condition.
    unsafe {
        let (jump, escape) = (_mm_set1_epi8(0xe9_u8 as i8), _mm_set1_epi8(0x0f));
        let (high, jcc) = (_mm_set1_epi8(0xf0_u8 as i8), _mm_set1_epi8(0x80_u8 as i8));
        while at + 17 <= code.len() {
            let p = code.as_ptr().add(at);
            let here = _mm_loadu_si128(p.cast::<__m128i>());
            let next = _mm_loadu_si128(p.add(1).cast::<__m128i>());
            let jumps = _mm_movemask_epi8(_mm_cmpeq_epi8(here, jump)) as u32;
            let conditional = _mm_and_si128(
                _mm_cmpeq_epi8(here, escape),
                _mm_cmpeq_epi8(_mm_and_si128(next, high), jcc),
            );
            let conditional = _mm_movemask_epi8(conditional) as u32;
            let mut hits = jumps | conditional;
            while hits != 0 {
                let bit = hits.trailing_zeros();
                hits &= hits - 1;
                let pos = at + bit as usize;
                let len = if jumps >> bit & 1 == 1 { 5 } else { 6 };
                let Some(word) = code.get(pos + len - 4..pos + len) else {
                    continue;
                };
                let distance = i32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                f(pos, (pos + len) as i64 + i64::from(distance));
            }
            at += 16;
        }
    }
}
