//! Writing the image of this process, whose threads are stopped.

use super::code;
use super::device;
use super::launch::Settings;
use super::maps::{self, Mapping};
use super::{guards, memory, shared};
use crate::resources::Resources;
use anyhow::{Context, Result};
use lh_loader::layout::PAGE;
use lh_loader::lhinfo;
use restart::code::Identity;
use restart::image::{FileRef, Options, Progress, Region, Summary, Writer};
use restart::manifest;
use restart::meta::{self, Meta};
use restart::xsave;
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// Name of the section that holds `Resources`.
pub const RESOURCES: &str = "resources";
/// Name of the section that says which build of the loader it was: threads may be stopped in its router.
pub const LOADER: &str = "loader";
/// Names of the sections that `splitproc inspect` shows: the threads, and what the plugin says of MPI (JSON).
const THREADS: &str = "threads";
const MPI: &str = "mpi";
/// Name of the section that holds what the kernel was advised about memory.
pub const ADVICE: &str = "advice";

/// Name of the section that holds where guard regions are.
pub const GUARDS: &str = "guards";

/// Anonymous regions from this size on are looked at in parts, of which untouched ones are not read.
const SPARSE: usize = 8 << 20;
/// Size of such a part: one chunk of the image.
const PART: usize = 1 << 20;
/// Present or swapped, in `/proc/self/pagemap`.
const TOUCHED: u64 = 3 << 62;

/// Which image it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The rank.
    pub rank: u32,
    /// Ranks of the job.
    pub size: u32,
    /// Generation.
    pub generation: u64,
}

/// Looks for what can't be saved, before any thread is stopped or while they are `still`; and what takes time is found
/// out here.
pub fn obstacles(settings: &Settings, still: bool) -> Result<()> {
    loader()?;
    let mut mappings = maps::own()?;
    mappings.retain(Mapping::is_saved);
    // Code first: a library is the reason for memory of its own.
    let is_code = |m: &&Mapping| m.prot & libc::PROT_EXEC != 0;
    let (code, data): (Vec<_>, Vec<_>) = mappings.iter().partition(is_code);
    code.into_iter().chain(data).try_for_each(memory::check)?;
    shared::check(&mappings)?;
    code::mapped(&mappings);
    Resources::capture(&settings.launcher, &[], still).map(|_| ())
}

/// The loader's program, which is read once.
pub fn loader() -> Result<Identity> {
    static KNOWN: OnceLock<Identity> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let path = Path::new("/proc/thread-self/exe");
    let read = Identity::of(path).context("the loader's program can't be read")?;
    let read = read.context("the loader's program is no ELF file")?;
    Ok(KNOWN.get_or_init(|| read).clone())
}

/// Writes the image of this process, whose threads are stopped: they have these slots.
pub fn save(
    folder: &Path,
    place: Place,
    settings: &Settings,
    stopped: &[usize],
    objects: &[u8],
    progress: &Arc<Progress>,
) -> Result<Summary> {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    let tids: Vec<u32> = stopped
        .iter()
        .map(|&s| info.threads[s].real_tid.load(Ordering::Acquire))
        .collect();
    let resources = Resources::capture(&settings.launcher, &tids, true)?;
    let options = Options {
        level: settings.level,
        workers: 0,
        rank: place.rank,
        ranks: place.size,
        generation: place.generation,
        progress: Arc::clone(progress),
    };
    // What is copied out of unreadable mappings must outlive the writer, whose workers read it: also when
    // an error drops both.
    let mut copies = Vec::new();
    let mut writer = Writer::create(folder.join(manifest::image_name(place.rank)), options)?;
    writer.section(meta::SECTION, &describe(place, settings))?;
    writer.section(RESOURCES, &resources)?;
    writer.section(LOADER, &loader()?)?;
    writer.section(THREADS, &threads(stopped))?;
    if !objects.is_empty() {
        writer.blob(MPI, objects)?;
    }
    let memory = File::open("/proc/thread-self/mem").context("/proc/thread-self/mem")?;
    let pagemap = File::open("/proc/thread-self/pagemap").ok();
    let mut mappings = maps::own()?;
    mappings.retain(Mapping::is_saved);
    for mapping in &mappings {
        memory::check(mapping)?;
    }
    shared::check(&mappings)?;
    writer.section(restart::code::SECTION, &code::mapped(&mappings))?;
    writer.section(ADVICE, &memory::capture(&mappings)?)?;
    let mut guarded = Vec::new();
    if let Some(pagemap) = &pagemap {
        let readable = |m: &&Mapping| m.inode == 0 && m.prot & libc::PROT_READ != 0;
        for mapping in mappings.iter().filter(readable) {
            guarded.extend(guards::find(pagemap, mapping)?);
        }
    }
    writer.section(GUARDS, &guarded)?;
    let devices = device::wanted();
    let lengths = mappings.iter().map(Mapping::len);
    let lengths = lengths.chain(devices.iter().map(|(region, _)| region.len()));
    progress.expect(lengths.map(|len| len as u64).sum());
    for (region, source) in &devices {
        writer.source(region, source)?;
    }
    let mut elsewhere = elsewhere();
    elsewhere.extend(&guarded);
    elsewhere.sort_unstable();
    for mapping in &mappings {
        let mut source = Source {
            writer: &mut writer,
            memory: &memory,
            pagemap: pagemap.as_ref(),
            copies: &mut copies,
        };
        for (part, here) in mapping.parts(&elsewhere) {
            if here {
                source
                    .add(&part)
                    .with_context(|| format!("memory at {:#x}", part.start))?;
            } else {
                source.writer.region(&region_of(&part));
            }
        }
    }
    Ok(writer.finish()?)
}

