//! Replaces a `syscall` by a jump to a stub of its own that calls the router.
//!
//! A jump, not a call: the red zone below the stack pointer belongs to the program. rcx and r11 are
//! free, for `syscall` clobbers them. The stub runs the whole instructions that the 5-byte jump
//! displaces, in their order, so none of them may depend on where it stands or be jumped to.

use super::decode::decode;
use super::scan::{branch_into, tail, Site};

/// Most bytes of a stub: 21 of its own, a jump, and what a window can displace.
pub const STUB_MAX: usize = 128;
/// Length of the jump that is written over the site.
const JUMP: usize = 5;

/// Memory for stubs, writable while patching, within 2 GiB of the code.
#[derive(Clone, Copy, Debug)]
pub struct StubPage {
    /// Where it is.
    pub base: usize,
    /// Its length.
    pub len: usize,
    /// Bytes in use.
    pub used: usize,
}

/// Why a site stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No run of whole, movable instructions of 5 bytes around it.
    NoRoom,
    /// The stub page is full.
    NoStub,
    /// The stub page is more than 2 GiB away.
    TooFar,
}

/// Instructions around a site that the jump replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Offset of the first.
    pub start: usize,
    /// Offset past the last.
    pub end: usize,
}

/// Finds the window of a site.
pub fn window(code: &[u8], site: &Site) -> Option<Window> {
    for befores in [1, 0, 2, 3, 4, 5, 6] {
        if befores > site.befores {
            continue;
        }
        let movable = |i: &super::decode::Insn| !i.rip_relative && !i.is_control();
        if !site.before[..befores].iter().all(|(_, i)| movable(i)) {
            continue;
        }
        let start = if befores == 0 {
            site.at
        } else {
            site.before[befores - 1].0
        };
        let mut end = site.at + 2;
        while end - start < JUMP {
            match decode(tail(code, end)).filter(movable) {
                Some(i) => end += usize::from(i.len),
                None => break,
            }
        }
        if end - start >= JUMP && end <= code.len() && !branch_into(code, site.bounds, start, end) {
            return Some(Window { start, end });
        }
    }
    None
}

struct Emit {
    bytes: [u8; STUB_MAX],
    len: usize,
}

impl Emit {
    fn put(&mut self, b: &[u8]) -> bool {
        let room = self.bytes.get_mut(self.len..self.len + b.len());
        let Some(room) = room else { return false };
        room.copy_from_slice(b);
        self.len += b.len();
        true
    }
}

fn rel32(from_end: usize, to: usize) -> Option<[u8; 4]> {
    let d = (to as i64).wrapping_sub(from_end as i64);
    i32::try_from(d).ok().map(i32::to_le_bytes)
}

/// Patches the site in `code`, which runs at `base` and is writable; `slot` is the address of the word
/// that holds the router's entry. Returns the window that was replaced.
///
/// # Safety
/// `page` describes writable memory that nothing else uses, and no thread is running in `code`.
pub unsafe fn patch(
    code: &mut [u8],
    base: usize,
    site: &Site,
    slot: usize,
    page: &mut StubPage,
) -> Result<Window, Refusal> {
    let w = window(code, site).ok_or(Refusal::NoRoom)?;
    let stub = page.base + page.used;
    let mut e = Emit {
        bytes: [0; STUB_MAX],
        len: 0,
    };
    let mut fits = e.put(&code[w.start..site.at]);
    fits &= e.put(&[0x48, 0x8d, 0x64, 0x24, 0x80]); // lea -128(%rsp),%rsp
    fits &= e.put(&[0x49, 0xbb]) && e.put(&slot.to_le_bytes()); // movabs $slot,%r11
    fits &= e.put(&[0x41, 0xff, 0x13]); // call *(%r11)
    fits &= e.put(&[0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0]); // lea 128(%rsp),%rsp
    fits &= e.put(&code[site.at + 2..w.end]);
    let back = rel32(stub + e.len + JUMP, base + w.end).ok_or(Refusal::TooFar)?;
    fits &= e.put(&[0xe9]) && e.put(&back);
    let there = rel32(base + w.start + JUMP, stub).ok_or(Refusal::TooFar)?;
    if !fits || page.used + e.len > page.len {
        return Err(Refusal::NoStub);
    }
    // SAFETY: the caller gave the page; the stub fits in what is unused of it.
    unsafe { core::ptr::copy_nonoverlapping(e.bytes.as_ptr(), stub as *mut u8, e.len) };
    page.used += (e.len + 15) & !15;
    code[w.start] = 0xe9;
    code[w.start + 1..w.start + JUMP].copy_from_slice(&there);
    // Whoever comes here by a way that the decoder did not see stops at once.
    code[w.start + JUMP..w.end].fill(0xcc);
    Ok(w)
}
