//! The fixed-size records and the index: encoding and decoding, with every length checked.

use super::{Error, Region};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the layout; other versions are refused.
pub const VERSION: u32 = 1;
/// Most bytes of memory that one chunk spans.
pub const CHUNK: usize = 1 << 20;
/// The unit in which zeros are left out.
pub(crate) const PAGE: usize = 4096;
/// Length of the header.
pub(crate) const HEADER: usize = 64;
/// Length of the trailer.
pub(crate) const TRAILER: usize = 64;
/// Length of a chunk record.
const RECORD: usize = 72;
const MAGIC: &[u8; 8] = b"SPLITIMG";
const END_MAGIC: &[u8; 8] = b"SPLITEND";

/// Which pages of a chunk's span are held.
pub(crate) type Bitmap = [u64; CHUNK / PAGE / 64];

/// The chunk's pages are stored as they are.
pub(crate) const RAW: u8 = 0;
/// The chunk's pages are one zstd frame.
pub(crate) const ZSTD: u8 = 1;

/// The file's first 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub rank: u32,
    pub ranks: u32,
    pub generation: u64,
    pub time: u64,
}

/// The file's last 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub index_offset: u64,
    pub index_len: u64,
    pub file_len: u64,
    pub memory: u64,
    pub index_crc: u32,
    pub header_crc: u32,
}

/// One chunk of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub region: u32,
    pub codec: u8,
    pub offset: u64,
    pub file_offset: u64,
    pub stored: u32,
    pub packed: u32,
    pub span: u32,
    pub crc: u32,
    pub pages: Bitmap,
}

/// The part of the index that is JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Directory {
    pub sections: Vec<SectionEntry>,
    pub regions: Vec<RegionEntry>,
}

/// Where a section lies.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SectionEntry {
    pub name: String,
    pub offset: u64,
    pub len: u64,
    pub crc: u32,
}

/// A region, and whether the image holds its contents.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RegionEntry {
    #[serde(flatten)]
    pub region: Region,
    pub held: bool,
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        put(&mut b, 0, MAGIC);
        put(&mut b, 8, &VERSION.to_le_bytes());
        put(&mut b, 12, &(HEADER as u32).to_le_bytes());
        put(&mut b, 16, &self.rank.to_le_bytes());
        put(&mut b, 20, &self.ranks.to_le_bytes());
        put(&mut b, 24, &self.generation.to_le_bytes());
        put(&mut b, 32, &(CHUNK as u32).to_le_bytes());
        put(&mut b, 36, &(PAGE as u32).to_le_bytes());
        put(&mut b, 40, &self.time.to_le_bytes());
        seal(&mut b);
        b
    }

    pub fn decode(path: &Path, b: &[u8; HEADER]) -> Result<Header, Error> {
        if &b[..8] != MAGIC {
            return Err(Error::NotAnImage {
                path: path.to_owned(),
            });
        }
        let found = u32_at(b, 8);
        if found != VERSION {
            return Err(Error::Version {
                path: path.to_owned(),
                found,
            });
        }
        if !sealed(b) {
            return Err(Error::damaged(path, "the header's checksum is wrong"));
        }
        if u32_at(b, 12) as usize != HEADER
            || u32_at(b, 32) as usize != CHUNK
            || u32_at(b, 36) as usize != PAGE
        {
            return Err(Error::damaged(
                path,
                "the header's lengths are not those of its version",
            ));
        }
        Ok(Header {
            rank: u32_at(b, 16),
            ranks: u32_at(b, 20),
            generation: u64_at(b, 24),
            time: u64_at(b, 40),
        })
    }
}

impl Trailer {
    pub fn encode(&self) -> [u8; TRAILER] {
        let mut b = [0; TRAILER];
        put(&mut b, 0, END_MAGIC);
        put(&mut b, 8, &self.index_offset.to_le_bytes());
        put(&mut b, 16, &self.index_len.to_le_bytes());
        put(&mut b, 24, &self.file_len.to_le_bytes());
        put(&mut b, 32, &self.memory.to_le_bytes());
        put(&mut b, 40, &self.index_crc.to_le_bytes());
        put(&mut b, 44, &self.header_crc.to_le_bytes());
        seal(&mut b);
        b
    }

    pub fn decode(path: &Path, b: &[u8; TRAILER], file_len: u64) -> Result<Trailer, Error> {
        if &b[..8] != END_MAGIC {
            return Err(Error::Truncated {
                path: path.to_owned(),
                what: format!("no end mark after {file_len} bytes"),
            });
        }
        if !sealed(b) {
            return Err(Error::damaged(path, "the trailer's checksum is wrong"));
        }
        let t = Trailer {
            index_offset: u64_at(b, 8),
            index_len: u64_at(b, 16),
            file_len: u64_at(b, 24),
            memory: u64_at(b, 32),
            index_crc: u32_at(b, 40),
            header_crc: u32_at(b, 44),
        };
        if t.file_len != file_len {
            return Err(Error::Truncated {
                path: path.to_owned(),
                what: format!("{} bytes were written, {file_len} are there", t.file_len),
            });
        }
        let end = t
            .index_offset
            .checked_add(t.index_len)
            .and_then(|n| n.checked_add(TRAILER as u64));
        if end != Some(file_len) || t.index_offset < HEADER as u64 {
            return Err(Error::damaged(
                path,
                "the index is not where the trailer says",
            ));
        }
        Ok(t)
    }
}

