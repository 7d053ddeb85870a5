//! MPI libraries: what they are called, and where they are.

use crate::launcher::Launcher;
use crate::mpich;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Whose library it is, and so which launcher it goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// MPICH's, or one of those that have its ABI.
    Mpich,
    /// Open MPI's.
    OpenMpi,
    /// One of the standard's ABI; MPICH's launcher starts those that there are.
    Standard,
}

/// Programs that are parents of ranks.
const LAUNCHERS: [&str; 7] = [
    "hydra", "mpiexec", "mpirun", "orted", "orterun", "prted", "prterun",
];
/// Where libraries are, seen from where such a program is.
const BESIDE: [&str; 4] = [
    "lib",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu/openmpi/lib",
];
/// Where MPI libraries are else.
const FOLDERS: [&str; 9] = [
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/usr/lib64",
    "/usr/lib64/mpich/lib",
    "/usr/lib64/openmpi/lib",
    "/usr/lib/x86_64-linux-gnu/openmpi/lib",
    "/opt/openmpi/lib",
    "/usr/lib",
];

impl Family {
    /// SONAMEs.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Family::Mpich => &mpich::SONAMES,
            Family::OpenMpi => &["libmpi.so.40"],
            Family::Standard => &["libmpi_abi.so.1", "libmpi_abi.so.0"],
        }
    }

    /// The family of a library's file.
    pub fn of(file: &Path) -> Option<Family> {
        let name = file.file_name()?.to_str()?;
        let all = [Family::Mpich, Family::OpenMpi, Family::Standard];
        all.into_iter()
            .find(|f| f.names().iter().any(|n| name.starts_with(n)))
    }

    /// What to say where it is not; `option` is how a library can be named.
    pub fn missing(self, option: &str) -> String {
        let (whose, soname, package) = match self {
            Family::OpenMpi => ("Open MPI", "libmpi.so.40", "openmpi-bin"),
            Family::Mpich | Family::Standard => ("MPICH", "libmpich.so.12", "libmpich12"),
        };
        format!(
            "no {whose} library was found ({soname}); install it (Debian: apt install {package}), or name it with {option}"
        )
    }

    /// Its library: that of the launcher which started us, else the first in `path` or where libraries are.
    fn find_along(self, path: &OsStr, launcher: Option<PathBuf>) -> Option<PathBuf> {
        let root = launcher.as_deref().and_then(|l| l.parent()?.parent());
        let beside = BESIDE.iter().filter_map(|b| Some(root?.join(b)));
        let named = std::env::split_paths(path).filter(|p| !p.as_os_str().is_empty());
        let usual = named.chain(FOLDERS.map(PathBuf::from));
        self.find_in(&beside.collect::<Vec<_>>())
            .or_else(|| self.find_in(&usual.collect::<Vec<_>>()))
    }

    fn find_in(self, folders: &[PathBuf]) -> Option<PathBuf> {
        // A front that is found by its name is not the library.
        let real = |file: &PathBuf| {
            file.is_file() && !file.parent().is_some_and(|p| p.ends_with("fronts"))
        };
        let found = |name: &&str| folders.iter().map(|f| f.join(name)).find(real);
        self.names().iter().find_map(found)
    }
}

/// This process's `LD_LIBRARY_PATH`.
pub fn library_path() -> OsString {
    std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default()
}

/// The library for jobs of a launcher, or a program without one, that is found with this `LD_LIBRARY_PATH`.
///
/// # Errors
/// There is none; `option` is how it can be named.
pub fn fitting(launcher: Launcher, path: &OsStr, option: &str) -> Result<PathBuf, String> {
    // MPICH's launcher starts the libraries that there are of the standard's ABI.
    let families = match launcher {
        Launcher::OpenMpi => &[Family::OpenMpi][..],
        Launcher::Pmix => &[Family::OpenMpi, Family::Mpich, Family::Standard],
        Launcher::Mpich => &[Family::Mpich, Family::Standard],
        Launcher::None => &[Family::Mpich, Family::Standard, Family::OpenMpi],
    };
    let found = families.iter().find_map(|f| f.find_along(path, starter()));
    found.ok_or_else(|| families[0].missing(option))
}

/// The program that started this rank, among the processes that this one comes from.
fn starter() -> Option<PathBuf> {
    // Not by the own number: DMTCP tells a program another than the kernel's.
    let mut pid = "self".to_owned();
    for _ in 0..8 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:"))?;
        let parent: u32 = parent.trim().parse().ok().filter(|pid| *pid > 1)?;
        pid = parent.to_string();
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let name = exe.file_name().unwrap_or_default().to_string_lossy();
        if LAUNCHERS.iter().any(|l| name.starts_with(l)) {
            return Some(exe);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_searched_beside_its_launcher_first() {
        let tmp = tempfile::tempdir().unwrap();
        let file = |folder: &str, name: &str| {
            std::fs::create_dir_all(tmp.path().join(folder)).unwrap();
            std::fs::write(tmp.path().join(folder).join(name), "").unwrap();
            tmp.path().join(folder).join(name)
        };
        let named = file("named", "libmpi.so.40");
        let front = file("fronts", "libmpi.so.40");
        let beside = file("venv/lib", "libmpi.so.40");
        let path =
            std::env::join_paths([front.parent().unwrap(), named.parent().unwrap()]).unwrap();
        let launcher = Some(tmp.path().join("venv/bin/prterun"));
        assert_eq!(Family::OpenMpi.find_along(&path, launcher), Some(beside));
        assert_eq!(Family::OpenMpi.find_along(&path, None), Some(named));
        // Whatever it is called there.
        let beside = file("venv/lib", "libmpi.so.12");
        file("named", "libmpich.so.12");
        let launcher = Some(tmp.path().join("venv/bin/hydra_pmi_proxy"));
        assert_eq!(Family::Mpich.find_along(&path, launcher), Some(beside));
    }

    #[test]
    fn a_family_is_known_by_the_name() {
        for (file, family) in [
            ("/l/libmpi.so.40.30.4", Some(Family::OpenMpi)),
            ("/l/libmpi.so.12.2.2", Some(Family::Mpich)),
            ("libmpi_abi.so.0", Some(Family::Standard)),
            ("libmpi_cxx.so.40", None),
        ] {
            assert_eq!(Family::of(Path::new(file)), family, "{file}");
        }
    }
}
