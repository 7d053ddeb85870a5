//! DMTCP's image of this process: what is left out of it, and how a rank's is found again.

use super::{kvdb, launcher};
use crate::symbols;
use core::ffi::{c_char, c_int};
use dmtcp_glue::abi::Area;
use lh_loader::layout::{owner, Owner};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// DMTCP asks for each region that it is about to save, and for shared ones whose files it would save: the lower
/// halves and the loader are left out.
///
/// # Safety
/// `area` must be DMTCP's.
#[no_mangle]
pub unsafe extern "C" fn dmtcp_skip_memory_region_ckpting(area: *mut Area) -> c_int {
    // SAFETY: as the caller says.
    let start = unsafe { (*area).start } as usize;
    c_int::from(matches!(owner(start), Owner::Lower(_) | Owner::Loader))
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

/// DMTCP names images by process ids. A rank's gets a link, by which `splitproc dmtcp-restart` finds it.
pub fn name_by_rank() {
    let job = kvdb::rank_and_size().or_else(launcher::rank_and_size);
    let (Some((rank, size)), Some(image)) = (job, file()) else {
        return;
    };
    let (Some(name), Some(folder)) = (image.file_name(), image.parent()) else {
        return;
    };
    let link = folder.join(format!("rank-{rank}-of-{size}.dmtcp"));
    let new = folder.join(format!(".rank-{rank}-of-{size}.dmtcp"));
    // DMTCP makes the folder later; what a killed process left behind is in the way.
    let _ = std::fs::DirBuilder::new().mode(0o700).create(folder);
    let _ = std::fs::remove_file(&new);
    let made = std::os::unix::fs::symlink(name, &new).and_then(|()| std::fs::rename(&new, &link));
    if let Err(why) = made {
        eprintln!("splitproc: {}: {why}", link.display());
    }
}
