//! Maps an ELF program or `ld.so` into a window, as the kernel's `execve` would.

use crate::arch::syscall6;
use crate::layout::{page_down, page_up, Owner, PAGE};
use crate::route::segment;
use crate::window;
use core::ffi::{c_int, c_void, CStr};
use libc::{Elf64_Ehdr, Elf64_Phdr};

/// Most program headers that are accepted.
pub const MAX_PHDRS: usize = 64;

/// A mapped program.
pub struct Image {
    /// What to add to the file's addresses; AT_BASE for an interpreter.
    pub bias: usize,
    /// Where to start: AT_ENTRY.
    pub entry: usize,
    /// Address of the program headers in memory: AT_PHDR.
    pub phdrs: usize,
    /// Number of program headers: AT_PHNUM.
    pub phnum: usize,
    /// PT_INTERP's path, NUL terminated; empty for none.
    pub interp: [u8; 256],
    /// It wants a stack that code may run on (PT_GNU_STACK).
    pub executable_stack: bool,
}

/// A change to PT_TLS made in memory before `ld.so` reads it, so that the half's static TLS begins
/// this many bytes below FS (see DESIGN.md, shared FS).
#[derive(Clone, Copy)]
pub struct TlsSlot(pub usize);

/// Length of a GNU build-id.
const BUILD_ID: usize = 20;

/// The build-ids of a half's `libc.so.6` and `ld.so`: which build of glibc it runs. Zeroes where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildIds {
    libc: [u8; BUILD_ID],
    ld_so: [u8; BUILD_ID],
}

type Iterate = unsafe extern "C" fn(
    Option<unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int>,
    *mut c_void,
) -> c_int;

impl BuildIds {
    /// Reads them where they are loaded; `iterate` is the half's own `dl_iterate_phdr`.
    pub fn of_this_libc(iterate: Iterate) -> BuildIds {
        let mut found = BuildIds::default();
        // SAFETY: `visit` has the callback's type and gets `found`.
        unsafe { iterate(Some(visit), (&raw mut found).cast()) };
        found
    }

    /// Whether both are known and the same: only then may two halves share the structures of a thread.
    pub fn same(self, other: BuildIds) -> bool {
        self == other && self.libc != [0; BUILD_ID] && self.ld_so != [0; BUILD_ID]
    }
}

/// Takes the build-id of one loaded object, if it is one of the two.
unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid entry, and our own pointer.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<BuildIds>()) };
    if info.dlpi_name.is_null() {
        return 0;
    }
    // SAFETY: a NUL-terminated name.
    let path = unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes();
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    let to = match name {
        b"libc.so.6" => &mut found.libc,
        b"ld-linux-x86-64.so.2" => &mut found.ld_so,
        _ => return 0,
    };
    for i in 0..info.dlpi_phnum as usize {
        // SAFETY: the table has `dlpi_phnum` headers, and the notes that they name are mapped.
        let notes = unsafe {
            let p = &*info.dlpi_phdr.add(i);
            if p.p_type != libc::PT_NOTE {
                continue;
            }
            let at = info.dlpi_addr as usize + p.p_vaddr as usize;
            core::slice::from_raw_parts(at as *const u8, p.p_memsz as usize)
        };
        if let Some(id) = build_id(notes) {
            *to = id;
        }
    }
    0
}

/// The GNU build-id in an ELF file's notes.
fn build_id(mut notes: &[u8]) -> Option<[u8; BUILD_ID]> {
    const NT_GNU_BUILD_ID: usize = 3;
    let word = |b: &[u8], i: usize| -> Option<usize> {
        Some(u32::from_le_bytes(b.get(i..i + 4)?.try_into().ok()?) as usize)
    };
    loop {
        let (name, len, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let at = 12 + name.next_multiple_of(4);
        let body = notes.get(at..at + len)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
            return body.try_into().ok();
        }
        notes = notes.get(at + len.next_multiple_of(4)..)?;
    }
}

