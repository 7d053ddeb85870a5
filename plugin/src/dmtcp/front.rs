//! Which lower halves this process wants, and that no real MPI or CUDA library is loaded in the upper half.
//!
//! A preloaded library with the SONAME that the program needs keeps the real one out. DMTCP preloads one
//! library of ours; when `ld.so` has already loaded the real library, the process executes its program again with the
//! front preloaded as well. That happens before DMTCP has done anything, so that DMTCP starts as if for the first
//! time; and DMTCP gives the application its own `LD_PRELOAD`. What the program opens later is in `late`.

use super::{fail, launcher};
use lh_loader::lhinfo;
use lh_loader::route::fronts::CUDA_NAMES;
use restart::{half, libraries, mpich};
use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Halves that come by themselves to a program that is linked with their fronts.
const HALVES: [&str; 2] = ["mpi", "cuda"];
/// The fronts that there are, for each.
const NAMES: [&[&str]; 2] = [&mpich::FRONTS, &CUDA_NAMES];

/// The halves that the program came with: fronts may be loaded later, for others.
static LINKED: OnceLock<Vec<&str>> = OnceLock::new();

/// A lower half to load.
pub struct Half {
    /// Its name.
    pub name: CString,
    /// The library that it opens.
    pub library: CString,
}

/// The library in which a function of a libsplitproc.so is.
pub fn library(function: usize) -> PathBuf {
    // SAFETY: dladdr fills the structure for an address in a library; the name is a C string.
    let name = unsafe {
        let mut info: libc::Dl_info = core::mem::zeroed();
        if libc::dladdr(function as *const libc::c_void, &mut info) == 0 {
            fail("where is libsplitproc.so? Name it by its full path");
        }
        CStr::from_ptr(info.dli_fname)
    };
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    std::fs::canonicalize(path).unwrap_or_else(|_| path.into())
}

/// The folder of libsplitproc.so, where the other programs of splitproc are. Looked for once, at the program's start: it
/// may have been named by a path from there, and a restart may begin elsewhere.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let own = library(folder as *const () as usize);
        own.parent().unwrap_or(Path::new("/")).into()
    })
}

/// A program of splitproc's own.
pub fn part(name: &str) -> CString {
    let path = folder().join(name);
    if !path.is_file() {
        fail(&format!(
            "{} is not there: libsplitproc.so needs what it was built with beside it; name it where that is, by its full path",
            path.display()
        ));
    }
    CString::new(path.into_os_string().into_vec()).unwrap_or_default()
}

/// Libraries for which there are fronts.
#[derive(Default)]
struct Loaded {
    /// A front is loaded.
    front: bool,
    /// Real ones that are loaded.
    real: Vec<&'static str>,
}

/// The MPI and CUDA libraries that are loaded in the upper half.
fn loaded() -> [Loaded; 2] {
    let fronts = folder().join("fronts");
    let mut found: [Loaded; 2] = Default::default();
    each_library(&mut |path| {
        let is = |name: &&&str| path.file_name().is_some_and(|n| n == **name);
        for (found, names) in found.iter_mut().zip(NAMES) {
            match names.iter().find(is) {
                Some(_) if path.parent() == Some(&fronts) => found.front = true,
                Some(name) => found.real.push(name),
                None => {}
            }
        }
    });
    found
}

