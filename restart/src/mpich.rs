//! What MPI libraries are called.

use std::path::Path;

pub use lh_loader::route::fronts::{NAMES as FRONTS, SLEEVES};

/// SONAMEs of MPICH, and of the libraries that have its ABI.
pub const SONAMES: [&str; 2] = ["libmpich.so.12", "libmpi.so.12"];

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
}
