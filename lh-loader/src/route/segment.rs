//! Patches the executable part of a file that has just been mapped.

use super::patch::{self, Refusal, StubPage, STUB_MAX};
use super::{eh, log_level, policy, scan};
use crate::arch::{is_err, syscall6};
use crate::layout::{page_down, page_up, Owner, PAGE};
use crate::{lhinfo, say, window};
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

/// Told of each site that matters and cannot be patched: address, number, reason.
pub type Report<'a> = &'a mut dyn FnMut(usize, Option<u32>, Refusal);

/// Scans and patches an executable mapping of a file, whose text gets `prot` afterwards. What can't be
/// patched goes to the log, with the file's name. Returns how many sites were patched.
///
/// # Safety
/// `[addr, addr+len)` maps `fd` from `offset`, privately, and no thread runs in it yet.
pub unsafe fn map_exec(
    addr: usize,
    len: usize,
    fd: i32,
    offset: u64,
    owner: Owner,
    prot: i32,
) -> usize {
    let mut report = |at: usize, nr: Option<u32>, why: Refusal| {
        if log_level() > 0 {
            let place = (at - addr) as u64 + offset;
            let nr = Number(nr);
            say!(
                "route: {}+{:#x} (at {:#x}, {}): {}",
                Path::of(fd),
                place,
                at,
                nr,
                why
            );
        }
    };
    // SAFETY: the caller's.
    let patched = unsafe { patch_mapping(addr, len, fd, offset, owner, prot, &mut report) };
    if log_level() > 1 {
        say!("route: {} at {:#x}: {} sites", Path::of(fd), addr, patched);
    }
    patched
}

/// Says that a shared mapping stays as it is.
pub fn refuse_shared(at: usize, fd: i32, offset: u64) -> usize {
    if log_level() > 0 {
        say!(
            "route: {}+{:#x} (at {:#x}): {}",
            Path::of(fd),
            offset,
            at,
            Refusal::Shared
        );
    }
    0
}

/// Does the work of [`map_exec`] and reports what it refuses.
///
/// # Safety
/// As for [`map_exec`].
pub unsafe fn patch_mapping(
    addr: usize,
    len: usize,
    fd: i32,
    offset: u64,
    owner: Owner,
    prot: i32,
    report: Report,
) -> usize {
    // The headers and the table of functions are read through a mapping: a `pread` for each step of each
    // search made the scan of libc take 15 ms. It is gone before the program goes on.
    let mut stat = [0u64; 18];
    // SAFETY: a `struct stat` is 144 bytes; the mapping is private, read-only and of our choosing.
    let (size, file) = unsafe {
        let at = stat.as_mut_ptr() as usize;
        if is_err(syscall6(
            libc::SYS_fstat as usize,
            fd as usize,
            at,
            0,
            0,
            0,
            0,
        )) {
            return 0;
        }
        let size = stat[6] as usize;
        let (read, private) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
        (
            size,
            window::map(owner, size, read, private, fd as usize, 0),
        )
    };
    if is_err(file) {
        return 0;
    }
    // SAFETY: mapped above, up to the file's size.
    let bytes = unsafe { core::slice::from_raw_parts(file as *const u8, size) };
    let mut patched = 0;
    match eh::Elf::open(bytes) {
        Some(elf) => elf.code_parts(offset, len as u64, &mut |at, vaddr, size| {
            // A header may promise more than the file holds; touching that would be fatal.
            let Some(text) = bytes.get(at as usize..(at + size) as usize) else {
                return;
            };
            let part = Part {
                start: addr + (at - offset) as usize,
                text,
                fd,
                at,
                vaddr,
                elf: &elf,
                owner,
            };
            // SAFETY: mapped, backed by the file, and nobody runs in it yet.
            patched += unsafe { part.patch(prot, report) };
        }),
        // Somebody's own just-in-time code.
        None => report(addr, None, Refusal::NotElf),
    }
    // SAFETY: nothing refers to the mapping any more.
    unsafe { syscall6(libc::SYS_munmap as usize, file as usize, size, 0, 0, 0, 0) };
    patched
}

/// `mprotect`.
///
/// # Safety
/// As for the system call.
unsafe fn protect(at: usize, len: usize, prot: i32) -> isize {
    // SAFETY: the caller's.
    unsafe { syscall6(libc::SYS_mprotect as usize, at, len, prot as usize, 0, 0, 0) }
}

const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const RUNNABLE: i32 = libc::PROT_READ | libc::PROT_EXEC;

/// A mapped piece of a file's code.
struct Part<'a> {
    start: usize,
    /// The same bytes in the file: what is only read here stays out of the program's resident memory.
    text: &'a [u8],
    /// The file, and where in it the code begins.
    fd: i32,
    at: u64,
    vaddr: u64,
    elf: &'a eh::Elf<'a>,
    owner: Owner,
}