/// Which of the libraries of these names are loaded.
pub fn loaded_really(names: &[&'static str]) -> Vec<&'static str> {
    let mut found = Vec::new();
    each_library(&mut |path| {
        let is = |name: &&&str| path.file_name().is_some_and(|n| n == **name);
        found.extend(names.iter().find(is));
    });
    found
}

/// Calls `look` with the path of each library that is loaded.
fn each_library(mut look: &mut dyn FnMut(&Path)) {
    unsafe extern "C" fn entry(
        info: *mut libc::dl_phdr_info,
        _: usize,
        look: *mut libc::c_void,
    ) -> i32 {
        // SAFETY: ld.so passes an entry with a C string, and what was given to it below.
        unsafe {
            let look = &mut *look.cast::<&mut dyn FnMut(&Path)>();
            let name = (*info).dlpi_name;
            if !name.is_null() {
                let name = std::ffi::OsStr::from_bytes(CStr::from_ptr(name).to_bytes());
                look(Path::new(name));
            }
        }
        0
    }
    // SAFETY: `entry` gets the address of `look`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(entry), (&raw mut look).cast()) };
}

/// `SPLITPROC_LH`'s entries: the launcher's, or else the program's own.
fn asked() -> Vec<String> {
    let list = launcher::value("SPLITPROC_LH").or_else(|| std::env::var_os("SPLITPROC_LH"));
    let list = list.unwrap_or_default().to_string_lossy().into_owned();
    let entries = list.split(',').map(str::trim).filter(|e| !e.is_empty());
    entries.map(str::to_owned).collect()
}

/// Makes sure that the fronts are loaded where MPI or CUDA is wanted.
pub fn ensure() {
    let mut list = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    let fronts = folder().join("fronts");
    let fronts = fronts.as_os_str().as_bytes();
    let there = list.as_bytes().windows(fronts.len()).any(|w| w == fronts);
    let mut missing = false;
    // The functions of two ABIs have the same names: only those that the program needs.
    for found in loaded().into_iter().filter(|found| !found.front) {
        for name in found.real {
            missing = true;
            let front = part(&format!("fronts/{name}"));
            list.push(":");
            list.push(std::ffi::OsStr::from_bytes(front.to_bytes()));
        }
    }
    if missing && there {
        fail(&format!(
            "{} could not be preloaded: is it readable?",
            String::from_utf8_lossy(fronts)
        ));
    }
    if missing {
        execute_again(list);
    }
}

/// Replaces the process by a fresh one of its program, with this `LD_PRELOAD`.
fn execute_again(preload: OsString) -> ! {
    let text = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let argv: Vec<CString> = line.split(|b| *b == 0).map(text).collect();
    let preload = [b"LD_PRELOAD=", preload.as_bytes()].concat();
    let env: Vec<CString> = super::launcher::variables()
        .into_iter()
        .filter(|v| !v.to_bytes().starts_with(b"LD_PRELOAD="))
        .chain([text(&preload)])
        .collect();
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| "/proc/self/exe".into());
    let exe = text(exe.as_os_str().as_bytes());
    let pointers = |list: &[CString]| {
        let ends = [core::ptr::null()];
        let strings = list.iter().map(|s| s.as_ptr());
        strings.chain(ends).collect::<Vec<_>>()
    };
    let (argv, env) = (pointers(&argv), pointers(&env));
    // DMTCP's own execve would start the next program of a computation; this is still the first.
    // SAFETY: the vectors and their strings outlive the call.
    let failed = unsafe {
        lh_loader::arch::syscall6(
            libc::SYS_execve as usize,
            exe.as_ptr() as usize,
            argv.as_ptr() as usize,
            env.as_ptr() as usize,
            0,
            0,
            0,
        )
    };
    fail(&format!(
        "{exe:?} can't be executed again: error {}",
        -failed
    ))
}

/// The lower halves of this process.
pub fn halves() -> Vec<Half> {
    let mut wanted = asked();
    let linked = LINKED.get_or_init(|| {
        let found = HALVES.into_iter().zip(loaded());
        found.filter(|(_, f)| f.front).map(|(h, _)| h).collect()
    });
    for half in linked.iter().rev() {
        if !wanted.iter().any(|e| e == half) {
            wanted.insert(0, (*half).into());
        }
    }
    let most = lh_loader::layout::MAX_HALVES - 1;
    if wanted.len() > most {
        fail(&format!("SPLITPROC_LH: more than {most} lower halves"));
    }
    wanted.iter().map(|entry| half(entry)).collect()
}

/// A restart needs halves of the same names, whatever libraries they open.
pub fn same(halves: &[Half], saved: &[lhinfo::Half]) {
    let now: Vec<_> = halves.iter().map(|h| h.name.to_string_lossy()).collect();
    let text = |h: &lhinfo::Half| {
        String::from_utf8_lossy(&h.name)
            .trim_end_matches('\0')
            .to_owned()
    };
    let then: Vec<_> = saved.iter().map(text).collect();
    if now != then {
        fail(&format!(
            "the image has the lower halves {}, but SPLITPROC_LH names {}: name the same",
            then.join(","),
            now.join(",")
        ));
    }
}

fn half(entry: &str) -> Half {
    if entry == "mpi" {
        return Half {
            name: c"mpi".into(),
            library: mpi(),
        };
    }
    if entry == "cuda" {
        return Half {
            name: c"cuda".into(),
            library: cuda(),
        };
    }
    let (name, library) = half::parse(entry).unwrap_or_else(|why| {
        fail(&format!(
            "SPLITPROC_LH: {entry}: {why} (or just mpi, or cuda)"
        ))
    });
    let text = |s: String| CString::new(s).unwrap_or_default();
    Half {
        name: text(name),
        library: text(library),
    }
}

/// The CUDA device's driver: `SPLITPROC_CUDA`, or the GPU's where there is one.
fn cuda() -> CString {
    let wish = launcher::value("SPLITPROC_CUDA").unwrap_or_default();
    match wish.to_str() {
        Some("gpu") => c"libcuda.so.1".into(),
        Some("cpu") => part("libcuda_cpu.so"),
        Some("" | "auto") if Path::new("/dev/nvidiactl").exists() => c"libcuda.so.1".into(),
        Some("" | "auto") => part("libcuda_cpu.so"),
        _ => fail(&format!(
            "SPLITPROC_CUDA={}: say gpu, cpu or auto",
            wish.display()
        )),
    }
}

/// The MPI library: the launcher's `SPLITPROC_MPI`, or the one that goes with it.
fn mpi() -> CString {
    let named = launcher::value("SPLITPROC_MPI").filter(|p| !p.is_empty());
    let path = match named.map(PathBuf::from) {
        Some(path) if !path.is_file() => fail(&format!(
            "SPLITPROC_MPI={}: there is no such library; name an MPI library, like libmpich.so.12 or libmpi.so.40",
            path.display()
        )),
        Some(path) => path,
        None => {
            let path = launcher::value("LD_LIBRARY_PATH").unwrap_or_default();
            let found = libraries::fitting(launcher::which(), &path, "SPLITPROC_MPI=PATH");
            found.unwrap_or_else(|why| fail(&why))
        }
    };
    CString::new(path.into_os_string().into_vec()).unwrap_or_default()
}
