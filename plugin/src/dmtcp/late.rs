//! MPI's and CUDA's libraries that the program opens itself: it gets fronts, as one that is linked with them does.
//!
//! What is opened by its name is replaced in `dlopen`. What an opened library needs `ld.so` looks for among the loaded ones
//! first, by SONAME. So all fronts are there before the program opens anything; each in a scope of its own, for
//! functions of different ABIs have the same names.

use super::fail;
use super::front::{folder, library, loaded_really, part};
use crate::symbols;
use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void};
use lh_loader::route::fronts::{CUDA_NAMES, NAMES, SLEEVES};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::OnceLock;

/// The fronts that the program gets, and the names in whose place.
static FRONTS: OnceLock<Vec<(&'static str, CString)>> = OnceLock::new();

/// From now on the program gets MPI's fronts, and CUDA's where it has that half, or could reach a GPU without.
pub fn init(cuda: bool) {
    let cuda = cuda || Path::new("/dev/nvidiactl").exists();
    let names = NAMES.iter().chain(CUDA_NAMES.iter().filter(|_| cuda));
    FRONTS.get_or_init(|| names.map(|n| (*n, part(&format!("fronts/{n}")))).collect());
}

/// MPI starts: Open MPI's libraries of other languages are only right behind the front, whose functions some of theirs must not
/// hide.
pub fn look_at_languages() {
    if FRONTS.get().is_none() {
        return;
    }
    let first = symbols::find(c"MPI_Init").map(library);
    let behind = first.is_some_and(|path| path.parent() == Some(folder()));
    if let Some(name) = loaded_really(&SLEEVES).first().filter(|_| !behind) {
        refuse(name);
    }
}

fn refuse(name: &str) -> ! {
    fail(&format!(
        "{name} was opened after the program's start: under DMTCP a program has to be linked with it, or be launched with \
         LD_PRELOAD={}",
        part("fronts/libmpi.so.40").to_string_lossy()
    ))
}

/// What a call of `dlopen` is to be.
#[repr(C)]
struct Call {
    file: *const c_char,
    function: usize,
}

type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

/// The library to open in the place of this one, and the function that does.
unsafe extern "C" fn instead(file: *const c_char) -> Call {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if NEXT.load(Ordering::Relaxed) == 0 {
        let found = symbols::next(c"dlopen").unwrap_or(0);
        NEXT.store(found, Ordering::Relaxed);
    }
    let function = NEXT.load(Ordering::Relaxed);
    let fronts = FRONTS.get().filter(|_| !file.is_null() && function != 0);
    let Some(fronts) = fronts else {
        return Call { file, function };
    };
    // SAFETY: the program gives a C string.
    let name = file_name(unsafe { CStr::from_ptr(file) });
    // libmpi.so.40.30.4 is libmpi.so.40.
    let is = |n: &str| {
        let rest = name.as_bytes().strip_prefix(n.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'.')
    };
    if let Some((_, front)) = fronts.iter().find(|(n, _)| is(n)) {
        let file = front.as_ptr();
        return Call { file, function };
    }
    if let Some(name) = SLEEVES.iter().find(|n| is(n)) {
        refuse(name);
    }
    // No lock, which a forked child might find taken: what two threads open is open once.
    static OPEN: AtomicBool = AtomicBool::new(false);
    if !OPEN.load(Ordering::Relaxed) {
        for (_, front) in fronts {
            // SAFETY: libc's or DMTCP's function has this type. What runs when the fronts are loaded (CUDA's, in
            // `plugin/cuda/front/src/plugin.rs`) takes no lock of the program's.
            unsafe {
                let open = core::mem::transmute::<usize, Open>(function);
                open(front.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
            }
        }
        OPEN.store(true, Ordering::Relaxed);
    }
    Call { file, function }
}

/// The last component of a library's name; that of what a path leads to.
fn file_name(file: &CStr) -> OsString {
    let path = Path::new(OsStr::from_bytes(file.to_bytes()));
    let real = path.parent().filter(|p| !p.as_os_str().is_empty());
    let real = real.and_then(|_| path.canonicalize().ok());
    let real = real.as_deref().unwrap_or(path);
    real.file_name().unwrap_or_default().to_owned()
}

/// libc's `dlopen`, which goes by the address that it returns to.
///
/// # Safety
/// As libc's.
#[unsafe(naked)]
#[no_mangle]
pub unsafe extern "C" fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        "push rsi",
        "call {instead}",
        "pop rsi",
        "mov rdi, rax",
        "jmp rdx",
        instead = sym instead,
    )
}