impl Part<'_> {
    /// Patches it; it has `prot` afterwards.
    unsafe fn patch(&self, prot: i32, report: Report) -> usize {
        let (low, high) = (page_down(self.start), page_up(self.start + self.text.len()));
        // SAFETY: the code is mapped; it is made writable before anything is written.
        let code =
            unsafe { core::slice::from_raw_parts_mut(self.start as *mut u8, self.text.len()) };
        let mut stubs: Option<StubPage> = None;
        let mut inside: Option<Inside> = None;
        let (mut patched, mut from) = (0, 0);
        let mut search = Search::new(self.fd, self.at, self.text);
        let wanted = |nr: Option<u32>| nr.is_none_or(|n| policy::routed(self.owner, n));
        while let Some(site) = scan::next_of(
            self.text,
            self.vaddr,
            Some(self.elf),
            &wanted,
            from,
            &mut |at| search.next(at),
        ) {
            from = site.at + 2;
            // SAFETY: while the code is written it is not executable, and nobody runs in it.
            let done = unsafe {
                if inside.is_none() {
                    inside = Inside::new(self.text.len())
                        .filter(|_| !is_err(protect(low, high - low, WRITABLE)));
                }
                match (&mut inside, page(&mut stubs, high)) {
                    (Some(inside), Some(page)) => {
                        let slot = lhinfo::LHINFO_ROUTER;
                        patch::patch(code, self.start, &site, slot, page)
                            .inspect(|w| inside.note(w))
                    }
                    _ => Err(Refusal::NoStub),
                }
            };
            match done {
                Ok(w) => {
                    from = w.end;
                    patched += 1;
                }
                Err(why) => report(self.start + site.at, site.nr, why),
            }
        }
        if let Some(inside) = &inside {
            patched -= self.take_back(code, inside, report);
            // SAFETY: the code and the last stubs are complete.
            unsafe {
                protect(low, high - low, prot);
                if let Some(page) = stubs {
                    protect(page.base, page.len, RUNNABLE);
                }
            }
        }
        patched
    }

    /// Restores windows that another function branches into; gives their number.
    fn take_back(&self, code: &mut [u8], inside: &Inside, report: Report) -> usize {
        let mut count = 0;
        let text = self.text;
        scan::far_branches(text, &mut |at, to| {
            let Some(to) = usize::try_from(to).ok().filter(|&to| inside.has(to)) else {
                return;
            };
            let from = self.elf.function(self.vaddr + at as u64).map(|f| f.0);
            let known = from
                .filter(|&f| f >= self.vaddr)
                .map(|f| (f - self.vaddr) as usize);
            let real = match known {
                Some(from) => scan::lands(text, from, at),
                None => scan::mostly_lands(text, at).is_some(),
            };
            if !real {
                return;
            }
            let (start, end) = inside.around(to);
            code[start..end].copy_from_slice(&text[start..end]);
            inside.forget(start, end);
            report(self.start + start, None, Refusal::Entered);
            count += 1;
        });
        count
    }
}

/// Length of a piece: it stays in the cache from being read to being looked at.
const PIECE: usize = 64 << 10;

/// Where pieces are read to, by one thread at a time.
struct Buffer {
    taken: AtomicBool,
    bytes: UnsafeCell<[u8; PIECE]>,
}

// SAFETY: the bytes are used by who has set `taken`.
unsafe impl Sync for Buffer {}

static BUFFER: Buffer = Buffer {
    taken: AtomicBool::new(false),
    bytes: UnsafeCell::new([0; PIECE]),
};

/// Looks for candidates in what it reads of the file, piece by piece: pages of a mapping would each have to be made
/// present, and taken away again, for a look at bytes of which nearly none matter.
struct Search<'a> {
    fd: i32,
    /// Where in the file the code begins.
    at: u64,
    code: &'a [u8],
    /// Is the buffer this one's? Else the mapping is looked at.
    reads: bool,
    /// The piece that was read last: its offset in the code, and its length.
    start: usize,
    len: usize,
}

impl<'a> Search<'a> {
    fn new(fd: i32, at: u64, code: &'a [u8]) -> Self {
        Search {
            fd,
            at,
            code,
            reads: !BUFFER.taken.swap(true, Ordering::Acquire),
            start: 0,
            len: 0,
        }
    }

    /// The first candidate at or after `from`.
    fn next(&mut self, mut from: usize) -> Option<usize> {
        let known = self.start..self.start + self.len;
        if !known.contains(&from) && !self.read(from) {
            return scan::candidate(self.code, from);
        }
        loop {
            // SAFETY: so many bytes have been read, by this one, whose the buffer is.
            let bytes = unsafe { core::slice::from_raw_parts(BUFFER.bytes.get().cast(), self.len) };
            if let Some(at) = scan::candidate(bytes, from - self.start) {
                return Some(self.start + at);
            }
            from = self.start + self.len;
            if from == self.code.len() {
                return None;
            }
            from -= 1; // a candidate may begin with the last byte
            if !self.read(from) {
                return scan::candidate(self.code, from);
            }
        }
    }

