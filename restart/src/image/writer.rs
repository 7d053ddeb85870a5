//! Writing an image: workers fetch chunks, pack them and write them, each at the place that is next in the file.

use super::format::{
    encode_index, seal_of, Chunk, Directory, Header, RegionEntry, SectionEntry, Trailer, CHUNK,
};
use super::pack::{Data, Packed, Packer, Span};
use super::{workers, Error, Options, Progress, Region, Source, Summary};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often the kernel is told to start writing to disk, so that the last fsync is short.
const FLUSH_EVERY: u64 = 32 << 20;

/// Writes one rank's image.
pub struct Writer {
    path: PathBuf,
    output: Arc<Output>,
    header_crc: u32,
    directory: Directory,
    spanned: u64,
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    finished: bool,
}

/// What the workers share.
struct Output {
    temporary: PathBuf,
    file: File,
    /// Where the file ends, with what is being written.
    end: AtomicU64,
    /// The kernel writes it to disk up to here.
    flushed: AtomicU64,
    chunks: Mutex<Vec<Chunk>>,
    /// The first thing that went wrong.
    failed: Mutex<Option<Error>>,
    progress: Arc<Progress>,
}

/// A chunk to write.
struct Job {
    region: u32,
    offset: u64,
    len: usize,
    from: From,
}

