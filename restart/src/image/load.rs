//! Getting memory out of an image: verify it, walk it, or fill regions with several threads.

use super::format::{Bitmap, Chunk, CHUNK, PAGE, ZSTD};
use super::{workers, Error, Load, Reader, Sink};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

/// A thread's buffers.
struct Unpacker {
    /// Which of the threads it is.
    worker: usize,
    stored: Vec<u8>,
    packed: Vec<u8>,
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Unpacker {
    fn new(reader: &Reader, worker: usize) -> Result<Unpacker, Error> {
        let zstd =
            zstd::bulk::Decompressor::new().map_err(Error::io(&reader.path, "set up zstd for"))?;
        Ok(Unpacker {
            worker,
            stored: Vec::new(),
            packed: Vec::new(),
            zstd,
        })
    }

    /// Reads a chunk as it is stored and checks it.
    fn fetch(&mut self, reader: &Reader, chunk: &Chunk) -> Result<(), Error> {
        self.stored.resize(chunk.stored as usize, 0);
        reader
            .file
            .read_exact_at(&mut self.stored, chunk.file_offset)
            .map_err(Error::io(&reader.path, "read"))?;
        check(reader, chunk, &self.stored)
    }

    /// Reads a chunk and returns its packed pages.
    fn packed(&mut self, reader: &Reader, chunk: &Chunk) -> Result<&[u8], Error> {
        self.fetch(reader, chunk)?;
        if chunk.codec != ZSTD {
            return Ok(&self.stored);
        }
        self.packed.resize(CHUNK, 0);
        let n = self
            .zstd
            .decompress_to_buffer(&self.stored, &mut self.packed[..])
            .unwrap_or(0);
        if n != chunk.packed as usize {
            return Err(bad(reader, chunk, "does not decompress"));
        }
        Ok(&self.packed[..n])
    }

    /// Reads a chunk into its span. Pages that it does not hold are not touched.
    fn fill(&mut self, reader: &Reader, chunk: &Chunk, span: &mut [u8]) -> Result<(), Error> {
        if chunk.packed == chunk.span {
            if chunk.codec != ZSTD {
                reader
                    .file
                    .read_exact_at(span, chunk.file_offset)
                    .map_err(Error::io(&reader.path, "read"))?;
                return check(reader, chunk, span);
            }
            self.fetch(reader, chunk)?;
            return match self.zstd.decompress_to_buffer(&self.stored, span) {
                Ok(n) if n == chunk.packed as usize => Ok(()),
                _ => Err(bad(reader, chunk, "does not decompress")),
            };
        }
        let packed = self.packed(reader, chunk)?;
        runs(&chunk.pages, chunk.span as usize, |offset, at, len| {
            span[offset..offset + len].copy_from_slice(&packed[at..at + len]);
        });
        Ok(())
    }
}

fn check(reader: &Reader, chunk: &Chunk, stored: &[u8]) -> Result<(), Error> {
    if crc32fast::hash(stored) == chunk.crc {
        return Ok(());
    }
    Err(bad(reader, chunk, "has a wrong checksum"))
}

fn bad(reader: &Reader, chunk: &Chunk, what: &str) -> Error {
    let at = reader.regions()[chunk.region as usize].start as u64 + chunk.offset;
    Error::damaged(
        &reader.path,
        format!(
            "the memory chunk of {at:#x} (byte {} of the file) {what}",
            chunk.file_offset
        ),
    )
}

/// Calls `f(offset in the span, offset in the packed bytes, length)` for each run of held pages.
fn runs(pages: &Bitmap, span: usize, mut f: impl FnMut(usize, usize, usize)) {
    let held = |i: usize| i * PAGE < span && pages[i / 64] >> (i % 64) & 1 == 1;
    let (mut i, mut packed) = (0, 0);
    while i < CHUNK / PAGE {
        let first = i;
        while i < CHUNK / PAGE && held(i) {
            i += 1;
        }
        if i > first {
            let len = (i * PAGE).min(span) - first * PAGE;
            f(first * PAGE, packed, len);
            packed += len;
        }
        i += 1;
    }
}

impl Reader {
    /// Walks one region's held bytes in order: `f(offset in the region, bytes)`. Zero pages are not delivered.
    pub fn read(&self, region: usize, mut f: impl FnMut(usize, &[u8])) -> Result<(), Error> {
        let mut unpacker = Unpacker::new(self, 0)?;
        for chunk in self.chunks_of(region) {
            let packed = unpacker.packed(self, chunk)?;
            runs(&chunk.pages, chunk.span as usize, |offset, at, len| {
                f(chunk.offset as usize + offset, &packed[at..at + len]);
            });
        }
        Ok(())
    }

    /// Fills one region's memory at `at`, with several threads. Zero pages are not touched.
    ///
    /// # Safety
    /// `[at, at + region.len())` is mapped, writable, zero where the image holds nothing, and used by
    /// nobody else during the call.
    pub unsafe fn read_into(&self, region: usize, at: *mut u8) -> Result<(), Error> {
        // SAFETY: as the caller says.
        unsafe { self.load(&[Load { region, at }], 0) }
    }

