//! The upper half's vDSO: a small shared object of our own, at a fixed address.
//!
//! A program keeps pointers into its vDSO for good, and the kernel maps its own at an address (and
//! with contents) that another process or another kernel does not repeat. So the upper half is given
//! this one instead: its functions jump through slots in lhInfo, and the slots point to the running
//! kernel's functions. A restart writes the slots anew and the program notices nothing. Where the
//! kernel has no such function, the slot points to a system call here in the loader.
//!
//! The image is one page, mapped readable and executable:
//!
//! ```text
//! 0x000  Elf64_Ehdr
//! 0x040  PT_LOAD, PT_DYNAMIC, PT_GNU_STACK
//!        .dynamic   SONAME HASH SYMTAB STRTAB STRSZ SYMENT VERSYM VERDEF VERDEFNUM
//!        .dynsym    the null symbol, then one function a slot
//!        .hash      one bucket
//!        .versym    .verdef (linux-vdso.so.1, LINUX_2.6)   .dynstr
//!        code       endbr64; movabs $slot, %r11; jmp *(%r11)
//! ```
//!
//! The two clock functions first test for a negative clock: that of a process or a thread, by its id,
//! which after a restart must be translated. The loader does it.

use crate::arch::syscall6;
use crate::layout::PAGE;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The functions, in the order of their slots.
pub const FUNCTIONS: [&[u8]; 5] = [
    b"__vdso_clock_gettime",
    b"__vdso_gettimeofday",
    b"__vdso_time",
    b"__vdso_getcpu",
    b"__vdso_clock_getres",
];

const SONAME: &[u8] = b"linux-vdso.so.1";
const VERSION: &[u8] = b"LINUX_2.6";

const EHDR: usize = 64;
const PHDR: usize = 56;
const SYM: usize = 24;
const VERDEF: usize = 28;
const CODE: usize = 64;
/// The functions that take a clock, and the slot of each for a negative one.
const CLOCKS: [(usize, usize); 2] = [(0, 5), (4, 6)];

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_SONAME: u64 = 14;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;

/// Where the parts of the image are; all of it follows from the names.
struct Plan {
    dynamic: usize,
    symbols: usize,
    hash: usize,
    versym: usize,
    verdef: usize,
    strings: usize,
    code: usize,
    end: usize,
}

const DYNAMIC_ENTRIES: usize = 10;

const fn align(n: usize, to: usize) -> usize {
    (n + to - 1) & !(to - 1)
}

const fn plan() -> Plan {
    let count = FUNCTIONS.len() + 1;
    let dynamic = EHDR + 3 * PHDR;
    let symbols = dynamic + DYNAMIC_ENTRIES * 16;
    let hash = symbols + count * SYM;
    let versym = hash + (2 + 1 + count) * 4;
    let verdef = align(versym + count * 2, 8);
    let strings = verdef + 2 * VERDEF;
    let mut end = strings + 1 + SONAME.len() + 1 + VERSION.len() + 1;
    let mut i = 0;
    while i < FUNCTIONS.len() {
        end += FUNCTIONS[i].len() + 1;
        i += 1;
    }
    let code = align(end, CODE);
    Plan {
        dynamic,
        symbols,
        hash,
        versym,
        verdef,
        strings,
        code,
        end: code + FUNCTIONS.len() * CODE,
    }
}

const PLAN: Plan = plan();
const _: () = assert!(PLAN.end <= PAGE);

/// Writes numbers and strings one after the other.
struct Pen<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Pen<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
    fn u16(&mut self, n: u16) {
        self.put(&n.to_le_bytes());
    }
    fn u32(&mut self, n: u32) {
        self.put(&n.to_le_bytes());
    }
    fn u64(&mut self, n: u64) {
        self.put(&n.to_le_bytes());
    }
    /// A string in the string table; its index is returned.
    fn string(&mut self, name: &[u8]) -> u32 {
        let index = (self.at - PLAN.strings) as u32;
        self.put(name);
        self.put(&[0]);
        index
    }
}

/// The System V hash of a name, as `DT_HASH` and version definitions use it.
fn sysv_hash(name: &[u8]) -> u32 {
    name.iter().fold(0u32, |h, &c| {
        let h = (h << 4).wrapping_add(u32::from(c));
        let top = h & 0xf000_0000;
        (h ^ (top >> 24)) & !top
    })
}

