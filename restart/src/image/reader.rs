//! Reading an image: everything is checked before a byte of it is used.

use super::format::{decode_index, seal_of, Chunk, Directory, Header, Trailer, HEADER, TRAILER};
use super::{Error, Region};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An opened image, whose header, trailer and index are known to be right.
#[derive(Debug)]
pub struct Reader {
    pub(super) path: PathBuf,
    pub(super) file: File,
    header: Header,
    trailer: Trailer,
    fingerprint: u32,
    directory: Directory,
    regions: Vec<Region>,
    pub(super) chunks: Vec<Chunk>,
}

/// A region to fill: where its first byte goes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Index into `Reader::regions`.
    pub region: usize,
    /// Where byte 0 of the region goes.
    pub at: *mut u8,
}

impl Reader {
    /// Opens an image and checks its header, trailer and index; chunks and sections are checked when
    /// they are read, or all together by `verify`.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, Error> {
        let path = path.as_ref().to_owned();
        let file = File::open(&path).map_err(Error::io(&path, "open"))?;
        let meta = file.metadata().map_err(Error::io(&path, "examine"))?;
        let len = meta.len();
        let mut head = [0; HEADER];
        let mut tail = [0; TRAILER];
        if !meta.is_file() {
            return Err(Error::NotAnImage { path });
        }
        if len < (HEADER + TRAILER) as u64 {
            return Err(Error::Truncated {
                path,
                what: format!("only {len} bytes are there"),
            });
        }
        file.read_exact_at(&mut head, 0)
            .map_err(Error::io(&path, "read"))?;
        let header = Header::decode(&path, &head)?;
        file.read_exact_at(&mut tail, len - TRAILER as u64)
            .map_err(Error::io(&path, "read"))?;
        let trailer = Trailer::decode(&path, &tail, len)?;
        if trailer.header_crc != seal_of(&head) {
            return Err(Error::damaged(
                &path,
                "the header is not the one that was written",
            ));
        }
        let mut index = vec![0; trailer.index_len as usize];
        file.read_exact_at(&mut index, trailer.index_offset)
            .map_err(Error::io(&path, "read"))?;
        if crc32fast::hash(&index) != trailer.index_crc {
            return Err(Error::damaged(&path, "the index's checksum is wrong"));
        }
        let (directory, chunks) = decode_index(&path, &index, trailer.index_offset)?;
        let regions = directory.regions.iter().map(|r| r.region.clone()).collect();
        Ok(Reader {
            path,
            file,
            header,
            fingerprint: seal_of(&tail),
            trailer,
            directory,
            regions,
            chunks,
        })
    }

    /// Refuses the image of another rank, or of a job of another size.
    pub fn expect_rank(&self, rank: u32, ranks: u32) -> Result<(), Error> {
        if (self.header.rank, self.header.ranks) == (rank, ranks) {
            return Ok(());
        }
        Err(Error::WrongRank {
            path: self.path.clone(),
            found: self.header.rank,
            found_ranks: self.header.ranks,
            wanted: rank,
            wanted_ranks: ranks,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rank whose image it is.
    pub fn rank(&self) -> u32 {
        self.header.rank
    }

    /// Ranks of the job.
    pub fn ranks(&self) -> u32 {
        self.header.ranks
    }

    /// Generation of the checkpoint.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// When it was started, seconds since 1970.
    pub fn time(&self) -> u64 {
        self.header.time
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.trailer.file_len
    }

    /// Bytes of memory that it holds, before compression.
    pub fn memory(&self) -> u64 {
        self.trailer.memory
    }

    /// The checksum that stands for the whole file (`Summary::crc`).
    pub fn fingerprint(&self) -> u32 {
        self.fingerprint
    }

    /// The regions, in the order in which they were added.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Whether the image holds the region's contents (else it was added by `Writer::region`).
    pub fn held(&self, region: usize) -> bool {
        self.directory.regions[region].held
    }

    /// Bytes of the region that the file holds: before compression, and as stored.
    pub fn region_bytes(&self, region: usize) -> (u64, u64) {
        self.chunks_of(region).iter().fold((0, 0), |(a, b), c| {
            (a + u64::from(c.packed), b + u64::from(c.stored))
        })
    }

    /// Names of the sections.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.directory.sections.iter().map(|s| s.name.as_str())
    }

    /// A section written by `Writer::section`.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.blob(name)?).map_err(|cause| Error::Section {
            path: self.path.clone(),
            name: name.into(),
            cause,
        })
    }

    /// A section's bytes.
    pub fn blob(&self, name: &str) -> Result<Vec<u8>, Error> {
        let entry = self
            .directory
            .sections
            .iter()
            .find(|s| s.name == name)
            .ok_or_else(|| Error::NoSection {
                path: self.path.clone(),
                name: name.into(),
            })?;
        let mut bytes = vec![0; entry.len as usize];
        self.file
            .read_exact_at(&mut bytes, entry.offset)
            .map_err(Error::io(&self.path, "read"))?;
        if crc32fast::hash(&bytes) != entry.crc {
            return Err(Error::damaged(
                &self.path,
                format!("section `{name}` has a wrong checksum"),
            ));
        }
        Ok(bytes)
    }

    /// The chunks of one region; they are sorted by region.
    pub(super) fn chunks_of(&self, region: usize) -> &[Chunk] {
        let start = self
            .chunks
            .partition_point(|c| (c.region as usize) < region);
        let end = self.chunks.partition_point(|c| c.region as usize <= region);
        &self.chunks[start..end]
    }
}