    /// Fills many regions with `threads` threads (0: one a processor, at most 8); every checksum is
    /// checked on the way. Zero pages are not touched.
    ///
    /// # Safety
    /// As for `read_into`, for each of them, and no two of them overlap.
    pub unsafe fn load(&self, loads: &[Load], threads: usize) -> Result<(), Error> {
        let jobs: Vec<(&Chunk, Target)> = loads
            .iter()
            .flat_map(|l| self.chunks_of(l.region).iter().map(|c| (c, Target(l.at))))
            .collect();
        self.parallel(&jobs, threads, |unpacker, (chunk, target)| {
            // SAFETY: the index was checked: the span lies inside the region, whose memory the caller
            // vouches for; no two chunks overlap.
            let span = unsafe {
                std::slice::from_raw_parts_mut(
                    target.0.add(chunk.offset as usize),
                    chunk.span as usize,
                )
            };
            unpacker.fill(self, chunk, span)
        })
    }

    /// Gives these regions' bytes to a sink, with `threads` threads (0: one a processor, at most 8); every checksum is
    /// checked on the way.
    pub fn pour(&self, regions: &[usize], sink: &dyn Sink, threads: usize) -> Result<(), Error> {
        let spans = |&region: &usize| {
            let len = self.regions()[region].len();
            let chunks = self.chunks_of(region);
            (0..len).step_by(CHUNK).map(move |offset| {
                let offset = offset as u64;
                let found = chunks.binary_search_by_key(&offset, |c| c.offset);
                let span = CHUNK.min(len - offset as usize);
                (region, offset, span, found.ok().map(|i| &chunks[i]))
            })
        };
        let jobs: Vec<_> = regions.iter().flat_map(spans).collect();
        self.parallel(&jobs, threads, |unpacker, &(region, offset, len, chunk)| {
            let worker = unpacker.worker;
            let mut filled = Ok(());
            let taken = match chunk {
                None => sink.zero(worker, region, offset, len),
                Some(chunk) => sink.write(worker, region, offset, len, &mut |bytes| {
                    filled = unpacker.fill(self, chunk, bytes);
                }),
            };
            filled?;
            taken.map_err(|why| Error::Sink {
                path: self.path.clone(),
                why,
            })
        })
    }

    /// Checks every checksum. `progress(done, total)` counts bytes of the file and is called about ten
    /// times a second, from this thread.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<(), Error> {
        self.verify_with(progress, |unpacker, chunk| {
            unpacker.packed(self, chunk).map(|_| ())
        })
    }

    /// The same without decompressing: every byte of the file is as it was written. For who loads it next.
    pub fn verify_stored(&self, progress: impl FnMut(u64, u64)) -> Result<(), Error> {
        self.verify_with(progress, |unpacker, chunk| unpacker.fetch(self, chunk))
    }

    fn verify_with(
        &self,
        mut progress: impl FnMut(u64, u64),
        work: impl Fn(&mut Unpacker, &Chunk) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let names: Vec<String> = self.sections().map(str::to_owned).collect();
        for name in &names {
            self.blob(name)?;
        }
        let total = self.chunks.iter().map(|c| u64::from(c.stored)).sum();
        let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let caller = std::thread::current();
        std::thread::scope(|scope| {
            let check = scope.spawn(|| {
                let result = self.parallel(&self.chunks, 0, |unpacker, chunk| {
                    work(unpacker, chunk)?;
                    done.fetch_add(u64::from(chunk.stored), Ordering::Relaxed);
                    Ok(())
                });
                over.store(true, Ordering::Release);
                caller.unpark();
                result
            });
            while !over.load(Ordering::Acquire) && !check.is_finished() {
                progress(done.load(Ordering::Relaxed), total);
                std::thread::park_timeout(Duration::from_millis(100));
            }
            progress(done.load(Ordering::Relaxed), total);
            check
                .join()
                .unwrap_or_else(|_| Err(Error::damaged(&self.path, "a checking thread failed")))
        })
    }

    /// Does `work` on each job with several threads; stops at the first error.
    fn parallel<J: Sync>(
        &self,
        jobs: &[J],
        threads: usize,
        work: impl Fn(&mut Unpacker, &J) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let run = |worker| {
            let result = Unpacker::new(self, worker).and_then(|mut unpacker| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(&mut unpacker, job)?;
                }
                Ok(())
            });
            if let Err(error) = result {
                next.store(jobs.len(), Ordering::Relaxed);
                if let Ok(mut slot) = failed.lock() {
                    slot.get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            let run = &run;
            for worker in 1..workers(threads).min(jobs.len()) {
                // Fewer threads than wished for only make it slower.
                let _ = std::thread::Builder::new()
                    .name("image".into())
                    .spawn_scoped(scope, move || run(worker));
            }
            run(0);
        });
        match failed.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Where a region goes; threads write disjoint parts of it.
struct Target(*mut u8);

// SAFETY: each chunk's span is written by the one thread that took the chunk.
unsafe impl Sync for Target {}