/// Why a program can't be mapped.
#[derive(Clone, Copy, Debug)]
pub enum Error {
    /// A system call failed with this errno.
    Os(&'static str, isize),
    /// Not an x86-64 ELF program that we can load.
    Format(&'static str),
}

/// An open file that closes itself.
pub struct File(usize);

impl File {
    /// Opens it for reading.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &CStr) -> Result<File, Error> {
        // SAFETY: `path` is NUL terminated.
        unsafe { File::open_at(libc::AT_FDCWD as usize, path.as_ptr() as usize) }
    }

    /// Opens a path that begins at a folder's descriptor.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// # Safety
    /// `path` is the address of a string.
    pub unsafe fn open_at(folder: usize, path: usize) -> Result<File, Error> {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        // SAFETY: the caller's.
        let fd = unsafe { syscall6(libc::SYS_openat as usize, folder, path, flags, 0, 0, 0) };
        if fd < 0 {
            return Err(Error::Os("open", -fd));
        }
        Ok(File(fd as usize))
    }

    /// Reads what there is of the file's beginning.
    pub fn start(&self, to: &mut [u8]) {
        let (nr, at) = (libc::SYS_pread64 as usize, to.as_mut_ptr() as usize);
        // SAFETY: `to` is writable for its length. What can't be read stays as it is.
        unsafe { syscall6(nr, self.0, at, to.len(), 0, 0, 0) };
    }

    /// Its descriptor.
    pub fn number(&self) -> i32 {
        self.0 as i32
    }

    fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), Error> {
        // SAFETY: `to` is writable for its length.
        let n = unsafe {
            syscall6(
                libc::SYS_pread64 as usize,
                self.0,
                to.as_mut_ptr() as usize,
                to.len(),
                offset,
                0,
                0,
            )
        };
        if n == to.len() as isize {
            Ok(())
        } else {
            Err(Error::Format("the file is truncated"))
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        unsafe { syscall6(libc::SYS_close as usize, self.0, 0, 0, 0, 0, 0) };
    }
}

/// `mmap` that reports errors.
///
/// # Safety
/// As mmap with MAP_FIXED.
pub unsafe fn map(
    addr: usize,
    len: usize,
    prot: i32,
    flags: i32,
    fd: isize,
    offset: usize,
) -> Result<usize, Error> {
    // SAFETY: passed on to the caller.
    let got = unsafe {
        syscall6(
            libc::SYS_mmap as usize,
            addr,
            len,
            prot as usize,
            flags as usize,
            fd as usize,
            offset,
        )
    };
    if got < 0 && got > -4096 {
        return Err(Error::Os("mmap", -got));
    }
    Ok(got as usize)
}

/// Room for the program headers that are accepted.
type RawHeaders = [u8; MAX_PHDRS * size_of::<Elf64_Phdr>()];

/// The file's header and the bytes of its program headers.
fn headers(file: &File) -> Result<(Elf64_Ehdr, RawHeaders), Error> {
    let mut head = [0u8; size_of::<Elf64_Ehdr>()];
    file.read(0, &mut head)?;
    // SAFETY: Elf64_Ehdr is plain data and `head` has its size.
    let ehdr: Elf64_Ehdr = unsafe { core::ptr::read_unaligned(head.as_ptr().cast()) };
    if ehdr.e_ident[..5] != [0x7f, b'E', b'L', b'F', 2] || ehdr.e_machine != libc::EM_X86_64 {
        return Err(Error::Format("not a 64-bit x86-64 ELF file"));
    }
    let phnum = ehdr.e_phnum as usize;
    if phnum > MAX_PHDRS || ehdr.e_phentsize as usize != size_of::<Elf64_Phdr>() {
        return Err(Error::Format("odd program headers"));
    }
    let mut raw = [0u8; MAX_PHDRS * size_of::<Elf64_Phdr>()];
    file.read(
        ehdr.e_phoff as usize,
        &mut raw[..phnum * size_of::<Elf64_Phdr>()],
    )?;
    Ok((ehdr, raw))
}

/// Maps a static program at its own addresses, as it is, and gives its entry: the loader itself, in a
/// process that already runs.
///
/// # Errors
/// The file can't be read or mapped.
///
/// # Safety
/// Nothing that is still used may be mapped at the program's addresses.
pub unsafe fn load_static(path: &CStr) -> Result<usize, Error> {
    let file = File::open(path)?;
    let (ehdr, raw) = headers(&file)?;
    for i in 0..ehdr.e_phnum as usize {
        // SAFETY: `raw` holds `e_phnum` headers, plain data.
        let p = unsafe { core::ptr::read_unaligned(raw.as_ptr().cast::<Elf64_Phdr>().add(i)) };
        if p.p_type == libc::PT_LOAD {
            // SAFETY: the caller's.
            unsafe { map_segment(&file, &p, 0)? };
        }
    }
    Ok(ehdr.e_entry as usize)
}

/// Maps the program at `path` into `owner`'s window (a non-PIE program at its own addresses).
///
/// # Errors
/// The file can't be read or mapped, or is not a dynamically linkable x86-64 program.
pub fn load(path: &CStr, owner: Owner, tls: Option<TlsSlot>) -> Result<Image, Error> {
    let file = File::open(path)?;
    let (ehdr, raw) = headers(&file)?;
    let phnum = ehdr.e_phnum as usize;
    let raw = &raw[..phnum * size_of::<Elf64_Phdr>()];
    let phdr = |i: usize| -> Elf64_Phdr {
        // SAFETY: `raw` holds `phnum` headers, plain data.
        unsafe { core::ptr::read_unaligned(raw.as_ptr().cast::<Elf64_Phdr>().add(i)) }
    };
    let loads = || (0..phnum).map(phdr).filter(|p| p.p_type == libc::PT_LOAD);
    let lo = loads().map(|p| page_down(p.p_vaddr as usize)).min();
    let hi = loads()
        .map(|p| page_up((p.p_vaddr + p.p_memsz) as usize))
        .max();
    let (Some(lo), Some(hi)) = (lo, hi) else {
        return Err(Error::Format("no loadable segments"));
    };

    // Reserve the whole span first, so that the segments keep their distances.
    let fixed = ehdr.e_type == libc::ET_EXEC;
    let reserve = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let align = loads()
        .map(|p| p.p_align as usize)
        .max()
        .unwrap_or(PAGE)
        .max(PAGE);
    let base = if fixed {
        // SAFETY: NOREPLACE refuses to cover anything.
        unsafe {
            map(
                lo,
                hi - lo,
                libc::PROT_NONE,
                reserve | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )?
        }
    } else {
        let room =
            window::reserve(owner, hi - lo + align - PAGE).map_err(|e| Error::Os("mmap", e))?;
        (room + align - 1) & !(align - 1)
    };
    let bias = base.wrapping_sub(lo);

    let mut phdrs = 0;
    for p in loads() {
        // SAFETY: every segment lies in the span reserved above.
        unsafe { map_segment(&file, &p, bias)? };
        let (off, size) = (p.p_offset as usize, p.p_filesz as usize);
        let table = ehdr.e_phoff as usize;
        if table >= off && table + raw.len() <= off + size {
            phdrs = bias.wrapping_add(p.p_vaddr as usize) + table - off;
        }
    }
    if let Some(slot) = tls {
        // SAFETY: the headers were just mapped, privately.
        unsafe { patch_tls(phdrs, phnum, slot)? };
    }
    let on_stack = |p: &Elf64_Phdr| p.p_type == libc::PT_GNU_STACK && p.p_flags & libc::PF_X != 0;
    let executable_stack = (0..phnum).map(phdr).any(|p| on_stack(&p));
    for p in loads().filter(|p| p.p_flags & libc::PF_X != 0) {
        let at = page_down(bias.wrapping_add(p.p_vaddr as usize));
        let off = page_down(p.p_offset as usize);
        let len = p.p_filesz as usize + (p.p_vaddr as usize & (PAGE - 1));
        let prot = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: the segment is mapped and nothing runs in it yet.
        unsafe { segment::map_exec(at, len, file.0 as i32, off as u64, owner, prot) };
    }

    let interp = asked(&file, (0..phnum).map(phdr))?;
    Ok(Image {
        bias,
        entry: bias.wrapping_add(ehdr.e_entry as usize),
        phdrs,
        phnum,
        interp,
        executable_stack,
    })
}

/// The `ld.so` that a program asks for.
type Interpreter = [u8; 256];

/// The path of the `ld.so` that an x86-64 program asks for, NUL terminated; empty for none.
///
/// # Errors
/// The file can't be read, or is not such a program.
pub fn interpreter(file: &File) -> Result<Interpreter, Error> {
    let (ehdr, raw) = headers(file)?;
    // SAFETY: `raw` holds `e_phnum` headers, plain data.
    let phdr = |i| unsafe { core::ptr::read_unaligned(raw.as_ptr().cast::<Elf64_Phdr>().add(i)) };
    asked(file, (0..ehdr.e_phnum as usize).map(phdr))
}

/// The path that PT_INTERP names.
fn asked(file: &File, mut headers: impl Iterator<Item = Elf64_Phdr>) -> Result<Interpreter, Error> {
    let mut interp = [0u8; 256];
    if let Some(p) = headers.find(|p| p.p_type == libc::PT_INTERP) {
        let n = p.p_filesz as usize;
        if n >= interp.len() {
            return Err(Error::Format("PT_INTERP is too long"));
        }
        file.read(p.p_offset as usize, &mut interp[..n])?;
    }
    Ok(interp)
}

/// Maps one PT_LOAD: the file's part, the zeroed rest of its last page, and anonymous pages beyond.
///
/// # Safety
/// The segment's span must be reserved for it.
unsafe fn map_segment(file: &File, p: &Elf64_Phdr, bias: usize) -> Result<(), Error> {
    let mut prot = 0;
    for (flag, bit) in [
        (libc::PF_R, libc::PROT_READ),
        (libc::PF_W, libc::PROT_WRITE),
        (libc::PF_X, libc::PROT_EXEC),
    ] {
        if p.p_flags & flag != 0 {
            prot |= bit;
        }
    }
    let start = bias.wrapping_add(p.p_vaddr as usize);
    let file_end = start + p.p_filesz as usize;
    let mem_end = start + p.p_memsz as usize;
    let from = page_down(start);
    let fixed = libc::MAP_PRIVATE | libc::MAP_FIXED;
    if p.p_filesz > 0 {
        let offset = page_down(p.p_offset as usize);
        // SAFETY: inside the reserved span.
        unsafe { map(from, file_end - from, prot, fixed, file.0 as isize, offset)? };
    }
    let anon_from = if p.p_filesz > 0 {
        page_up(file_end)
    } else {
        from
    };
    if page_up(mem_end) > anon_from {
        let anon = fixed | libc::MAP_ANONYMOUS;
        // SAFETY: inside the reserved span.
        unsafe { map(anon_from, page_up(mem_end) - anon_from, prot, anon, -1, 0)? };
    }
    if mem_end > file_end && p.p_flags & libc::PF_W != 0 && p.p_filesz > 0 {
        // SAFETY: the tail of the last file page is mapped writable by this segment.
        unsafe { core::ptr::write_bytes(file_end as *mut u8, 0, page_up(file_end) - file_end) };
    }
    Ok(())
}

/// Gives the program a PT_TLS that fills everything above its half's part of the hole.
///
/// # Safety
/// `phdrs` must be the address of `phnum` mapped headers that only this process sees.
unsafe fn patch_tls(phdrs: usize, phnum: usize, slot: TlsSlot) -> Result<(), Error> {
    // SAFETY: the caller says that the table is there.
    let table = unsafe { core::slice::from_raw_parts_mut(phdrs as *mut Elf64_Phdr, phnum) };
    let Some(tls) = table.iter().position(|p| p.p_type == libc::PT_TLS) else {
        return Err(Error::Format("the lower half's program has no PT_TLS slot"));
    };
    let page = page_down(phdrs);
    let len = page_up(phdrs + size_of_val(table)) - page;
    let protect = |prot: i32| {
        // SAFETY: the page belongs to the program just mapped; nothing runs in it yet.
        unsafe {
            syscall6(
                libc::SYS_mprotect as usize,
                page,
                len,
                prot as usize,
                0,
                0,
                0,
            )
        }
    };
    protect(libc::PROT_READ | libc::PROT_WRITE);
    table[tls].p_filesz = 0;
    table[tls].p_memsz = slot.0 as u64;
    table[tls].p_vaddr &= !63;
    table[tls].p_align = 64;
    protect(libc::PROT_READ);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One note, as a linker writes it.
    fn note(kind: u32, name: &[u8], body: &[u8]) -> Vec<u8> {
        let mut n = Vec::new();
        for word in [name.len() as u32, body.len() as u32, kind] {
            n.extend(word.to_le_bytes());
        }
        for part in [name, body] {
            n.extend(part);
            n.resize(n.len().next_multiple_of(4), 0);
        }
        n
    }

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        let id: Vec<u8> = (1..=20).collect();
        let notes = [note(1, b"GNU\0", b"12345"), note(3, b"GNU\0", &id)].concat();
        assert_eq!(build_id(&notes).as_ref().map(|i| &i[..]), Some(&id[..]));
        assert_eq!(build_id(&note(3, b"XYZ\0", &id)), None);
        assert_eq!(build_id(&notes[..notes.len() - 1]), None);
        assert_eq!(build_id(&[]), None);
    }

    #[test]
    fn only_the_same_known_build_is_the_same() {
        let own = BuildIds::of_this_libc(libc::dl_iterate_phdr);
        assert!(own.same(BuildIds::of_this_libc(libc::dl_iterate_phdr)));
        let mut other = own;
        other.ld_so[0] ^= 1;
        assert!(!own.same(other));
        assert!(!BuildIds::default().same(BuildIds::default()));
    }
}
