//! What can be wrong with an image: each message names the file, what is wrong and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image could not be written or read. Each message is whole: none has a `source` that would be told again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{}: cannot {what}: {cause}{}", path.display(), remedy(cause))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        cause: io::Error,
    },
    /// The disk is full.
    #[error(
        "{}: cannot write: {cause}: {} MiB are written for {} of {} MiB of memory, and {} of the disk's {} MiB are free{}",
        path.display(), written >> 20, done.0 >> 20, done.1 >> 20, free >> 20, total >> 20, remedy(cause)
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// Bytes of it that are written.
        written: u64,
        /// Bytes of memory that were looked at, and all of them.
        done: (u64, u64),
        /// Bytes that are free.
        free: u64,
        /// Bytes of the file system.
        total: u64,
        /// The kernel's reason.
        cause: io::Error,
    },
    /// A source could not give its bytes.
    #[error("{}: cannot be written: {why}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What the source says.
        why: String,
    },
    /// A sink could not take its bytes.
    #[error("{}: cannot be put back: {why}", path.display())]
    Sink {
        /// The file.
        path: PathBuf,
        /// What the sink says.
        why: String,
    },
    /// The magic is not there.
    #[error("{}: not a splitproc image; name a rank-NNNN.img file of a checkpoint directory", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version.
    #[error(
        "{}: image format version {found}, but this splitproc reads version {}; restart with the splitproc that wrote it",
        path.display(),
        super::VERSION
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it says.
        found: u32,
    },
    /// The file ends early.
    #[error("{}: truncated: {what}; copy the file again, or restart from an older --generation", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// A checksum or a length is wrong.
    #[error("{}: damaged: {what}; copy the file again, or restart from an older --generation", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The image of another rank, or of a job of another size.
    #[error(
        "{}: holds rank {found} of {found_ranks}, not rank {wanted} of {wanted_ranks}; put the images back under the names that the manifest lists",
        path.display()
    )]
    WrongRank {
        /// The file.
        path: PathBuf,
        /// The rank that it holds.
        found: u32,
        /// The size of its job.
        found_ranks: u32,
        /// The rank that was wanted.
        wanted: u32,
        /// The size of the job that was wanted.
        wanted_ranks: u32,
    },
    /// No such section.
    #[error("{}: has no section `{name}`; it was written by another splitproc: restart with that one", path.display())]
    NoSection {
        /// The file.
        path: PathBuf,
        /// The section's name.
        name: String,
    },
    /// A section is not what was expected.
    #[error("{}: section `{name}`: {cause}; it was written by another splitproc: restart with that one", path.display())]
    Section {
        /// The file.
        path: PathBuf,
        /// The section's name.
        name: String,
        /// What the parser says.
        cause: serde_json::Error,
    },
}

impl Error {
    /// Wraps a failed system call.
    pub(crate) fn io<'a>(
        path: &'a Path,
        what: &'static str,
    ) -> impl FnOnce(io::Error) -> Error + 'a {
        move |cause| Error::Io {
            path: path.to_owned(),
            what,
            cause,
        }
    }

    /// A wrong checksum, length or place.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// What to do about a failed system call.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC) | Some(libc::EDQUOT) => {
            "; free some space, keep fewer generations (--keep), or use another --ckpt-dir"
        }
        Some(libc::EACCES) | Some(libc::EPERM) | Some(libc::EROFS) => {
            "; make it accessible to this user, or use another --ckpt-dir"
        }
        Some(libc::ENOENT) => "; check the path, or restart from an older --generation",
        Some(libc::EFBIG) => "; raise the file size limit (ulimit -f)",
        Some(libc::EIO) => "; the disk fails: use another --ckpt-dir",
        _ => "",
    }
}
