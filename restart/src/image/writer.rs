//! Writing an image: workers pack chunks in parallel, one thread writes them in order.

use super::format::{
    encode_index, seal_of, Chunk, Directory, Header, RegionEntry, SectionEntry, Trailer, CHUNK,
};
use super::pack::{Data, Packed, Packer, Span};
use super::{workers, Error, Options, Progress, Region, Summary};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often the kernel is told to start writing to disk, so that the last fsync is short.
const FLUSH_EVERY: u64 = 32 << 20;

/// Writes one rank's image.
pub struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    offset: u64,
    flushed: u64,
    header_crc: u32,
    directory: Directory,
    chunks: Vec<Chunk>,
    memory: u64,
    spanned: u64,
    jobs: Option<Sender<Job>>,
    done: Receiver<(u64, Packed)>,
    threads: Vec<JoinHandle<()>>,
    /// Chunks handed to the workers and not yet written, oldest first.
    waiting: VecDeque<(Place, Option<Packed>)>,
    /// Sequence number of the oldest.
    first: u64,
    buffers: Vec<Vec<u8>>,
    finished: bool,
    progress: Arc<Progress>,
}

struct Job {
    number: u64,
    span: Span,
    buffer: Vec<u8>,
}

struct Place {
    region: u32,
    offset: u64,
    span: Span,
}