    /// Reads the piece at `from`.
    fn read(&mut self, from: usize) -> bool {
        let (nr, fd) = (libc::SYS_pread64 as usize, self.fd as usize);
        let want = PIECE.min(self.code.len().saturating_sub(from));
        if !self.reads || want == 0 {
            return false;
        }
        let (to, at) = (BUFFER.bytes.get() as usize, self.at as usize + from);
        // SAFETY: the buffer has room for as much, and is this one's.
        let got = unsafe { syscall6(nr, fd, to, want, at, 0, 0) };
        (self.start, self.len) = (from, got.max(0) as usize);
        self.len == want || self.len > 1
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        if self.reads {
            BUFFER.taken.store(false, Ordering::Release);
        }
    }
}

/// A stub page with room: the present one, or a new one that is close by.
unsafe fn page(stubs: &mut Option<StubPage>, near: usize) -> Option<&mut StubPage> {
    let full = stubs.is_none_or(|p| p.len - p.used < STUB_MAX);
    if full {
        let near = stubs.map_or(near, |p| p.base + p.len);
        // SAFETY: a full page's stubs are complete; only free ranges are taken.
        unsafe {
            if let Some(page) = stubs {
                protect(page.base, page.len, RUNNABLE);
            }
            let base = window::map_near(near, PAGE);
            *stubs = (!is_err(base)).then_some(StubPage {
                base: base as usize,
                len: PAGE,
                used: 0,
            });
        }
    }
    stubs.as_mut()
}

/// One bit for each byte of the code: it is inside a window, where nobody may jump to.
struct Inside {
    bits: usize,
    len: usize,
}

impl Inside {
    fn new(code: usize) -> Option<Self> {
        let len = page_up(code / 8 + 2);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let (prot, nr) = (WRITABLE as usize, libc::SYS_mmap as usize);
        // SAFETY: a new mapping, gone before the program goes on.
        let bits = unsafe { syscall6(nr, 0, len, prot, flags as usize, usize::MAX, 0) };
        (!is_err(bits)).then_some(Inside {
            bits: bits as usize,
            len,
        })
    }

    fn byte(&self, at: usize) -> *mut u8 {
        (self.bits + (at / 8).min(self.len - 1)) as *mut u8
    }

    fn has(&self, at: usize) -> bool {
        // SAFETY: the byte is in the mapping, which is this one's alone.
        at / 8 < self.len && unsafe { *self.byte(at) } >> (at % 8) & 1 == 1
    }

    fn note(&self, w: &scan::Window) {
        for at in w.start + 1..w.end {
            // SAFETY: as in `has`.
            unsafe { *self.byte(at) |= 1 << (at % 8) };
        }
    }

    fn forget(&self, start: usize, end: usize) {
        for at in start + 1..end {
            // SAFETY: as in `has`.
            unsafe { *self.byte(at) &= !(1 << (at % 8)) };
        }
    }

    /// The window that `at` is inside of.
    fn around(&self, at: usize) -> (usize, usize) {
        let start = (0..at).rev().find(|&i| !self.has(i)).unwrap_or(0);
        let end = (at..).find(|&i| !self.has(i)).unwrap_or(at);
        (start, end)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        unsafe { syscall6(libc::SYS_munmap as usize, self.bits, self.len, 0, 0, 0, 0) };
    }
}

/// A system call's number, or that it is in a register.
struct Number(Option<u32>);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Some(nr) => write!(f, "system call {nr}"),
            None => f.write_str("any system call"),
        }
    }
}

/// The path of an open file.
struct Path {
    text: [u8; 512],
    len: usize,
}

impl Path {
    fn of(fd: i32) -> Self {
        use fmt::Write;
        let mut link = say::Text::<32>::new();
        let _ = write!(link, "/proc/thread-self/fd/{fd}\0");
        let mut path = Path {
            text: [0; 512],
            len: 0,
        };
        let (from, to) = (
            link.bytes().as_ptr() as usize,
            path.text.as_mut_ptr() as usize,
        );
        let nr = libc::SYS_readlink as usize;
        // SAFETY: the link's name ends with a NUL; the kernel writes at most the text's length.
        let got = unsafe { syscall6(nr, from, to, path.text.len(), 0, 0, 0) };
        path.len = got.max(0) as usize;
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = core::str::from_utf8(&self.text[..self.len]);
        f.write_str(text.ok().filter(|t| !t.is_empty()).unwrap_or("a file"))
    }
}
