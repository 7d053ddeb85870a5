//! The application's MPI and CUDA libraries are fronts, whichever way `ld.so` comes to it: by the program's needs, a path of its
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

/// SONAMEs of CUDA's libraries for which there are fronts.
pub const CUDA_NAMES: [&str; 3] = ["libcudart.so.13", "libcudart.so.12", "libcuda.so.1"];

/// The library that CUDA's fronts need.
pub const CUDA: &str = "libsplitproc_cuda.so";

/// SONAMEs of libraries that get a sleeve.
pub const SLEEVES: [&str; 2] = ["libmpi_mpifh.so.40", "libmpi_cxx.so.40"];
/// What a sleeve has behind the name of the real library.
const SHIPPED: &[u8] = b".shipped";

/// How many fronts there are.
const FRONTS: usize = NAMES.len() + CUDA_NAMES.len() + 1;
const COUNT: usize = FRONTS + SLEEVES.len();

/// Longest path of a front, with its end.
const LONGEST: usize = 1024;

/// Paths as C strings.
struct Paths<const N: usize>(UnsafeCell<[[u8; LONGEST]; N]>);
// SAFETY: ours are written once, by the only thread there is; the real libraries' while `ld.so`, which has a lock, opens their
// sleeves, and read while it goes on to what the sleeves need.
unsafe impl<const N: usize> Sync for Paths<N> {}
/// Those of the fronts and sleeves; empty: the program has no half for it, and loads what it likes.
static PATHS: Paths<COUNT> = Paths(UnsafeCell::new([[0; LONGEST]; COUNT]));
/// Those of the libraries in whose place sleeves were opened.
static REAL: Paths<{ SLEEVES.len() }> = Paths(UnsafeCell::new([[0; LONGEST]; SLEEVES.len()]));

/// All SONAMEs, in the order of their paths.
fn names() -> impl Iterator<Item = &'static str> {
    let ours = NAMES.into_iter().chain(CUDA_NAMES).chain([CUDA]);
    ours.chain(SLEEVES)
}

/// From now on the program gets the fronts in this folder: MPI's, CUDA's.
///
/// # Safety
/// No other thread runs.
pub unsafe fn set_folder(folder: &CStr, mpi: bool, cuda: bool) {
    // SAFETY: the caller's.
    let paths = unsafe { &mut *PATHS.0.get() };
    for (i, (path, name)) in paths.iter_mut().zip(names()).enumerate() {
        let of_cuda = (NAMES.len()..FRONTS).contains(&i);
        if !(if of_cuda { cuda } else { mpi }) {
            continue;
        }
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
    let at = argument(r).filter(|at| *at >= crate::layout::PAGE)?;
    // SAFETY: the caller's.
    let whole = unsafe { CStr::from_ptr(at as *const _) }.to_bytes_with_nul();
    let meant = meant(&whole[..whole.len() - 1])?;
    // SAFETY: as is said where they are.
    let (ours, real) = unsafe { (&*PATHS.0.get(), &mut *REAL.0.get()) };
    let path = match meant {
        Meant::Ours(i) if ours[i][0] == 0 => return None,
        Meant::Ours(i) => {
            if let Some(sleeve) = i.checked_sub(FRONTS) {
                // SAFETY: `access` reads the path. Where there is no such library `ld.so` looks elsewhere.
                let found = unsafe { syscall6(libc::SYS_access as usize, at, 0, 0, 0, 0, 0) };
                let kept = real[sleeve].get_mut(..whole.len()).filter(|_| found == 0)?;
                kept.copy_from_slice(whole);
            }
            &ours[i]
        }
        Meant::Shipped(i) => &real[i],
    };
    Some(path.as_ptr() as usize)
}

/// What a path means: one of ours, or the library of a sleeve.
#[derive(Debug, PartialEq, Eq)]
enum Meant {
    Ours(usize),
    Shipped(usize),
}

fn meant(path: &[u8]) -> Option<Meant> {
    let base = path.rsplit(|b| *b == b'/').next()?;
    let number = |base: &[u8]| names().position(|n| n.as_bytes() == base);
    match base.strip_suffix(SHIPPED) {
        Some(sleeve) => number(sleeve)?.checked_sub(FRONTS).map(Meant::Shipped),
        None => number(base).map(Meant::Ours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_known_by_the_last_component() {
        assert_eq!(meant(b"/usr/lib/libmpi.so.40"), Some(Meant::Ours(2)));
        assert_eq!(meant(b"libmpich.so.12"), Some(Meant::Ours(0)));
        assert_eq!(meant(b"/opt/libcuda.so.1"), Some(Meant::Ours(7)));
        assert_eq!(meant(b"/x/libsplitproc_cuda.so"), Some(Meant::Ours(8)));
        assert_eq!(meant(b"/x/libmpi_cxx.so.40"), Some(Meant::Ours(10)));
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