impl Writer {
    /// Starts an image that will have the name `path`. Until `finish` it has a temporary name beside it.
    pub fn create(path: impl AsRef<Path>, options: Options) -> Result<Writer, Error> {
        let path = path.as_ref().to_owned();
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(Error::io(&temporary, "create"))?;

        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let (results, done) = channel();
        let mut threads = Vec::new();
        for _ in 0..workers(options.workers) {
            let mut packer = Packer::new(options.level).map_err(Error::io(&path, "set up zstd"))?;
            let (queue, results) = (queue.clone(), results.clone());
            let progress = Arc::clone(&options.progress);
            let thread = std::thread::Builder::new()
                .name("image".into())
                .spawn(move || work(&mut packer, &queue, &results, &progress))
                .map_err(Error::io(&path, "start a thread"))?;
            threads.push(thread);
        }

        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |t| t.as_secs());
        let header = Header {
            rank: options.rank,
            ranks: options.ranks,
            generation: options.generation,
            time,
        };
        let bytes = header.encode();
        let mut writer = Writer {
            path,
            temporary,
            file: BufWriter::with_capacity(CHUNK, file),
            offset: 0,
            flushed: 0,
            header_crc: seal_of(&bytes),
            directory: Directory::default(),
            chunks: Vec::new(),
            memory: 0,
            spanned: 0,
            jobs: Some(jobs),
            done,
            threads,
            waiting: VecDeque::new(),
            first: 0,
            buffers: Vec::new(),
            finished: false,
            progress: options.progress,
        };
        writer.put(&bytes)?;
        Ok(writer)
    }

    /// Adds a named section, as JSON.
    pub fn section<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|cause| Error::Section {
            path: self.path.clone(),
            name: name.into(),
            cause,
        })?;
        self.blob(name, &bytes)
    }

    /// Adds a named section of raw bytes.
    pub fn blob(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (offset, len, crc) = (self.offset, bytes.len() as u64, crc32fast::hash(bytes));
        self.put(bytes)?;
        self.directory.sections.push(SectionEntry {
            name: name.into(),
            offset,
            len,
            crc,
        });
        Ok(())
    }

    fn count(&self, bytes: usize) {
        self.progress.add(bytes as u64);
    }

    /// Adds a region without its contents: the restorer maps it from its file, or empty.
    pub fn region(&mut self, region: &Region) -> usize {
        self.count(region.len());
        self.entry(region)
    }

    fn entry(&mut self, region: &Region) -> usize {
        self.directory.regions.push(RegionEntry {
            region: region.clone(),
            held: false,
        });
        self.directory.regions.len() - 1
    }

    /// Adds a region with its contents, read from `[ptr, ptr + len)`; pages that are zero are left out.
    /// Returns the region's index.
    ///
    /// # Safety
    /// The bytes must stay mapped, readable and unchanged until `finish` returns, the writer is
    /// dropped, or `Progress::abandon` has returned: workers still read them after this call.
    pub unsafe fn memory(
        &mut self,
        region: &Region,
        ptr: *const u8,
        len: usize,
    ) -> Result<usize, Error> {
        assert!(len <= region.len(), "more bytes than the region has");
        let index = self.entry(region);
        self.directory.regions[index].held = true;
        self.spanned += len as u64;
        let depth = 4 * self.threads.len() + 4;
        let mut offset = 0;
        while offset < len {
            while self.waiting.len() >= depth {
                self.write_oldest()?;
            }
            // SAFETY: `offset < len`, inside the memory that the caller names.
            let span = Span {
                ptr: unsafe { ptr.add(offset) },
                len: CHUNK.min(len - offset),
            };
            let number = self.first + self.waiting.len() as u64;
            let buffer = self.buffers.pop().unwrap_or_default();
            if let Some(jobs) = &self.jobs {
                // A send fails only when no worker is left; `write_oldest` reports that.
                let _ = jobs.send(Job {
                    number,
                    span,
                    buffer,
                });
            }
            self.waiting.push_back((
                Place {
                    region: index as u32,
                    offset: offset as u64,
                    span,
                },
                None,
            ));
            offset += span.len;
        }
        Ok(index)
    }

    /// Waits for the oldest chunk and writes it.
    fn write_oldest(&mut self) -> Result<(), Error> {
        while self
            .waiting
            .front()
            .is_some_and(|(_, packed)| packed.is_none())
        {
            let (number, packed) = self.done.recv().map_err(|_| {
                Error::io(&self.path, "compress")(io::Error::other(
                    "the compressing threads have ended",
                ))
            })?;
            self.waiting[(number - self.first) as usize].1 = Some(packed);
        }
        let Some((place, Some(packed))) = self.waiting.pop_front() else {
            return Ok(());
        };
        self.first += 1;
        self.count(place.span.len);
        let chunk = Chunk {
            region: place.region,
            codec: packed.codec,
            offset: place.offset,
            file_offset: self.offset,
            stored: match &packed.data {
                Data::Nothing => return Ok(()),
                Data::InPlace => place.span.len as u32,
                Data::Bytes(bytes) => bytes.len() as u32,
            },
            packed: packed.packed as u32,
            span: place.span.len as u32,
            crc: packed.crc,
            pages: packed.pages,
        };
        match packed.data {
            Data::Bytes(bytes) => {
                self.put(&bytes)?;
                self.buffers.push(bytes);
            }
            _ => self.put_in_place(&place.span)?,
        }
        self.memory += u64::from(chunk.packed);
        self.chunks.push(chunk);
        Ok(())
    }

    /// Writes memory as it is. Whole chunks are read by the kernel alone: a write that hangs reads them when nobody
    /// wants the image any more, and fails if they are gone.
    fn put_in_place(&mut self, span: &Span) -> Result<(), Error> {
        let progress = Arc::clone(&self.progress);
        let reading = progress
            .read()
            .ok_or_else(|| Error::io(&self.path, "write")(given_up()))?;
        // SAFETY: `memory`'s caller keeps the bytes as they are until `finish`, drop, or the image is given up.
        let bytes = unsafe { span.bytes() };
        if bytes.len() >= CHUNK {
            // Nothing of ours reads them: the buffer in between takes no more than it holds.
            drop(reading);
            return self.put(bytes);
        }
        let copy = bytes.to_vec();
        drop(reading);
        self.put(&copy)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(Error::io(&self.temporary, "write"))?;
        self.offset += bytes.len() as u64;
        if self.offset - self.flushed >= FLUSH_EVERY {
            // SAFETY: a plain system call on our own descriptor; it only starts write-back.
            unsafe {
                libc::sync_file_range(
                    self.file.get_ref().as_raw_fd(),
                    self.flushed as i64,
                    (self.offset - self.flushed) as i64,
                    libc::SYNC_FILE_RANGE_WRITE,
                )
            };
            self.flushed = self.offset;
        }
        Ok(())
    }

    /// Writes what is left, the index and the trailer; the image has its name, and is on disk, when this returns.
    pub fn finish(mut self) -> Result<Summary, Error> {
        while !self.waiting.is_empty() {
            self.write_oldest()?;
        }
        let index =
            encode_index(&self.directory, &self.chunks).map_err(|cause| Error::Section {
                path: self.path.clone(),
                name: "index".into(),
                cause,
            })?;
        let trailer = Trailer {
            index_offset: self.offset,
            index_len: index.len() as u64,
            file_len: self.offset + index.len() as u64 + super::format::TRAILER as u64,
            memory: self.memory,
            index_crc: crc32fast::hash(&index),
            header_crc: self.header_crc,
        }
        .encode();
        self.put(&index)?;
        self.put(&trailer)?;
        self.file
            .flush()
            .map_err(Error::io(&self.temporary, "write"))?;
        self.file
            .get_ref()
            .sync_all()
            .map_err(Error::io(&self.temporary, "write to disk"))?;
        std::fs::rename(&self.temporary, &self.path)
            .map_err(Error::io(&self.path, "rename the finished image to"))?;
        self.finished = true;
        sync_directory_of(&self.path)?;
        Ok(Summary {
            bytes: self.offset,
            memory: self.memory,
            spanned: self.spanned,
            crc: seal_of(&trailer),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Workers read the application's memory: none may be left when the caller goes on. Those of an image that was
        // given up read none.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if !self.finished {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

fn given_up() -> io::Error {
    io::Error::other("it was given up")
}

/// A worker: packs chunks until the writer is done.
fn work(
    packer: &mut Packer,
    queue: &Mutex<Receiver<Job>>,
    results: &Sender<(u64, Packed)>,
    progress: &Progress,
) {
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        let Some(reading) = progress.read() else {
            return;
        };
        // SAFETY: `Writer::memory`'s caller keeps the bytes until the writer has joined this thread, or gives the image
        // up, which waits for `reading`.
        let packed = packer.pack(unsafe { job.span.bytes() }, job.buffer);
        drop(reading);
        if results.send((job.number, packed)).is_err() {
            return;
        }
    }
}

/// Makes a new name last: fsyncs the directory that holds `path`.
pub(crate) fn sync_directory_of(path: &Path) -> Result<(), Error> {
    let directory = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let opened = File::open(directory).map_err(Error::io(directory, "open"))?;
    opened
        .sync_all()
        .map_err(Error::io(directory, "write to disk"))
}