/// Writes the image into a page; `slots` is the address of the slots it will jump through.
///
/// The caller maps the page readable and executable and passes its address as AT_SYSINFO_EHDR.
pub fn build(page: &mut [u8; PAGE], slots: usize) {
    page.fill(0);
    let count = FUNCTIONS.len() + 1;
    let mut pen = Pen {
        bytes: page,
        at: PLAN.strings,
    };
    pen.put(&[0]);
    let soname = pen.string(SONAME);
    let version = pen.string(VERSION);
    let names = FUNCTIONS.map(|name| pen.string(name));
    let strings_len = pen.at - PLAN.strings;

    pen.at = 0;
    pen.put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    pen.u16(3); // ET_DYN
    pen.u16(62); // EM_X86_64
    pen.u32(1);
    pen.u64(0);
    pen.u64(EHDR as u64);
    pen.u64(0);
    pen.u32(0);
    for n in [EHDR, PHDR, 3, 64, 0, 0] {
        pen.u16(n as u16);
    }
    let mut segment = |kind: u32, flags: u32, at: usize, len: usize, align: u64| {
        pen.u32(kind);
        pen.u32(flags);
        for n in [at, at, at, len, len] {
            pen.u64(n as u64);
        }
        pen.u64(align);
    };
    segment(PT_LOAD, PF_R | PF_X, 0, PLAN.end, PAGE as u64);
    segment(PT_DYNAMIC, PF_R, PLAN.dynamic, DYNAMIC_ENTRIES * 16, 8);
    segment(PT_GNU_STACK, PF_R | PF_W, 0, 0, 16);

    let entries: [(u64, usize); DYNAMIC_ENTRIES] = [
        (DT_SONAME, soname as usize),
        (DT_HASH, PLAN.hash),
        (DT_SYMTAB, PLAN.symbols),
        (DT_STRTAB, PLAN.strings),
        (DT_STRSZ, strings_len),
        (DT_SYMENT, SYM),
        (DT_VERSYM, PLAN.versym),
        (DT_VERDEF, PLAN.verdef),
        (DT_VERDEFNUM, 2),
        (0, 0),
    ];
    for (tag, value) in entries {
        pen.u64(tag);
        pen.u64(value as u64);
    }

    pen.at = PLAN.symbols + SYM;
    for (i, name) in names.into_iter().enumerate() {
        pen.u32(name);
        pen.put(&[0x12, 0]); // a global function
        pen.u16(1); // defined; there are no sections
        pen.u64((PLAN.code + i * CODE) as u64);
        pen.u64(CODE as u64);
    }

    // One bucket: the chain goes through all symbols.
    pen.at = PLAN.hash;
    pen.u32(1);
    pen.u32(count as u32);
    pen.u32(1);
    pen.u32(0);
    for i in 1..count {
        pen.u32(if i + 1 < count { i as u32 + 1 } else { 0 });
    }

    pen.at = PLAN.versym;
    pen.u16(0);
    for _ in FUNCTIONS {
        pen.u16(2);
    }
    pen.at = PLAN.verdef;
    for (index, flags, name, text, next) in [
        (1, 1, soname, SONAME, VERDEF as u32),
        (2, 0, version, VERSION, 0),
    ] {
        for n in [1, flags, index, 1] {
            pen.u16(n);
        }
        for n in [sysv_hash(text), 20, next, name, 0] {
            pen.u32(n);
        }
    }

    for i in 0..FUNCTIONS.len() {
        pen.at = PLAN.code + i * CODE;
        let jump = |pen: &mut Pen, slot: usize| {
            pen.put(&[0x49, 0xbb]);
            pen.u64((slots + slot * size_of::<AtomicUsize>()) as u64);
            pen.put(&[0x41, 0xff, 0x23]);
        };
        pen.put(&[0xf3, 0x0f, 0x1e, 0xfa]);
        let clock = CLOCKS.iter().find(|c| c.0 == i);
        if clock.is_some() {
            pen.put(&[0x85, 0xff, 0x78, 13]); // test %edi,%edi; js past the jump
        }
        jump(&mut pen, i);
        if let Some(&(_, negative)) = clock {
            jump(&mut pen, negative);
        }
    }
}

/// Points every slot to the running kernel's function, or to a system call where it has none.
///
/// # Safety
/// `kernel` is 0 or the address of the kernel's vDSO (AT_SYSINFO_EHDR), which stays mapped.
pub unsafe fn fill_slots(slots: &[AtomicUsize; 8], kernel: usize) {
    let fallbacks: [usize; FUNCTIONS.len()] = [
        clock_gettime as *const () as usize,
        gettimeofday as *const () as usize,
        time as *const () as usize,
        getcpu as *const () as usize,
        clock_getres as *const () as usize,
    ];
    for ((slot, name), fallback) in slots.iter().zip(FUNCTIONS).zip(fallbacks) {
        // SAFETY: the caller says that a vDSO is there.
        let found = unsafe { find(kernel, name) };
        slot.store(found.unwrap_or(fallback), Ordering::Release);
    }
    for (function, slot) in CLOCKS {
        slots[slot].store(fallbacks[function], Ordering::Release);
    }
}

