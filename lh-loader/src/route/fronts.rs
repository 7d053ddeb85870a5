//! The application's MPI library is a front, whichever way `ld.so` comes to it: by the program's needs, a path of its
//! own or of a library's, or `dlopen`. `ld.so` opens the front in the place of any file of that name.
//!
//! Some functions of Open MPI's libraries of other languages look inside its objects, and the front `libmpi.so.40` has others for
//! those. They must stand first. So in the place of such a library `ld.so` opens a *sleeve*: a library without
//! functions that needs the front, and after it the real one, by its name with `SHIPPED` behind it.

use super::entry::Regs;
use crate::arch::syscall6;
use crate::die;
use crate::say::Text;
use core::cell::UnsafeCell;
use core::ffi::CStr;

/// SONAMEs of MPI libraries for which there are fronts.
pub const NAMES: [&str; 5] = [
    "libmpich.so.12",
    "libmpi.so.12",
    "libmpi.so.40",
    "libmpi_abi.so.1",
    "libmpi_abi.so.0",
];

/// SONAMEs of libraries that get a sleeve.
pub const SLEEVES: [&str; 2] = ["libmpi_mpifh.so.40", "libmpi_cxx.so.40"];
/// What a sleeve has behind the name of the real library.
pub const SHIPPED: &str = ".shipped";

/// Longest path of a front, with its end.
const LONGEST: usize = 1024;
type Path = [u8; LONGEST];

/// Paths as C strings.
struct Paths<const N: usize>(UnsafeCell<[Path; N]>);
// SAFETY: the fronts' are written once, by the only thread there is; the real libraries' while `ld.so`, which has a lock, opens
// their sleeves, and read while it goes on to what the sleeves need.
unsafe impl<const N: usize> Sync for Paths<N> {}
/// The fronts'; empty: the program has no MPI half, and loads what it likes.
static PATHS: Paths<{ NAMES.len() }> = Paths(UnsafeCell::new([[0; LONGEST]; NAMES.len()]));
static SLEEVE_PATHS: Paths<{ SLEEVES.len() }> =
    Paths(UnsafeCell::new([[0; LONGEST]; SLEEVES.len()]));
/// Those of the real libraries in whose place sleeves were opened.
static REAL: Paths<{ SLEEVES.len() }> = Paths(UnsafeCell::new([[0; LONGEST]; SLEEVES.len()]));

/// From now on the program gets the fronts in this folder.
///
/// # Safety
/// No other thread runs.
pub unsafe fn set_folder(folder: &CStr) {
    // SAFETY: the caller's.
    let (fronts, sleeves) = unsafe { (&mut *PATHS.0.get(), &mut *SLEEVE_PATHS.0.get()) };
    let paths = fronts.iter_mut().chain(sleeves);
    for (path, name) in paths.zip(NAMES.iter().chain(&SLEEVES)) {
        let mut text = Text::<LONGEST>::new();
        for part in [folder.to_bytes(), b"/", name.as_bytes(), b"\0"] {
            if text.raw(part).is_err() {
                die!(126, "{:?}: this path is too long", folder);
            }
        }
        path[..text.bytes().len()].copy_from_slice(text.bytes());
    }
}

/// The argument that is a path, of a call that opens a library as `ld.so` does.
fn argument(r: &Regs) -> Option<usize> {
    let (path, flags) = match r.rax as i64 {
        libc::SYS_openat => (r.rsi, r.rdx),
        libc::SYS_open => (r.rdi, r.rsi),
        _ => return None,
    };
    (flags as i32 == libc::O_RDONLY | libc::O_CLOEXEC).then_some(path)
}

/// The path of what to open in the place of what a call would open.
///
/// # Safety
/// The call's arguments are the program's.
pub unsafe fn instead(r: &Regs) -> Option<usize> {
    // SAFETY: written before the program runs.
    let paths = unsafe { &*PATHS.0.get() };
    let at = argument(r).filter(|at| paths[0][0] != 0 && *at >= crate::layout::PAGE)?;
    // SAFETY: the caller's.
    let path = unsafe { CStr::from_ptr(at as *const _) };
    let path = match meant(path.to_bytes())? {
        Meant::Front(i) => &paths[i],
        // SAFETY: written before the program runs.
        Meant::Sleeve(i) => unsafe {
            let whole = path.to_bytes_with_nul();
            if syscall6(
                libc::SYS_access as usize,
                at,
                libc::R_OK as usize,
                0,
                0,
                0,
                0,
            ) != 0
            {
                return None; // `ld.so` looks elsewhere
            }
            let real = &mut *REAL.0.get();
            real[i].get_mut(..whole.len())?.copy_from_slice(whole);
            &(*SLEEVE_PATHS.0.get())[i]
        },
        // SAFETY: as is said where it is.
        Meant::Shipped(i) => unsafe { &(*REAL.0.get())[i] },
    };
    Some(path.as_ptr() as usize)
}

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
enum Meant {
    Front(usize),
    Sleeve(usize),
    Shipped(usize),
}

fn meant(path: &[u8]) -> Option<Meant> {
    let base = path.rsplit(|b| *b == b'/').next()?;
    if !base.starts_with(b"libmpi") {
        return None;
    }
    let among = |names: &[&str], base: &[u8]| names.iter().position(|n| n.as_bytes() == base);
    let shipped = || among(&SLEEVES, base.strip_suffix(SHIPPED.as_bytes())?);
    (among(&NAMES, base).map(Meant::Front))
        .or_else(|| among(&SLEEVES, base).map(Meant::Sleeve))
        .or_else(|| shipped().map(Meant::Shipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_known_by_the_last_component() {
        assert_eq!(meant(b"/usr/lib/libmpi.so.40"), Some(Meant::Front(2)));
        assert_eq!(meant(b"libmpich.so.12"), Some(Meant::Front(0)));
        assert_eq!(meant(b"/x/libmpi_cxx.so.40"), Some(Meant::Sleeve(1)));
        let shipped = b"/x/libmpi_mpifh.so.40.shipped";
        assert_eq!(meant(shipped), Some(Meant::Shipped(0)));
        for other in [
            "/usr/lib/libmpi.so.40.30.4",
            "/x/libmpi.so.40/a",
            "libmpi.so",
            "libmpi.so.40.shipped",
            "",
        ] {
            assert_eq!(meant(other.as_bytes()), None, "{other}");
        }
    }
}
