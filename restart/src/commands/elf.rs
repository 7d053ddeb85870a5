//! What must be known of an ELF file before it is run.

use goblin::container::Ctx;
use goblin::elf::dynamic::Dynamic;
use goblin::elf::header::{self, Header};
use goblin::elf::program_header::{ProgramHeader, PT_INTERP, PT_TLS};
use goblin::elf::section_header::{SectionHeader, SHT_SYMTAB};
use goblin::elf::sym::{Symtab, STT_TLS};
use goblin::strtab::Strtab;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// A 64-bit x86 program or library.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Elf {
    /// The dynamic loader that it asks for (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// Its thread-local storage, if it has any.
    pub tls: Option<Tls>,
    /// `DT_NEEDED`.
    pub needed: Vec<String>,
    /// It has device code of CUDA's.
    pub device_code: bool,
}

/// `PT_TLS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Length in memory.
    pub size: u64,
    /// Alignment, a power of two.
    pub align: u64,
    /// Address, of which only the remainder by the alignment matters.
    pub vaddr: u64,
}

/// A file mapped for reading: programs can be large, and little of them is looked at.
struct Mapped {
    ptr: *mut libc::c_void,
    len: usize,
}

impl Mapped {
    fn open(path: &Path) -> std::io::Result<Mapped> {
        let file = File::open(path)?;
        let len = file.metadata()?.len() as usize;
        if len == 0 {
            return Err(std::io::Error::other("it is empty"));
        }
        // SAFETY: a fresh private read-only mapping of a file that stays open during the call.
        let ptr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if ptr == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Mapped { ptr, len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has this length and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.ptr.cast(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: nothing borrows from the mapping any more.
        unsafe { libc::munmap(self.ptr, self.len) };
    }
}

/// Does a library export this symbol?
pub fn exports(path: &Path, name: &str) -> Result<bool, String> {
    let file = Mapped::open(path).map_err(|e| e.to_string())?;
    let elf = goblin::elf::Elf::parse(file.bytes()).map_err(|e| e.to_string())?;
    let here =
        |s: &goblin::elf::Sym| s.st_shndx != 0 && elf.dynstrtab.get_at(s.st_name) == Some(name);
    Ok(elf.dynsyms.iter().any(|s| here(&s)))
}

impl Elf {
    /// Reads a file; the error says what is wrong with it, after "it is" or "it has".
    pub fn read(path: &Path) -> Result<Elf, String> {
        let file = Mapped::open(path).map_err(|e| e.to_string())?;
        Elf::parse(file.bytes())
    }

    fn parse(bytes: &[u8]) -> Result<Elf, String> {
        let broken = |e: goblin::error::Error| format!("it is a damaged ELF file: {e}");
        if bytes.len() >= 5
            && bytes.starts_with(header::ELFMAG)
            && bytes[header::EI_CLASS] == header::ELFCLASS32
        {
            return Err("it is a 32-bit program: splitproc runs 64-bit ones".into());
        }
        let header = goblin::elf::Elf::parse_header(bytes).map_err(broken)?;
        if header.e_machine != header::EM_X86_64
            || header.e_ident[header::EI_DATA] != header::ELFDATA2LSB
        {
            let machine = header::machine_to_str(header.e_machine).trim_start_matches("EM_");
            return Err(format!(
                "it is a program for another processor ({machine}): splitproc runs x86-64 ones"
            ));
        }
        if header.e_type != header::ET_EXEC && header.e_type != header::ET_DYN {
            return Err("it is an object or core file, not a program".into());
        }
        let context = Ctx::new(
            header.container().map_err(broken)?,
            header.endianness().map_err(broken)?,
        );
        let headers = ProgramHeader::parse(
            bytes,
            header.e_phoff as usize,
            header.e_phnum as usize,
            context,
        )
        .map_err(broken)?;
        let find = |kind| headers.iter().find(|h| h.p_type == kind);
        let tls = find(PT_TLS).filter(|t| t.p_memsz > 0).map(|t| Tls {
            size: t.p_memsz,
            align: t.p_align.max(1),
            vaddr: t.p_vaddr,
        });
        let mut needed = Vec::new();
        if let Some(dynamic) = Dynamic::parse(bytes, &headers, context).map_err(broken)? {
            let strings =
                Strtab::parse(bytes, dynamic.info.strtab, dynamic.info.strsz, 0).map_err(broken)?;
            needed = dynamic
                .get_libraries(&strings)
                .into_iter()
                .map(str::to_owned)
                .collect();
        }
        let interpreter = find(PT_INTERP).map(|i| {
            let name = bytes.get(i.p_offset as usize..).unwrap_or_default();
            let end = name.iter().take(i.p_filesz as usize).position(|&b| b == 0);
            String::from_utf8_lossy(&name[..end.unwrap_or(0)]).into_owned()
        });
        Ok(Elf {
            interpreter,
            tls,
            needed,
            // Without section headers nothing is known.
            device_code: has_section(bytes, &header, DEVICE_CODE).unwrap_or(false),
        })
    }
}

/// Length of the hole in libsplitproc.so's thread-local storage.
pub const HOLE: u64 = 8192;
/// The thread-local symbol that it bears.
const HOLE_SYMBOL: &str = "splitproc_tls_hole";

/// libsplitproc.so's thread-local storage, and how far into it the hole begins.
pub fn plugin(path: &Path) -> Result<(Tls, u64), String> {
    let file = Mapped::open(path).map_err(|e| e.to_string())?;
    let bytes = file.bytes();
    let tls = Elf::parse(bytes)?
        .tls
        .ok_or("it has no thread-local storage")?;
    let at = hole_symbol(bytes).map_err(|e| e.to_string())?;
    match at {
        Some(at) if at + HOLE <= tls.size => Ok((tls, at)),
        Some(_) => Err("its hole is too small".into()),
        None => Err("its symbols do not say where its hole is: it must not be stripped".into()),
    }
}

/// Where nvcc and clang put fat binaries.
const DEVICE_CODE: &str = ".nv_fatbin";

/// The section headers.
fn sections(bytes: &[u8], header: &Header) -> goblin::error::Result<Vec<SectionHeader>> {
    let context = Ctx::new(header.container()?, header.endianness()?);
    let (at, count) = (header.e_shoff as usize, header.e_shnum as usize);
    SectionHeader::parse(bytes, at, count, context)
}

/// Is there a section of this name?
fn has_section(bytes: &[u8], header: &Header, name: &str) -> goblin::error::Result<bool> {
    let sections = sections(bytes, header)?;
    let Some(names) = sections.get(header.e_shstrndx as usize) else {
        return Ok(false);
    };
    let names = Strtab::parse(bytes, names.sh_offset as usize, names.sh_size as usize, 0)?;
    let mut all = sections.iter();
    Ok(all.any(|s| names.get_at(s.sh_name) == Some(name)))
}

/// The symbol's value: its distance from the start of the block. The symbol is hidden, so only the full
/// symbol table has it.
fn hole_symbol(bytes: &[u8]) -> goblin::error::Result<Option<u64>> {
    let header = goblin::elf::Elf::parse_header(bytes)?;
    let context = Ctx::new(header.container()?, header.endianness()?);
    let sections = sections(bytes, &header)?;
    let Some(table) = sections
        .iter()
        .find(|s| s.sh_type == SHT_SYMTAB && s.sh_entsize > 0)
    else {
        return Ok(None);
    };
    let Some(names) = sections.get(table.sh_link as usize) else {
        return Ok(None);
    };
    let names = Strtab::parse(bytes, names.sh_offset as usize, names.sh_size as usize, 0)?;
    let count = (table.sh_size / table.sh_entsize) as usize;
    let symbols = Symtab::parse(bytes, table.sh_offset as usize, count, context)?;
    let found = symbols
        .iter()
        .find(|s| s.st_type() == STT_TLS && names.get_at(s.st_name) == Some(HOLE_SYMBOL));
    Ok(found.map(|s| s.st_value))
}

/// Where the hole will be in every thread, as distances below FS: `[top, bottom]`, top < bottom.
/// `at` is its distance from the start of the plugin's block.
///
/// Offsets are handed out the way glibc's `_dl_determine_tlsoffset` does it: the program first, then
/// the preloaded libraries in order, of which libsplitproc.so is the first.
pub fn hole(program: Option<Tls>, plugin: Tls, at: u64) -> [u64; 2] {
    let round = |n: u64, align: u64| n.div_ceil(align) * align;
    let mut offset = 0;
    // The room that the program's alignment leaves above its block.
    let mut free = 0;
    if let Some(tls) = program {
        let first = tls.vaddr.wrapping_neg() & (tls.align - 1);
        offset = round(tls.size.saturating_sub(first), tls.align) + first;
        free = offset - tls.size;
    }
    let first = plugin.vaddr.wrapping_neg() & (plugin.align - 1);
    let place =
        |above: u64| round((above + plugin.size).saturating_sub(first), plugin.align) + first;
    let block = if place(0) <= free {
        place(0)
    } else {
        place(offset)
    };
    [block - at - HOLE, block - at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(size: u64, align: u64, vaddr: u64) -> Tls {
        Tls { size, align, vaddr }
    }

    #[test]
    fn the_hole_follows_the_programs_thread_local_storage() {
        let plugin = tls(8192 + 100, 64, 0x1000);
        assert_eq!(hole(None, plugin, 0), [8320 - 8192, 8320]);
        assert_eq!(
            hole(Some(tls(4, 4, 0x2004)), plugin, 0),
            [8320 - 8192, 8320]
        );
        assert_eq!(
            hole(Some(tls(100, 32, 0x40)), plugin, 0),
            [8448 - 8192, 8448]
        );
        assert_eq!(
            hole(Some(tls(100 << 10, 16, 0)), plugin, 0),
            [(100 << 10) + 8320 - 8192, (100 << 10) + 8320]
        );
    }

    #[test]
    fn the_hole_may_lie_behind_the_plugins_own_variables() {
        assert_eq!(hole(None, tls(8192 + 100, 64, 0x1000), 64), [64, 8320 - 64]);
    }

    #[test]
    fn the_hole_may_fall_into_room_that_alignment_left() {
        let plugin = tls(8192, 64, 0);
        assert_eq!(hole(Some(tls(64, 1 << 16, 0)), plugin, 0), [0, 8192]);
    }

    #[test]
    fn files_that_are_no_programs_are_named() {
        let me = Elf::read(&std::env::current_exe().unwrap()).unwrap();
        assert!(me.interpreter.is_some() && me.tls.is_some());
        assert!(
            me.needed.iter().any(|n| n == "libc.so.6"),
            "{:?}",
            me.needed
        );
        let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        bytes.truncate(1 << 16);
        bytes[header::EI_CLASS] = header::ELFCLASS32;
        assert!(Elf::parse(&bytes).unwrap_err().contains("32-bit"));
        bytes[header::EI_CLASS] = header::ELFCLASS64;
        bytes[18] = header::EM_AARCH64 as u8;
        assert!(Elf::parse(&bytes).unwrap_err().contains("AARCH64"));
        bytes[18] = header::EM_X86_64 as u8;
        bytes[16] = header::ET_REL as u8;
        assert!(Elf::parse(&bytes).unwrap_err().contains("object"));
        assert!(Elf::parse(&bytes[..40]).unwrap_err().contains("damaged"));
    }
}
