//! One chunk's work: find the pages that hold something, pack, compress, checksum.

use super::format::{packed_len, Bitmap, CHUNK, PAGE, RAW, ZSTD};

/// A span of the stopped process's memory.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub ptr: *const u8,
    pub len: usize,
}

// SAFETY: a span is only read, and `Writer::memory`'s caller keeps the memory mapped and unchanged
// until the writer is done with it, whichever thread reads it.
unsafe impl Send for Span {}

impl Span {
    /// The bytes.
    ///
    /// # Safety
    /// The memory is still mapped, readable and unchanging, as `Writer::memory`'s caller promised.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// What becomes of a chunk.
pub(super) struct Packed {
    pub pages: Bitmap,
    pub packed: usize,
    pub codec: u8,
    pub crc: u32,
    pub data: Data,
}

/// Where the bytes to write are.
pub(super) enum Data {
    /// Nothing but zeros.
    Nothing,
    /// The span itself: no page is zero, and it is stored as it is.
    InPlace,
    /// Packed or compressed bytes, in the packer's buffer.
    Buffer,
}

/// A worker's compressor and buffers.
pub(super) struct Packer {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
    compressed: Vec<u8>,
    /// Which of them has the last chunk's bytes.
    is_compressed: bool,
}

impl Packer {
    /// A packer for this zstd level, or for none.
    pub fn new(level: Option<i32>) -> std::io::Result<Packer> {
        let zstd = level.map(zstd::bulk::Compressor::new).transpose()?;
        Ok(Packer {
            zstd,
            packed: Vec::new(),
            compressed: Vec::new(),
            is_compressed: false,
        })
    }

    /// The bytes of the last chunk, if they are in a buffer of ours.
    pub fn buffer(&self) -> &[u8] {
        match self.is_compressed {
            true => &self.compressed,
            false => &self.packed,
        }
    }

    /// Packs one span of at most `CHUNK` bytes.
    pub fn pack(&mut self, span: &[u8]) -> Packed {
        debug_assert!(span.len() <= CHUNK);
        let pages = held_pages(span);
        let packed = packed_len(&pages, span.len());
        let mut out = Packed {
            pages,
            packed,
            codec: RAW,
            crc: 0,
            data: Data::Nothing,
        };
        if packed == 0 {
            return out;
        }
        let full = packed == span.len();
        let source: &[u8] = if full {
            span
        } else {
            self.packed.clear();
            for (i, page) in span.chunks(PAGE).enumerate() {
                if pages[i / 64] >> (i % 64) & 1 == 1 {
                    self.packed.extend_from_slice(page);
                }
            }
            &self.packed
        };
        self.is_compressed = false;
        out.data = match full {
            true => Data::InPlace,
            false => Data::Buffer,
        };
        if let Some(zstd) = &mut self.zstd {
            // Less than a sixteenth saved is not worth the time that reading it back takes.
            self.compressed.clear();
            self.compressed
                .reserve(zstd::zstd_safe::compress_bound(source.len()));
            self.is_compressed = zstd
                .compress_to_buffer(source, &mut self.compressed)
                .is_ok_and(|n| n < source.len() - source.len() / 16);
        }
        if self.is_compressed {
            out.codec = ZSTD;
            out.data = Data::Buffer;
            out.crc = crc32fast::hash(&self.compressed);
        } else {
            out.crc = crc32fast::hash(source);
        }
        out
    }
}

/// The pages of a span that are not all zero.
fn held_pages(span: &[u8]) -> Bitmap {
    let mut pages = Bitmap::default();
    for (i, page) in span.chunks(PAGE).enumerate() {
        if !is_zero(page) {
            pages[i / 64] |= 1 << (i % 64);
        }
    }
    pages
}

/// Whether all bytes are zero; stops early at the first block that has something.
fn is_zero(page: &[u8]) -> bool {
    let mut blocks = page.chunks_exact(64);
    blocks.by_ref().all(|b| b.iter().fold(0, |a, x| a | x) == 0)
        && blocks.remainder().iter().all(|&x| x == 0)
}