/// The checksum that a header or trailer ends with.
pub(crate) fn seal_of(b: &[u8; 64]) -> u32 {
    u32_at(b, 60)
}

fn seal(b: &mut [u8; 64]) {
    let crc = crc32fast::hash(&b[..60]);
    put(b, 60, &crc.to_le_bytes());
}

fn sealed(b: &[u8; 64]) -> bool {
    crc32fast::hash(&b[..60]) == seal_of(b)
}

/// Bytes of the pages of `pages` in a span of `span` bytes; the last page may be short.
pub(crate) fn packed_len(pages: &Bitmap, span: usize) -> usize {
    let mut n = pages.iter().map(|w| w.count_ones() as usize).sum::<usize>() * PAGE;
    let (last, tail) = (span / PAGE, span % PAGE);
    if tail != 0 && pages[last / 64] >> (last % 64) & 1 == 1 {
        n -= PAGE - tail;
    }
    n
}

/// Builds the index's bytes.
pub(crate) fn encode_index(
    directory: &Directory,
    chunks: &[Chunk],
) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(directory)?;
    let mut out = Vec::with_capacity(8 + json.len() + chunks.len() * RECORD);
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    out.extend_from_slice(&json);
    out.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    for c in chunks {
        let mut b = [0; RECORD];
        put(&mut b, 0, &c.region.to_le_bytes());
        b[4] = c.codec;
        put(&mut b, 8, &c.offset.to_le_bytes());
        put(&mut b, 16, &c.file_offset.to_le_bytes());
        put(&mut b, 24, &c.stored.to_le_bytes());
        put(&mut b, 28, &c.packed.to_le_bytes());
        put(&mut b, 32, &c.span.to_le_bytes());
        put(&mut b, 36, &c.crc.to_le_bytes());
        for (i, word) in c.pages.iter().enumerate() {
            put(&mut b, 40 + 8 * i, &word.to_le_bytes());
        }
        out.extend_from_slice(&b);
    }
    Ok(out)
}

/// Parses the index and checks that everything it names lies inside the file and its region.
pub(crate) fn decode_index(
    path: &Path,
    bytes: &[u8],
    data_end: u64,
) -> Result<(Directory, Vec<Chunk>), Error> {
    let short = || Error::damaged(path, "the index is shorter than it says");
    let json_len = u32_at(bytes.get(..4).ok_or_else(short)?, 0) as usize;
    let json = bytes.get(4..4 + json_len).ok_or_else(short)?;
    let rest = &bytes[4 + json_len..];
    let count = u32_at(rest.get(..4).ok_or_else(short)?, 0) as usize;
    let records = &rest[4..];
    if records.len() != count * RECORD {
        return Err(short());
    }
    let directory: Directory = serde_json::from_slice(json).map_err(|cause| Error::Section {
        path: path.to_owned(),
        name: "index".into(),
        cause,
    })?;
    let chunks: Vec<Chunk> = records.chunks_exact(RECORD).map(record).collect();

    let inside = |offset: u64, len: u64| {
        offset >= HEADER as u64 && offset.checked_add(len).is_some_and(|end| end <= data_end)
    };
    for s in &directory.sections {
        if !inside(s.offset, s.len) {
            return Err(Error::damaged(
                path,
                format!("section `{}` lies outside the file", s.name),
            ));
        }
    }
    for r in &directory.regions {
        if r.region.start > r.region.end {
            return Err(Error::damaged(
                path,
                format!("region {:#x} ends before it starts", r.region.start),
            ));
        }
    }
    let mut last = None;
    for (i, c) in chunks.iter().enumerate() {
        let wrong = |what| Err(Error::damaged(path, format!("chunk {i} {what}")));
        let Some(entry) = directory.regions.get(c.region as usize) else {
            return wrong("belongs to no region");
        };
        if !inside(c.file_offset, u64::from(c.stored)) {
            return wrong("lies outside the file");
        }
        if c.offset % CHUNK as u64 != 0
            || c.span as usize > CHUNK
            || c.offset
                .checked_add(u64::from(c.span))
                .is_none_or(|end| end > entry.region.len() as u64)
        {
            return wrong("lies outside its region");
        }
        let pages = (c.span as usize).div_ceil(PAGE);
        if (pages..CHUNK / PAGE).any(|p| c.pages[p / 64] >> (p % 64) & 1 == 1)
            || packed_len(&c.pages, c.span as usize) != c.packed as usize
            || c.codec > ZSTD
            || (c.codec == RAW && c.stored != c.packed)
            || c.packed == 0
        {
            return wrong("contradicts itself");
        }
        if last.is_some_and(|l| l >= (c.region, c.offset)) {
            return wrong("is out of order");
        }
        last = Some((c.region, c.offset));
    }
    Ok((directory, chunks))
}

fn record(b: &[u8]) -> Chunk {
    Chunk {
        region: u32_at(b, 0),
        codec: b[4],
        offset: u64_at(b, 8),
        file_offset: u64_at(b, 16),
        stored: u32_at(b, 24),
        packed: u32_at(b, 28),
        span: u32_at(b, 32),
        crc: u32_at(b, 36),
        pages: std::array::from_fn(|i| u64_at(b, 40 + 8 * i)),
    }
}
