//! The image of one rank: memory in compressed chunks, and named sections of plain data.
//!
//! All numbers are little-endian. A file is written from front to back, by several threads, under a temporary name, and
//! renamed once it is on disk, so a file with an image's name is whole or damaged, never half written.
//!
//! ```text
//! 0         ┌──────────────────────────────────────────────────────────┐
//!           │ header, 64 bytes                                         │
//!           │   0  magic "SPLITIMG"          32  chunk length   u32    │
//!           │   8  version        u32        36  page length    u32    │
//!           │  12  header length  u32        40  unix time      u64    │
//!           │  16  rank           u32        48  reserved, zero        │
//!           │  20  ranks          u32        60  crc32 of bytes 0..60  │
//!           │  24  generation     u64                                  │
//! 64        ├──────────────────────────────────────────────────────────┤
//!           │ data: chunks and sections, back to back, in any order    │
//!           │   chunk: its non-zero pages, packed; stored or zstd      │
//!           │   section: JSON or raw bytes                             │
//! index     ├──────────────────────────────────────────────────────────┤
//!           │ directory length u32, directory (JSON: sections with     │
//!           │ place and crc32, regions)                                │
//!           │ chunk count u32, chunk records of 72 bytes               │
//!           │   0  region         u32        28  packed length   u32   │
//!           │   4  codec          u8         32  spanned length  u32   │
//!           │   8  region offset  u64        36  crc32 as stored u32   │
//!           │  16  file offset    u64        40  page bitmap  4 × u64  │
//!           │  24  stored length  u32                                  │
//! end − 64  ├──────────────────────────────────────────────────────────┤
//!           │ trailer, 64 bytes                                        │
//!           │   0  magic "SPLITEND"          32  memory held     u64   │
//!           │   8  index offset   u64        40  crc32 of index  u32   │
//!           │  16  index length   u64        44  crc32 of header u32   │
//!           │  24  file length    u64        48  reserved, zero        │
//!           │                                60  crc32 of bytes 0..60  │
//! end       └──────────────────────────────────────────────────────────┘
//! ```
//!
//! A chunk spans up to 1 MiB of a region, from a multiple of 1 MiB. Bit *i* of its bitmap says that
//! page *i* of the span is held; pages whose bytes are all zero are not held, and a span of nothing
//! but zeros has no chunk at all. Because the index holds the checksum of every chunk and section,
//! and the trailer that of the index and the header, the trailer's own checksum stands for the whole
//! file: it is the fingerprint that the manifest records.

mod error;
mod format;
mod load;
mod pack;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use format::{CHUNK, VERSION};
pub use reader::{Load, Reader};
pub use writer::Writer;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// A mapping of the saved process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// `PROT_*` bits.
    pub prot: u32,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// The file that was mapped, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileRef>,
    /// The kernel's name for it (`[heap]`, `[stack]`, `[anon:…]`), or empty.
    #[serde(default)]
    pub name: String,
    /// It is no memory of the process, but a device's: the lower half that has the device fills it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub device: bool,
}

impl Region {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it spans nothing.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// The file behind a mapping, as it was at the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Absolute path.
    pub path: PathBuf,
    /// Offset of the mapping's first byte in the file.
    pub offset: u64,
    /// Device number.
    #[serde(default)]
    pub dev: u64,
    /// Inode number.
    #[serde(default)]
    pub inode: u64,
    /// Length of the file.
    #[serde(default)]
    pub size: u64,
    /// Modification time, seconds since 1970.
    #[serde(default)]
    pub mtime: i64,
    /// The file had no name any more.
    #[serde(default)]
    pub deleted: bool,
}

/// Memory that is not read where it is.
pub trait Source: Send + Sync {
    /// Fetches `len` bytes from `offset` on and gives them to `take`, once. `worker`: which of the image's threads asks,
    /// from 0; they ask at the same time.
    ///
    /// # Errors
    /// Why they can't be had.
    fn read(
        &self,
        worker: usize,
        offset: u64,
        len: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String>;
}

/// What is filled without being mapped here.
pub trait Sink: Sync {
    /// Has `fill` fill `len` bytes, which are zero before, and takes them as those from `offset` on of a region. `worker`:
    /// which of the image's threads asks, from 0; they ask at the same time.
    ///
    /// # Errors
    /// Why it can't take them.
    fn write(
        &self,
        worker: usize,
        region: usize,
        offset: u64,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), String>;

    /// The same for bytes that are all zero.
    ///
    /// # Errors
    /// Why it can't take them.
    fn zero(&self, worker: usize, region: usize, offset: u64, len: usize) -> Result<(), String>;
}

/// How an image is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// zstd's level; `None` stores pages as they are.
    pub level: Option<i32>,
    /// Threads that look for zero pages, compress and compute checksums; 0: one a processor, at most 8.
    pub workers: usize,
    /// The rank whose image it is.
    pub rank: u32,
    /// Ranks of the job.
    pub ranks: u32,
    /// Generation of the checkpoint.
    pub generation: u64,
    /// Counts what is done, for whoever watches; and the image can be given up by it.
    pub progress: Arc<Progress>,
}

/// How far the writing of an image is, in bytes of memory.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    abandoned: AtomicBool,
    readers: AtomicU32,
}

/// The memory that is written may be read while this lives.
pub(crate) struct Reading<'a>(&'a Progress);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Progress {
    /// So much there is to do.
    pub fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// So much more is done.
    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives the image up, whatever its writer waits for: when this returns, the memory that was given to it is not
    /// read any more. (The kernel may, for a write that hangs.) The writer fails when it goes on.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        while self.readers.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
    }

    /// Asks to read that memory; `None`: the image was given up.
    pub(crate) fn read(&self) -> Option<Reading<'_>> {
        self.readers.fetch_add(1, Ordering::SeqCst);
        let reading = Reading(self);
        (!self.abandoned.load(Ordering::SeqCst)).then_some(reading)
    }

    /// Done, and all.
    pub fn now(&self) -> (u64, u64) {
        let [done, total] = [&self.done, &self.total].map(|n| n.load(Ordering::Relaxed));
        (done.min(total), total)
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            level: Some(1),
            workers: 0,
            rank: 0,
            ranks: 1,
            generation: 0,
            progress: Arc::default(),
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Length of the file.
    pub bytes: u64,
    /// Bytes of memory that it holds, before compression and without zero pages.
    pub memory: u64,
    /// Bytes of memory that were looked at.
    pub spanned: u64,
    /// The file's fingerprint, see the module's documentation.
    pub crc: u32,
}

/// Most threads that read or write an image where the caller has no wish.
pub const WORKERS: usize = 8;

/// Threads to use where the caller has no wish: one a processor.
pub fn workers(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism()
            .map_or(1, |n| n.get())
            .min(WORKERS),
        n => n,
    }
}

/// Bytes that the file system of a file has free for us, and in all.
fn room(file: &std::fs::File) -> Option<(u64, u64)> {
    use std::os::fd::AsRawFd;
    // SAFETY: the kernel fills the structure, plain data; the descriptor is open.
    let about = unsafe {
        let mut about: libc::statvfs = std::mem::zeroed();
        (libc::fstatvfs(file.as_raw_fd(), &mut about) == 0).then_some(about)
    }?;
    Some((
        about.f_bavail * about.f_frsize,
        about.f_blocks * about.f_frsize,
    ))
}