/// Memory whose contents another rank's image has, in order.
fn elsewhere() -> Vec<[usize; 2]> {
    // SAFETY: lhInfo is mapped for the life of the process.
    let [at, count] = unsafe { &lhinfo::get().upper.elsewhere };
    let at = at.load(Ordering::Acquire) as *const [usize; 2];
    match count.load(Ordering::Acquire) {
        0 => Vec::new(),
        // SAFETY: the plugin keeps so many there until the threads run again.
        n => unsafe { std::slice::from_raw_parts(at, n) }.to_vec(),
    }
}

fn describe(place: Place, settings: &Settings) -> Meta {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    let exe = info.upper.exe.split(|b| *b == 0).next().unwrap_or_default();
    let read = |path| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    Meta {
        rank: place.rank,
        size: place.size,
        generation: place.generation,
        program: settings.argv.first().cloned().unwrap_or_default(),
        argv: settings.argv.clone(),
        exe: String::from_utf8_lossy(exe).into_owned(),
        random: info.random.iter().map(|b| format!("{b:02x}")).collect(),
        hole: info.hole,
        crossing: lhinfo::CROSSINGS[info.crossing as usize].to_owned(),
        mpi_library: settings.mpi_library(),
        cuda: settings.cuda_device(),
        halves: settings.asked_halves(),
        cpu_flags: meta::cpu_flags(),
        xsave: Some(xsave::Layout::here()),
        kernel: read("/proc/sys/kernel/osrelease"),
        host: read("/proc/sys/kernel/hostname"),
        pid: info.upper.pid.load(Ordering::Acquire),
    }
}

/// A thread, for people.
#[derive(Serialize)]
struct Thread {
    tid: u32,
    name: String,
    /// Saved as if it had not yet called MPI.
    calls_again: bool,
}

fn threads(stopped: &[usize]) -> Vec<Thread> {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    let thread = |&slot: &usize| {
        let thread = &info.threads[slot];
        let name = thread.name.split(|b| *b == 0).next().unwrap_or_default();
        Thread {
            tid: thread.tid.load(Ordering::Acquire),
            name: String::from_utf8_lossy(name).into_owned(),
            calls_again: thread.in_call == 1,
        }
    };
    stopped.iter().map(thread).collect()
}

/// Where regions are read from and written to.
struct Source<'a> {
    writer: &'a mut Writer,
    memory: &'a File,
    pagemap: Option<&'a File>,
    copies: &'a mut Vec<Vec<u8>>,
}

