//! A lower half for one library (MPI, or what `--half` names): opens it and lends threads to the upper half.
//!
//! This program has no TLS of its own (no Rust std in it): its `PT_TLS` slot is patched by the loader so
//! that the static TLS of everything loaded after it falls into the half's part of the hole. Its code runs
//! in three places: in `main`, on the half's main TCB; in donor threads; and on an *upper-half* thread whose
//! FS base is borrowed from the main TCB (`make_donor`, `retire_donor`, `dlopen`), under `main_lock`.
#![no_std]
#![no_main]

mod bias;
mod copiers;
mod dlopen;
mod donor;
mod got;
mod keys;
mod mutexes;
mod sys;
mod turn;

use core::ffi::{c_char, c_int, c_void, CStr};
use core::sync::atomic::{AtomicPtr, Ordering};
use lh_loader::elf::BuildIds;
use lh_loader::heap::Bump;
use lh_loader::lhinfo::{self, Half, HalfStart};
use lh_loader::{die, say};

// The loader's library brings a disassembler, which is never run here.
#[global_allocator]
static HEAP: Bump<1> = Bump::new();

// The slot: a PT_TLS header must exist for the loader to patch. `R` keeps it through --gc-sections.
core::arch::global_asm!(
    ".section .tbss.splitproc_slot,\"awTR\",@nobits",
    ".p2align 6",
    ".zero 64",
    ".text",
);

extern "C" {
    static stdout: *mut libc::FILE;
}

/// This half's entry in lhInfo.
static HALF: AtomicPtr<Half> = AtomicPtr::new(core::ptr::null_mut());

/// This half's entry in lhInfo.
fn half() -> *mut Half {
    HALF.load(Ordering::Relaxed)
}

/// This half's name.
fn name() -> &'static str {
    // SAFETY: the entry, once known, outlives this program; its name never changes.
    let name = unsafe { half().as_ref() }.map_or(&[][..], |h| &h.name[..]);
    core::str::from_utf8(name)
        .unwrap_or("?")
        .trim_end_matches('\0')
}

/// A variable's value.
///
/// # Safety
/// `envp` must be the program's environment vector.
unsafe fn variable(envp: *const *const c_char, name: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: the vector ends with a null pointer, its strings with a NUL.
    let mut vars = (0..)
        .map(|i| unsafe { *envp.add(i) })
        .take_while(|p| !p.is_null())
        .map(|p| unsafe { CStr::from_ptr(p) }.to_bytes());
    vars.find_map(|v| v.strip_prefix(name)?.strip_prefix(b"="))
}

/// What the loader handed over, by its address in the environment.
///
/// # Safety
/// `envp` must be the program's environment vector.
unsafe fn half_start(envp: *const *const c_char) -> *mut HalfStart {
    // SAFETY: the caller's.
    let value = unsafe { variable(envp, b"SPLITPROC_HALF") };
    let at = value.and_then(|hex| usize::from_str_radix(core::str::from_utf8(hex).ok()?, 16).ok());
    match at {
        Some(at) => at as *mut HalfStart,
        None => die!(126, "this is a lower half; use `splitproc launch`"),
    }
}

/// Looks a symbol up in the half's libraries.
unsafe fn look(name: &CStr) -> *mut c_void {
    // SAFETY: a C string; RTLD_DEFAULT searches what this half has opened.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// What the upper half calls: the adapter's functions go before those of the library that it adapts.
unsafe extern "C" fn lookup(name: *const c_char) -> *mut c_void {
    // SAFETY: the caller passes a C string.
    unsafe {
        let name = CStr::from_ptr(name);
        mpi_adapter::find(name).unwrap_or_else(|| look(name))
    }
}

/// Opens the library, publishes the entry points and gives control back to the loader.
#[no_mangle]
unsafe extern "C" fn main(
    _argc: c_int,
    _argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    // SAFETY: libc passes the environment; the loader's HalfStart lives as long as the process.
    let (start, half) = unsafe {
        if let Some(code) = variable(envp, say::FAIL_CODE) {
            say::set_fail_code(code);
        }
        let start = half_start(envp);
        (start, (*start).half)
    };
    HALF.store(half, Ordering::Relaxed);
    // SAFETY: the loader waits in `ready`'s place; nobody else writes this entry now.
    unsafe {
        (*half).main_fs = lh_loader::arch::fs_base();
        (*half).dlsym = lookup as *const () as usize;
        (*half).make_donor = donor::make as *const () as usize;
        (*half).retire_donor = donor::retire as *const () as usize;
        donor::begin();
        if (*half).shared_fs != 0 {
            if !keys::find_blocks() {
                let why = "its C library does not tell where it keeps thread-specific data";
                lhinfo::fall_back(half, why);
            }
            dlopen::begin();
        }
        // Else PMIx wants memory at an address outside the window, and gives up without it.
        libc::setenv(c"PMIX_MCA_gds".as_ptr(), c"hash".as_ptr(), 0);
        let lib = libc::getenv(c"SPLITPROC_LIBRARY".as_ptr());
        if !lib.is_null() && dlopen::real(lib, libc::RTLD_NOW | libc::RTLD_GLOBAL).is_null() {
            let why = CStr::from_ptr(libc::dlerror());
            die!(
                126,
                "lower half {:?}: its library can't be opened: {}; is it installed, and is LD_LIBRARY_PATH right?",
                name(),
                why.to_str().unwrap_or("?")
            );
        }
        if name() == "mpi" && !lib.is_null() {
            let path = CStr::from_ptr(lib).to_bytes();
            let abi = mpi_adapter::abi(path, look);
            mpi_adapter::begin(abi, look);
            if abi == mpi_adapter::Of::Canonical {
                let function = look(c"PMPI_Init") as usize;
                bias::begin(function);
                turn::begin(function);
            }
        }
        if name() == "cuda" && !lib.is_null() {
            // What kernels print must not stay in this half's C library, which no image has.
            libc::setvbuf(stdout, core::ptr::null_mut(), libc::_IOLBF, 0);
            copiers::begin(half);
        }
        (*half).libc = BuildIds::of_this_libc(libc::dl_iterate_phdr);
        if (*half).shared_fs != 0 && !dlopen::tls_fits() {
            let why = "its libraries' static TLS does not fit into its part of the TLS hole";
            lhinfo::fall_back(half, why);
        }
        ((*start).ready)(start)
    }
}

/// A panic is a defect of ours: say where, and stop.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    die!(134, "internal error in lower half {:?}: {}", name(), info)
}