/// Where its bytes are.
enum From {
    Memory(Span),
    Source(Arc<dyn Source>),
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
        let output = Arc::new(Output {
            temporary,
            file,
            end: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            chunks: Mutex::default(),
            failed: Mutex::default(),
            progress: options.progress,
        });
        let count = workers(options.workers);
        let (jobs, queue) = sync_channel::<Job>(4 * count);
        let queue = Arc::new(Mutex::new(queue));
        let mut writer = Writer {
            path,
            output,
            header_crc: seal_of(&bytes),
            directory: Directory::default(),
            spanned: 0,
            jobs: Some(jobs),
            threads: Vec::new(),
            finished: false,
        };
        for number in 0..count {
            let packer =
                Packer::new(options.level).map_err(Error::io(&writer.path, "set up zstd"))?;
            let (queue, output) = (Arc::clone(&queue), Arc::clone(&writer.output));
            let worker = Worker {
                number,
                packer,
                output,
            };
            let thread = std::thread::Builder::new()
                .name("image".into())
                .spawn(move || worker.run(&queue))
                .map_err(Error::io(&writer.path, "start a thread"))?;
            writer.threads.push(thread);
        }
        writer.output.put(&bytes)?;
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
        let offset = self.output.put(bytes)?;
        self.directory.sections.push(SectionEntry {
            name: name.into(),
            offset,
            len: bytes.len() as u64,
            crc: crc32fast::hash(bytes),
        });
        Ok(())
    }

    /// Adds a region without its contents: the restorer maps it from its file, or empty.
    pub fn region(&mut self, region: &Region) -> usize {
        self.output.progress.add(region.len() as u64);
        self.entry(region, false)
    }

    fn entry(&mut self, region: &Region, held: bool) -> usize {
        self.directory.regions.push(RegionEntry {
            region: region.clone(),
            held,
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
        self.add(region, len, |offset, len| {
            // SAFETY: `offset < len`, inside the memory that the caller names.
            let ptr = unsafe { ptr.add(offset) };
            From::Memory(Span { ptr, len })
        })
    }

    /// Adds a region with its contents, which `source` gives; pages that are zero are left out. Returns the region's
    /// index.
    pub fn source(&mut self, region: &Region, source: &Arc<dyn Source>) -> Result<usize, Error> {
        self.add(region, region.len(), |_, _| {
            From::Source(Arc::clone(source))
        })
    }

    fn add(
        &mut self,
        region: &Region,
        len: usize,
        from: impl Fn(usize, usize) -> From,
    ) -> Result<usize, Error> {
        assert!(len <= region.len(), "more bytes than the region has");
        let index = self.entry(region, true);
        self.spanned += len as u64;
        for offset in (0..len).step_by(CHUNK) {
            let span = CHUNK.min(len - offset);
            let job = Job {
                region: index as u32,
                offset: offset as u64,
                len: span,
                from: from(offset, span),
            };
            // A send fails when no worker is left.
            if self.jobs.as_ref().is_none_or(|j| j.send(job).is_err()) {
                return Err(self.failure());
            }
        }
        Ok(index)
    }

    /// Why no worker is left.
    fn failure(&self) -> Error {
        let failed = lock(&self.output.failed).take();
        let ended = || io::Error::other("the compressing threads have ended");
        failed.unwrap_or_else(|| Error::io(&self.path, "compress")(ended()))
    }

    /// Writes what is left, the index and the trailer; the image has its name, and is on disk, when this returns.
    pub fn finish(mut self) -> Result<Summary, Error> {
        self.jobs = None;
        let ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        if ends.iter().any(Result::is_err) || lock(&self.output.failed).is_some() {
            return Err(self.failure());
        }
        if self.output.progress.read().is_none() {
            return Err(given_up(&self.output.temporary));
        }
        let mut chunks = std::mem::take(&mut *lock(&self.output.chunks));
        chunks.sort_unstable_by_key(|c| (c.region, c.offset));
        let memory = chunks.iter().map(|c| u64::from(c.packed)).sum();
        let index = encode_index(&self.directory, &chunks).map_err(|cause| Error::Section {
            path: self.path.clone(),
            name: "index".into(),
            cause,
        })?;
        let index_offset = self.output.put(&index)?;
        let trailer = Trailer {
            index_offset,
            index_len: index.len() as u64,
            file_len: index_offset + index.len() as u64 + super::format::TRAILER as u64,
            memory,
            index_crc: crc32fast::hash(&index),
            header_crc: self.header_crc,
        };
        let bytes = trailer.encode();
        self.output.put(&bytes)?;
        let temporary = &self.output.temporary;
        let synced = self.output.file.sync_all();
        synced.map_err(Error::io(temporary, "write to disk"))?;
        std::fs::rename(temporary, &self.path)
            .map_err(Error::io(&self.path, "rename the finished image to"))?;
        self.finished = true;
        sync_directory_of(&self.path)?;
        Ok(Summary {
            bytes: trailer.file_len,
            memory,
            spanned: self.spanned,
            crc: seal_of(&bytes),
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
            let _ = std::fs::remove_file(&self.output.temporary);
        }
    }
}

impl Output {
    /// Writes bytes where the file ends; gives that place.
    fn put(&self, bytes: &[u8]) -> Result<u64, Error> {
        let len = bytes.len() as u64;
        let at = self.end.fetch_add(len, Ordering::Relaxed);
        self.file
            .write_all_at(bytes, at)
            .map_err(|e| self.cannot_write(e, at))?;
        let flushed = self.flushed.load(Ordering::Relaxed);
        let end = at + len;
        let mine = end.saturating_sub(flushed) >= FLUSH_EVERY
            && self
                .flushed
                .compare_exchange(flushed, end, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            // SAFETY: a plain system call on our own descriptor; it only starts write-back.
            unsafe {
                libc::sync_file_range(
                    self.file.as_raw_fd(),
                    flushed as i64,
                    (end - flushed) as i64,
                    libc::SYNC_FILE_RANGE_WRITE,
                )
            };
        }
        Ok(at)
    }

    /// A failed write; on a full disk with the figures.
    fn cannot_write(&self, cause: io::Error, written: u64) -> Error {
        let full = matches!(cause.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
        match super::room(&self.file).filter(|_| full) {
            None => Error::io(&self.temporary, "write")(cause),
            Some((free, total)) => Error::Full {
                path: self.temporary.clone(),
                written,
                done: self.progress.now(),
                free,
                total,
                cause,
            },
        }
    }
}

/// A thread that writes chunks until there are no more, or one can't be written.
struct Worker {
    number: usize,
    packer: Packer,
    output: Arc<Output>,
}

impl Worker {
    fn run(mut self, queue: &Mutex<Receiver<Job>>) {
        loop {
            let job = lock(queue).recv();
            let Ok(job) = job else { return };
            if lock(&self.output.failed).is_some() {
                return;
            }
            if let Err(error) = self.write(&job) {
                lock(&self.output.failed).get_or_insert(error);
                return;
            }
        }
    }

    fn write(&mut self, job: &Job) -> Result<(), Error> {
        let output = Arc::clone(&self.output);
        let progress = Arc::clone(&output.progress);
        let reading = progress.read();
        let mut reading = Some(reading.ok_or_else(|| given_up(&output.temporary))?);
        match &job.from {
            From::Memory(span) => {
                // SAFETY: `Writer::memory`'s caller keeps the bytes until the writer has joined this thread, or gives
                // the image up, which waits for `reading`. Once that is dropped only the kernel reads them, for a write
                // that nobody wants any more if they are gone.
                let bytes = unsafe { span.bytes() };
                let packed = self.packer.pack(bytes);
                drop(reading);
                self.put(job, bytes, &packed)?;
            }
            From::Source(source) => {
                let mut done = Ok(());
                let fetched = source.read(self.number, job.offset, job.len, &mut |bytes| {
                    let packed = self.packer.pack(bytes);
                    reading = None;
                    done = self.put(job, bytes, &packed);
                });
                fetched.map_err(|why| Error::Source {
                    path: output.temporary.clone(),
                    why,
                })?;
                done?;
            }
        }
        progress.add(job.len as u64);
        Ok(())
    }

    fn put(&mut self, job: &Job, span: &[u8], packed: &Packed) -> Result<(), Error> {
        let bytes = match packed.data {
            Data::Nothing => return Ok(()),
            Data::InPlace => span,
            Data::Buffer => self.packer.buffer(),
        };
        let chunk = Chunk {
            region: job.region,
            codec: packed.codec,
            offset: job.offset,
            file_offset: self.output.put(bytes)?,
            stored: bytes.len() as u32,
            packed: packed.packed as u32,
            span: job.len as u32,
            crc: packed.crc,
            pages: packed.pages,
        };
        lock(&self.output.chunks).push(chunk);
        Ok(())
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn given_up(path: &Path) -> Error {
    Error::io(path, "write")(io::Error::other("it was given up"))
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