impl Source<'_> {
    fn add(&mut self, mapping: &Mapping) -> Result<()> {
        let region = region_of(mapping);
        let deleted = region.file.as_ref().is_some_and(|f| f.deleted);
        let files = mapping.shared && mapping.inode != 0 && !deleted;
        if files && !shared::is_memory(mapping) {
            self.writer.region(&region);
            return Ok(());
        }
        let anonymous = mapping.inode == 0;
        let readable = mapping.prot & libc::PROT_READ != 0;
        if anonymous && (mapping.len() >= SPARSE || !readable) {
            return self.add_sparse(&region, readable);
        }
        if anonymous && readable {
            return self.add_direct(&region);
        }
        match behind(mapping) {
            Some(len) => self.add_copied(&region, len),
            None => self.add_what_is_there(&region),
        }
    }

    /// Anonymous memory that can be read where it is.
    fn add_direct(&mut self, region: &Region) -> Result<()> {
        // SAFETY: readable memory of stopped threads; it stays as it is until they are released, which
        // is after `finish`.
        unsafe {
            self.writer
                .memory(region, region.start as *const u8, region.len())?
        };
        Ok(())
    }

    /// Large memory: only what has been touched is read.
    fn add_sparse(&mut self, region: &Region, readable: bool) -> Result<()> {
        let Some(pagemap) = self.pagemap else {
            return if readable {
                self.add_direct(region)
            } else {
                self.add_copied(region, region.len())
            };
        };
        let mut entries = vec![0_u8; PART / PAGE * 8];
        let mut run: Option<(Region, bool)> = None;
        let mut at = region.start;
        while at < region.end {
            let end = region.end.min((at / PART + 1) * PART);
            let bytes = &mut entries[..(end - at) / PAGE * 8];
            pagemap
                .read_exact_at(bytes, (at / PAGE * 8) as u64)
                .context("/proc/thread-self/pagemap")?;
            let touched = bytes.chunks_exact(8).any(|e| {
                e.try_into()
                    .is_ok_and(|e| u64::from_ne_bytes(e) & TOUCHED != 0)
            });
            match &mut run {
                Some((part, same)) if *same == touched => part.end = end,
                _ => {
                    let next = Region {
                        start: at,
                        end,
                        ..region.clone()
                    };
                    if let Some(done) = run.replace((next, touched)) {
                        self.add_part(done, readable)?;
                    }
                }
            }
            at = end;
        }
        run.map_or(Ok(()), |done| self.add_part(done, readable))
    }

    fn add_part(&mut self, (part, touched): (Region, bool), readable: bool) -> Result<()> {
        match (touched, readable) {
            (false, _) => {
                self.writer.region(&part);
                Ok(())
            }
            (true, true) => self.add_direct(&part),
            (true, false) => self.add_copied(&part, part.len()),
        }
    }

    /// Memory that can't be read where it is, of which there are so many bytes; the rest stays zero.
    fn add_copied(&mut self, region: &Region, len: usize) -> Result<()> {
        let mut bytes = vec![0_u8; region.len()];
        self.memory
            .read_exact_at(&mut bytes[..len], region.start as u64)
            .with_context(|| unreadable(region))?;
        self.add_bytes(region, bytes)
    }

    /// A file's memory where nobody tells how long the file is. Behind its end nothing can be read, so what is unreadable
    /// before something readable is a fault.
    fn add_what_is_there(&mut self, region: &Region) -> Result<()> {
        let mut bytes = vec![0_u8; region.len()];
        let mut unread = None;
        for (at, page) in (region.start..).step_by(PAGE).zip(bytes.chunks_mut(PAGE)) {
            match (self.memory.read_exact_at(page, at as u64), unread.take()) {
                (Ok(()), Some(error)) => return Err(error).with_context(|| unreadable(region)),
                (Ok(()), None) => {}
                (Err(error), first) => unread = first.or(Some(error)),
            }
        }
        self.add_bytes(region, bytes)
    }

    fn add_bytes(&mut self, region: &Region, bytes: Vec<u8>) -> Result<()> {
        let (at, len) = (bytes.as_ptr(), bytes.len());
        self.copies.push(bytes);
        // SAFETY: the copy outlives the writer; moving the vector does not move its bytes.
        unsafe { self.writer.memory(region, at, len)? };
        Ok(())
    }
}

/// Bytes of a file's mapping that have the file behind them; `None`: its length can't be found out.
fn behind(mapping: &Mapping) -> Option<usize> {
    // A file without a name can be asked so, but only with CAP_CHECKPOINT_RESTORE.
    let (start, end) = (mapping.start, mapping.end);
    let link = format!("/proc/self/map_files/{start:x}-{end:x}");
    let named = (!mapping.is_deleted()).then_some(mapping.name.as_str());
    let found = [Some(link.as_str()), named].into_iter().flatten();
    let mut found = found.filter_map(|path| std::fs::metadata(path).ok());
    let file = found.find(|m| m.is_file() && m.ino() == mapping.inode)?;
    let len = file.size().saturating_sub(mapping.offset);
    Some((len.next_multiple_of(PAGE as u64) as usize).min(mapping.len()))
}

fn unreadable(region: &Region) -> String {
    let file = region.file.as_ref().map(|f| f.path.to_string_lossy());
    let name = file.unwrap_or(region.name.as_str().into());
    format!(
        "{:#x}-{:#x} ({name}) can't be read",
        region.start, region.end
    )
}

/// A mapping as the image knows it.
fn region_of(mapping: &Mapping) -> Region {
    let named = mapping.inode != 0 && mapping.name.starts_with('/');
    let file = named.then(|| {
        let path = mapping.name.trim_end_matches(" (deleted)");
        let now = std::fs::metadata(path)
            .ok()
            .filter(|m| m.ino() == mapping.inode);
        let dev = libc::makedev(mapping.dev.0, mapping.dev.1);
        FileRef {
            path: path.into(),
            offset: mapping.offset,
            dev: now.as_ref().map_or(dev, MetadataExt::dev),
            inode: mapping.inode,
            size: now.as_ref().map_or(0, MetadataExt::size),
            mtime: now.as_ref().map_or(0, MetadataExt::mtime),
            deleted: mapping.is_deleted(),
        }
    });
    Region {
        start: mapping.start,
        end: mapping.end,
        prot: mapping.prot as u32,
        shared: mapping.shared,
        file,
        name: if named {
            String::new()
        } else {
            mapping.name.clone()
        },
        device: false,
    }
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
