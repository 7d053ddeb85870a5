//! Replaces a `syscall` by a jump to a stub of its own that calls the router.
//!
//! A jump, not a call: the red zone below the stack pointer belongs to the program. rcx and r11 are
//! free, for `syscall` clobbers them. The stub runs the whole instructions that the 5-byte jump
//! displaces, in their order, so none of them may depend on where it stands or be jumped to.

use super::scan::{Site, Window, JUMP};

/// Most bytes of a stub: its own, a jump, and what a window can displace.
pub const STUB_MAX: usize = 128;

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
    /// No run of whole, movable instructions of 5 bytes around it that nobody jumps into.
    NoRoom,
    /// A branch from another function leads into the only run that there is.
    Entered,
    /// The stub page is full.
    NoStub,
    /// The stub page is more than 2 GiB away.
    TooFar,
    /// The file has no ELF headers, so it is not known what of it is code.
    NotElf,
    /// The mapping is shared: a patch would be written to the file.
    Shared,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.write_str(match self {
            Refusal::NoRoom => "no room for a jump; it is not routed",
            Refusal::Entered => "another function jumps in there; it is not routed",
            Refusal::NoStub => "no memory for a stub nearby; it is not routed",
            Refusal::TooFar => "its stub is too far away; it is not routed",
            Refusal::NotElf => "executable but not ELF; its system calls are not routed",
            Refusal::Shared => "executable and shared; its system calls are not routed",
        })
    }
}

/// `movabs $…,%r11`, behind a stub's call: it holds the [`Place`] and does nothing, for r11 is free.
const PLACE: [u8; 2] = [0x49, 0xbb];

/// Where a stub's window is in the program, in one word: its address (48 bits), its length (5), and whether a
/// thread that is in the call may be put back to the window's start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    const START: u64 = (1 << 48) - 1;
    const AGAIN: u64 = 1 << 62;
    const OVER: u64 = 1 << 63;

    fn new(code: &[u8], base: usize, at: usize, w: &Window) -> Self {
        let len = (w.end - w.start) as u64;
        let mut word = (base + w.start) as u64 & Self::START | len << 48;
        // What is displaced in front does the same a second time: the number, or glibc's
        // `mov %r11,8(%rsp)` in `__syscall_cancel_arch`, for which r11 is put back.
        let before = &code[w.start..at];
        if matches!(
            before,
            [] | [0xb8, _, _, _, _] | [0x4c, 0x89, 0x5c, 0x24, 0x08]
        ) {
            word |= Self::AGAIN;
        }
        if w.end == at + 2 {
            word |= Self::OVER;
        }
        Place(word)
    }

    /// The place of the stub that goes on at `ret`.
    ///
    /// # Safety
    /// `ret` is where the router returns to.
    pub unsafe fn of(ret: usize) -> Option<Self> {
        // SAFETY: a stub goes on with these ten bytes.
        unsafe {
            let is_stub = (ret as *const [u8; 2]).read() == PLACE;
            is_stub.then(|| Place(((ret + 2) as *const u64).read_unaligned()))
        }
    }

    /// Where a thread makes the call again from its start.
    pub fn again(self) -> Option<usize> {
        (self.0 & Self::AGAIN != 0).then_some((self.0 & Self::START) as usize)
    }

    /// Where a thread goes on when the call is over.
    pub fn over(self) -> Option<usize> {
        let end = (self.0 & Self::START) + (self.0 >> 48 & 31);
        (self.0 & Self::OVER != 0).then_some(end as usize)
    }
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
    let w = site.window.ok_or(Refusal::NoRoom)?;
    let stub = page.base + page.used;
    let mut e = Emit {
        bytes: [0; STUB_MAX],
        len: 0,
    };
    let mut fits = e.put(&code[w.start..site.at]);
    fits &= e.put(&[0x48, 0x8d, 0x64, 0x24, 0x80]); // lea -128(%rsp),%rsp
    fits &= e.put(&[0x49, 0xbb]) && e.put(&slot.to_le_bytes()); // movabs $slot,%r11
    fits &= e.put(&[0x41, 0xff, 0x13]); // call *(%r11)
    let place = Place::new(code, base, site.at, &w);
    fits &= e.put(&PLACE) && e.put(&place.0.to_le_bytes()); // movabs $place,%r11: for `Place::of`
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
