//! Open files.
//!
//! Each has a communicator of its own, which the application never sees: a cut counts the file's collective calls
//! there, and a restart opens the file again on it, whatever became of the one that it was opened on.

use super::super::abi::*;
use super::super::lower::Fail;
use super::table::Table;
use super::{Comm, Guard, Locked};
use std::ffi::CString;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// What `MPI_File_set_view` was given; the datatypes are held.
#[derive(Clone, Debug)]
pub struct View {
    /// Displacement in bytes.
    pub disp: i64,
    /// Elementary datatype: the application's handle.
    pub etype: i32,
    /// Filetype: the application's handle.
    pub filetype: i32,
    /// Data representation.
    pub datarep: CString,
}

/// What changes while it is open.
pub struct State {
    /// Error handler's (virtual) handle.
    pub errhandler: i32,
    /// Hints given when it was opened.
    pub info: Vec<(OsString, OsString)>,
    /// Hints given later.
    pub hints: Vec<(OsString, OsString)>,
    /// The view, if it is not the one that a file is opened with.
    pub view: Option<View>,
    /// The lower half does not tell positions in this view right.
    pub odd: bool,
    /// Atomic mode?
    pub atomic: bool,
    /// Between the halves of a split collective: what the second one gives.
    pub split: Option<Status>,
    /// At the last checkpoint: the individual position, in elementary datatypes.
    pub position: i64,
    /// At the last checkpoint: the shared position, if this rank has used it.
    pub shared: Option<i64>,
    /// At the last checkpoint: bytes in the file, as the communicator's rank 0 saw it.
    pub size: i64,
}

/// An open file.
pub struct File {
    /// The lower half's handle, a pointer.
    pub lower: AtomicUsize,
    /// Its own communicator.
    pub comm: &'static Comm,
    /// Absolute path, with the file system's name before it if the application gave one.
    pub path: CString,
    /// How it was opened.
    pub amode: i32,
    /// This rank has used the shared position.
    pub shares: AtomicBool,
    /// The rest.
    pub state: Locked<State>,
}

/// Open files. A handle is one more than the index, for 0 is `MPI_FILE_NULL`.
pub static FILES: Table<File> = Table::new();

/// The file that a handle names.
pub fn get(handle: usize) -> Result<&'static File, Fail> {
    let index = handle.checked_sub(1).filter(|i| *i <= INDEX_MASK as usize);
    let file = index.and_then(|i| FILES.get(i as i32));
    file.ok_or(Fail::Code(ERR_FILE))
}

/// All open files, in an order that is the same on all ranks.
pub fn all(guard: &Guard) -> Vec<&'static File> {
    let mut list: Vec<_> = FILES.all(guard).into_iter().map(|(_, f)| f).collect();
    list.sort_by_key(|f| f.comm.id.load(Relaxed));
    list
}

impl File {
    /// The lower half's handle, as an argument of a call.
    pub fn low(&self) -> u64 {
        self.lower.load(Relaxed) as u64
    }

    /// Could it have been written?
    pub fn writable(&self) -> bool {
        self.amode & (MODE_RDWR | MODE_WRONLY) != 0
    }

    /// The path without the file system's name.
    pub fn plain_path(&self) -> &[u8] {
        let path = self.path.as_bytes();
        &path[prefix(path)..]
    }
}

/// Length of the file system's name, `ufs:` and its like, before a path.
pub fn prefix(path: &[u8]) -> usize {
    const KNOWN: [&[u8]; 10] = [
        b"ufs:",
        b"nfs:",
        b"lustre:",
        b"gpfs:",
        b"panfs:",
        b"xfs:",
        b"daos:",
        b"ime:",
        b"quobyte:",
        b"testfs:",
    ];
    let known = KNOWN.iter().find(|k| path.starts_with(k));
    known.map_or(0, |k| k.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_systems_name_is_no_part_of_the_path() {
        assert_eq!(prefix(b"ufs:/tmp/a"), 4);
        assert_eq!(prefix(b"/tmp/ufs:a"), 0);
        assert_eq!(prefix(b"other:a"), 0);
    }
}
