//! MPICH's library: what it is called, and where it is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub use lh_loader::route::fronts::{NAMES as FRONTS, SLEEVES};

/// SONAMEs of MPICH, and of the libraries that have its ABI.
pub const SONAMES: [&str; 2] = ["libmpich.so.12", "libmpi.so.12"];
/// Where MPI libraries are, beside `LD_LIBRARY_PATH`.
const FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/usr/lib64",
    "/usr/lib64/mpich/lib",
    "/usr/lib",
];

/// The library, by the first of its names that is found in `LD_LIBRARY_PATH` or where libraries are.
pub fn find() -> Option<PathBuf> {
    find_along(&std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default())
}

/// The same with another `LD_LIBRARY_PATH` than this process's.
pub fn find_along(library_path: &OsStr) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(library_path)
        .filter(|p| !p.as_os_str().is_empty())
        .chain(FOLDERS.map(PathBuf::from))
        .collect();
    let real = |p: &PathBuf| p.is_file() && is_real(p);
    let found = |name: &&str| folders.iter().map(|f| f.join(name)).find(real);
    SONAMES.iter().find_map(found)
}

/// Does a program that needs a library of this SONAME need MPI?
pub fn needed_by(soname: &str) -> bool {
    // libmpi.so.40, libmpich.so.12, and those of the languages: libmpichfort.so.12, libmpi_cxx.so.40, …
    soname.starts_with("libmpi")
}

/// Whether a file is such a library, and not a front.
pub fn is_real(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let front = file.parent().is_some_and(|p| p.ends_with("fronts"));
    !front && FRONTS.iter().any(|s| name.starts_with(s))
}

/// What to say where it is not; `option` is how the library can be named.
pub fn missing(option: &str) -> String {
    format!(
        "no MPICH library was found (libmpich.so.12); install it (Debian: apt install libmpich12), or name it with {option}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fronts_are_no_libraries() {
        for (file, real) in [
            ("/usr/lib/libmpich.so.12.2.2", true),
            ("/opt/mpi/libmpi.so.12", true),
            ("/opt/splitproc/fronts/libmpi.so.12", false),
            ("/usr/lib/libmpi.so.40.30.4", true),
            ("/usr/lib/libmpi_mpifh.so.40", false),
        ] {
            assert_eq!(is_real(Path::new(file)), real, "{file}");
        }
    }

    #[test]
    fn the_library_is_searched_for_in_order() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("libmpi.so.12"), "").unwrap();
        let other = tmp.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let library = other.join("libmpich.so.12");
        std::fs::write(&library, "").unwrap();
        // A front is no library for a lower half.
        let fronts = tmp.path().join("fronts");
        std::fs::create_dir(&fronts).unwrap();
        std::fs::write(fronts.join("libmpich.so.12"), "").unwrap();
        let path = std::env::join_paths([&fronts, tmp.path(), &other]).unwrap();
        assert_eq!(find_along(&path), Some(library));
    }
}
