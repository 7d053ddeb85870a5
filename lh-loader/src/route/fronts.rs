//! The application's MPI and CUDA libraries are fronts, whichever way `ld.so` comes to it: by the program's needs, a path of its
//! own or of a library's, or `dlopen`. `ld.so` opens the front in the place of any file of that name.

use super::entry::Regs;
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

/// How many fronts there are.
const COUNT: usize = NAMES.len() + CUDA_NAMES.len();

/// Longest path of a front, with its end.
const LONGEST: usize = 1024;

/// The fronts' paths, as C strings; empty: the program has no half for it, and loads what it likes.
struct Paths(UnsafeCell<[[u8; LONGEST]; COUNT]>);
// SAFETY: written once, by the only thread there is.
unsafe impl Sync for Paths {}
static PATHS: Paths = Paths(UnsafeCell::new([[0; LONGEST]; COUNT]));

/// All SONAMEs, in the order of their paths.
fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(CUDA_NAMES)
}

/// From now on the program gets the fronts in this folder: MPI's, CUDA's.
///
/// # Safety
/// No other thread runs.
pub unsafe fn set_folder(folder: &CStr, mpi: bool, cuda: bool) {
    // SAFETY: the caller's.
    let paths = unsafe { &mut *PATHS.0.get() };
    for (i, (path, name)) in paths.iter_mut().zip(names()).enumerate() {
        if !(if i < NAMES.len() { mpi } else { cuda }) {
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

/// The path of the front to open in the place of what a call would open.
///
/// # Safety
/// The call's arguments are the program's.
pub unsafe fn instead(r: &Regs) -> Option<usize> {
    // SAFETY: written before the program runs.
    let paths = unsafe { &*PATHS.0.get() };
    let path = argument(r).filter(|at| *at >= crate::layout::PAGE)?;
    // SAFETY: the caller's.
    let i = front_for(unsafe { CStr::from_ptr(path as *const _) }.to_bytes())?;
    (paths[i][0] != 0).then_some(paths[i].as_ptr() as usize)
}

/// Which front a path means.
fn front_for(path: &[u8]) -> Option<usize> {
    let base = path.rsplit(|b| *b == b'/').next()?;
    names().position(|n| n.as_bytes() == base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_known_by_the_last_component() {
        assert_eq!(front_for(b"/usr/lib/libmpi.so.40"), Some(2));
        assert_eq!(front_for(b"libmpich.so.12"), Some(0));
        assert_eq!(front_for(b"/opt/libcuda.so.1"), Some(7));
        for other in [
            "/usr/lib/libmpi.so.40.30.4",
            "/x/libmpi.so.40/a",
            "libmpi.so",
            "",
        ] {
            assert_eq!(front_for(other.as_bytes()), None, "{other}");
        }
    }
}
