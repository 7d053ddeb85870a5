//! Calls of one loaded library to another, by way of its global offset table: looked at, and led elsewhere.

use core::ffi::{c_int, c_void, CStr};
use core::mem::size_of;
use core::ops::Range;
use lh_loader::layout::{page_down, page_up};
use libc::{dl_phdr_info, Elf64_Phdr, Elf64_Rela, Elf64_Sym};

const DT_PLTRELSZ: usize = 2;
const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;
const DT_RELA: usize = 7;
const DT_RELASZ: usize = 8;
const DT_JMPREL: usize = 23;
const R_X86_64_GLOB_DAT: u64 = 6;
const R_X86_64_JUMP_SLOT: u64 = 7;

/// A loaded library's imports.
#[derive(Clone, Copy, Default)]
pub struct Imports {
    /// What to add to the file's addresses.
    bias: usize,
    strings: usize,
    symbols: usize,
    /// Two tables of relocations, each its address and length in bytes.
    tables: [[usize; 2]; 2],
    /// What is read-only once the library is bound.
    relro: [usize; 2],
}

/// Looks for the library that this address lies in.
struct Search {
    address: usize,
    found: Option<Imports>,
}

impl Imports {
    /// Those of the library that an address lies in.
    pub fn of(address: usize) -> Option<Imports> {
        let mut search = Search {
            address,
            found: None,
        };
        // SAFETY: `visit` has the callback's type and gets `search`.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
        search.found
    }

    /// From its program headers. None of the tables has to be there.
    ///
    /// # Safety
    /// They must be those of a library that is loaded at `bias` and bound.
    unsafe fn read(bias: usize, headers: &[Elf64_Phdr]) -> Imports {
        let mut it = Imports {
            bias,
            ..Imports::default()
        };
        for p in headers {
            let at = bias + p.p_vaddr as usize;
            match p.p_type {
                libc::PT_GNU_RELRO => it.relro = [at, at + p.p_memsz as usize],
                libc::PT_DYNAMIC => {
                    let n = p.p_memsz as usize / size_of::<[usize; 2]>();
                    // SAFETY: the segment is an array of tags and values.
                    let entries: &[[usize; 2]] =
                        unsafe { core::slice::from_raw_parts(at as *const _, n) };
                    for [tag, value] in entries {
                        match *tag {
                            DT_STRTAB => it.strings = *value,
                            DT_SYMTAB => it.symbols = *value,
                            DT_RELA => it.tables[0][0] = *value,
                            DT_RELASZ => it.tables[0][1] = *value,
                            DT_JMPREL => it.tables[1][0] = *value,
                            DT_PLTRELSZ => it.tables[1][1] = *value,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        it
    }

    /// Calls `f` with the place of each imported address and the symbol's name.
    fn each(&self, mut f: impl FnMut(*mut usize, &CStr)) {
        for [at, len] in self.tables {
            let n = len / size_of::<Elf64_Rela>();
            for i in 0..n {
                // SAFETY: glibc has made the addresses in the dynamic segment absolute; the tables are as long
                // as it says, and a symbol's name is a string of its table.
                unsafe {
                    let r = &*(at as *const Elf64_Rela).add(i);
                    if !matches!(
                        r.r_info as u32 as u64,
                        R_X86_64_GLOB_DAT | R_X86_64_JUMP_SLOT
                    ) {
                        continue;
                    }
                    let symbol =
                        &*(self.symbols as *const Elf64_Sym).add((r.r_info >> 32) as usize);
                    let name = (self.strings + symbol.st_name as usize) as *const _;
                    let place = (self.bias + r.r_offset as usize) as *mut usize;
                    f(place, CStr::from_ptr(name));
                }
            }
        }
    }

    /// Does the library import something of this name?
    pub fn has(&self, name: &CStr) -> bool {
        let mut found = false;
        self.each(|_, n| found |= n == name);
        found
    }

    /// Leads the library's calls of `name` to another function.
    ///
    /// # Safety
    /// The function must do what the other did, and no thread may be calling meanwhile.
    pub unsafe fn lead(&self, name: &CStr, to: usize) {
        self.each(|place, n| {
            if n != name {
                return;
            }
            let page = page_down(place as usize)..page_up(place as usize + size_of::<usize>());
            let closed = (page_down(self.relro[0])..page_down(self.relro[1])).contains(&page.start);
            // SAFETY: the place is the library's own, which it reads only; its page gets the rights that it had.
            unsafe {
                if closed {
                    protect(&page, libc::PROT_READ | libc::PROT_WRITE);
                }
                place.write(to);
                if closed {
                    protect(&page, libc::PROT_READ);
                }
            }
        });
    }
}

unsafe fn protect(page: &Range<usize>, rights: c_int) {
    // SAFETY: the caller's.
    unsafe { libc::mprotect(page.start as *mut c_void, page.len(), rights) };
}

unsafe extern "C" fn visit(info: *mut dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid entry, whose table has `dlpi_phnum` headers, and our own pointer.
    unsafe {
        let (info, search) = (&*info, &mut *search.cast::<Search>());
        let headers = core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize);
        let bias = info.dlpi_addr as usize;
        let inside = headers.iter().any(|p| {
            let start = bias + p.p_vaddr as usize;
            p.p_type == libc::PT_LOAD
                && (start..start + p.p_memsz as usize).contains(&search.address)
        });
        if !inside {
            return 0;
        }
        search.found = Some(Imports::read(bias, headers));
        1
    }
}