/// # Safety
/// A `T` can be read at `at`.
unsafe fn read<T: Copy>(at: usize) -> T {
    // SAFETY: the caller's word; no alignment is assumed.
    unsafe { (at as *const T).read_unaligned() }
}

/// Finds a function of a mapped vDSO.
///
/// # Safety
/// `image` is 0 or the address of a mapped, well-formed vDSO.
unsafe fn find(image: usize, name: &[u8]) -> Option<usize> {
    if image == 0 {
        return None;
    }
    // SAFETY: the image is well-formed, so its headers lead to tables inside it.
    unsafe {
        let headers = image + read::<u64>(image + 32) as usize;
        let (mut bias, mut dynamic) = (None, None);
        for i in 0..usize::from(read::<u16>(image + 56)) {
            let header = headers + i * PHDR;
            let offset = read::<u64>(header + 8) as usize;
            let address = read::<u64>(header + 16) as usize;
            match read::<u32>(header) {
                PT_LOAD if bias.is_none() => {
                    bias = Some(image.wrapping_add(offset).wrapping_sub(address));
                }
                PT_DYNAMIC => dynamic = Some(image + offset),
                _ => {}
            }
        }
        let (bias, mut entry) = (bias?, dynamic?);
        let (mut symbols, mut strings, mut hash, mut gnu_hash) = (None, None, None, None);
        loop {
            let value = bias.wrapping_add(read::<u64>(entry + 8) as usize);
            match read::<u64>(entry) {
                0 => break,
                DT_SYMTAB => symbols = Some(value),
                DT_STRTAB => strings = Some(value),
                DT_HASH => hash = Some(value),
                DT_GNU_HASH => gnu_hash = Some(value),
                _ => {}
            }
            entry += 16;
        }
        let (symbols, strings) = (symbols?, strings?);
        let count = match (hash, gnu_hash) {
            (Some(hash), _) => read::<u32>(hash + 4) as usize,
            (None, Some(table)) => gnu_hash_count(table),
            (None, None) => return None,
        };
        (1..count).map(|i| symbols + i * SYM).find_map(|symbol| {
            let defined = read::<u16>(symbol + 6) != 0;
            let text = strings + read::<u32>(symbol) as usize;
            let same = name
                .iter()
                .enumerate()
                .all(|(i, &c)| read::<u8>(text + i) == c)
                && read::<u8>(text + name.len()) == 0;
            (defined && same).then(|| bias.wrapping_add(read::<u64>(symbol + 8) as usize))
        })
    }
}

/// Number of symbols that a `DT_GNU_HASH` table covers.
///
/// # Safety
/// `table` is the address of a well-formed table.
unsafe fn gnu_hash_count(table: usize) -> usize {
    // SAFETY: the table is well-formed: four words, the filter, the buckets, the chains.
    unsafe {
        let buckets = read::<u32>(table) as usize;
        let first = read::<u32>(table + 4) as usize;
        let filter = read::<u32>(table + 8) as usize;
        let bucket = table + 16 + filter * 8;
        let chains = bucket + buckets * 4;
        let last = (0..buckets)
            .map(|i| read::<u32>(bucket + i * 4) as usize)
            .max()
            .unwrap_or(0);
        if last < first {
            return first;
        }
        (last..)
            .find(|i| read::<u32>(chains + (i - first) * 4) & 1 == 1)
            .map_or(first, |end| end + 1)
    }
}

/// The fallbacks: the same functions, as the system calls that they are named after.
macro_rules! fallback {
    ($name:ident, $number:expr, clock, $to:ident) => {
        unsafe extern "C" fn $name(clock: usize, $to: usize) -> isize {
            let clock = crate::route::ids::clock_in(clock);
            // SAFETY: the arguments are the caller's own, and mean what the call says.
            unsafe { syscall6($number as usize, clock, $to, 0, 0, 0, 0) }
        }
    };
    ($name:ident, $number:expr, $($arg:ident),+) => {
        unsafe extern "C" fn $name($($arg: usize),+) -> isize {
            let mut args = [0usize; 3];
            for (to, from) in args.iter_mut().zip([$($arg),+]) {
                *to = from;
            }
            // SAFETY: the arguments are the caller's own, and mean what the call says.
            unsafe { syscall6($number as usize, args[0], args[1], args[2], 0, 0, 0) }
        }
    };
}

fallback!(clock_gettime, libc::SYS_clock_gettime, clock, to);
fallback!(gettimeofday, libc::SYS_gettimeofday, to, zone);
fallback!(time, libc::SYS_time, to);
fallback!(getcpu, libc::SYS_getcpu, cpu, node, unused);
fallback!(clock_getres, libc::SYS_clock_getres, clock, to);

#[cfg(test)]
mod tests;
