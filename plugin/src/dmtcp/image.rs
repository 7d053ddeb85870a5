//! DMTCP's image of this process: what is left out of it, and how a rank's is found again.

use super::{fail, front, kin, launcher};
use crate::symbols;
use core::ffi::{c_char, c_int};
use dmtcp_glue::abi::Area;
use lh_loader::layout::{self, owner, Owner};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The function by which DMTCP asks a plugin what it leaves out.
type Skips = unsafe extern "C" fn(*mut Area) -> c_int;
const SKIPS: &CStr = c"dmtcp_skip_memory_region_ckpting";
/// That of the plugin after this one; 0: none has it.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Looks the function up before threads are stopped.
pub fn init() {
    NEXT.store(symbols::next(SKIPS).unwrap_or(0), Ordering::Relaxed);
}

/// Ends a program whose image would have the lower halves in it: DMTCP asks another plugin, which does not ask this one.
pub fn is_asked() {
    let ours = front::library(init as *const () as usize);
    let Some(first) = symbols::find(SKIPS).filter(|first| front::library(*first) != ours) else {
        return;
    };
    // SAFETY: an area is plain data; the function has this type, and looks at the area's addresses.
    let skipped = unsafe {
        let mut area: Area = core::mem::zeroed();
        (area.start, area.end) = (
            layout::LOWER_BASE as u64,
            (layout::LOWER_BASE + layout::PAGE) as u64,
        );
        core::mem::transmute::<usize, Skips>(first)(&mut area)
    };
    if skipped == 0 {
        fail(&format!(
            "{} has a function of the same name, {}, and does not call the next one: the lower halves would be saved; name \
             libsplitproc.so before it in --with-plugin",
            front::library(first).display(),
            SKIPS.to_string_lossy()
        ))
    }
}

/// DMTCP asks for each region that it is about to save, and for shared ones whose files it would save: the lower
/// halves, the loader and device memory are left out.
///
/// # Safety
/// `area` must be DMTCP's.
#[no_mangle]
pub unsafe extern "C" fn dmtcp_skip_memory_region_ckpting(area: *mut Area) -> c_int {
    // SAFETY: as the caller says.
    let start = unsafe { (*area).start } as usize;
    if matches!(
        owner(start),
        Owner::Lower(_) | Owner::Loader | Owner::Device
    ) {
        return 1;
    }
    match NEXT.load(Ordering::Relaxed) {
        0 => 0,
        // SAFETY: it has this type, and the area is DMTCP's.
        next => unsafe { core::mem::transmute::<usize, Skips>(next)(area) },
    }
}

/// The name of the image that is about to be written.
fn file() -> Option<&'static Path> {
    let get = symbols::find(c"dmtcp_get_ckpt_filename")?;
    // SAFETY: the function has this type; the string is DMTCP's and stays until the next checkpoint.
    unsafe {
        let name = core::mem::transmute::<usize, extern "C" fn() -> *const c_char>(get)();
        (!name.is_null()).then(|| Path::new(OsStr::from_bytes(CStr::from_ptr(name).to_bytes())))
    }
}

/// The rank, and the size of the job: as MPI says, or the launcher, whose variables the children of a rank (not `main`)
/// may have too.
fn job(main: bool) -> Option<(u32, u32)> {
    let launcher = || match main {
        true => launcher::rank_and_size(),
        false => launcher::rank_and_size_of(&launcher::variables()),
    };
    kin::rank_and_size().or_else(launcher)
}

/// The number of the checkpoint.
fn generation() -> u32 {
    let get = symbols::find(c"dmtcp_get_generation");
    // SAFETY: the function has this type.
    get.map_or(0, |get| unsafe {
        core::mem::transmute::<usize, extern "C" fn() -> u32>(get)()
    })
}

/// Makes a link to the image beside it.
fn link(folder: &Path, image: &OsStr, name: &str) {
    let (link, new) = (folder.join(name), folder.join(format!(".{name}")));
    let _ = std::fs::remove_file(&new);
    let made = std::os::unix::fs::symlink(image, &new).and_then(|()| std::fs::rename(&new, &link));
    if let Err(why) = made {
        eprintln!("splitproc: {}: {why}", link.display());
    }
}

/// DMTCP names images by process ids. A rank's (`main`) gets a link, by which `splitproc dmtcp-restart` finds it. A
/// rank's and its children's get links that say which belong together: they must all be there at a restart.
pub fn name_by_rank(main: bool) {
    let main = main && !kin::child();
    let (Some((rank, size)), Some(image)) = (job(main), file()) else {
        return;
    };
    let (Some(name), Some(folder)) = (image.file_name(), image.parent()) else {
        return;
    };
    // DMTCP makes the folder later, but not the one that it is in.
    let _ = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    let generation = generation();
    let together = format!(
        "rank-{rank}-of-{size}.{generation}.{}",
        name.to_string_lossy()
    );
    link(folder, name, &together);
    if main {
        link(folder, name, &format!("rank-{rank}-of-{size}.dmtcp"));
    }
}

/// The images are complete: links to a rank's earlier ones go away.
pub fn forget_earlier() {
    if kin::child() {
        return;
    }
    let (Some((rank, size)), Some(folder)) = (job(true), file().and_then(Path::parent)) else {
        return;
    };
    let (prefix, generation) = (format!("rank-{rank}-of-{size}."), generation());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|n| n.strip_prefix(&prefix));
        let number = rest.and_then(|r| r.split_once('.')?.0.parse::<u32>().ok());
        if number.is_some_and(|n| n != generation) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
