//! Bringing the process back: memory, lhInfo, descriptors; then its threads.
//!
//! Everything that can be found wrong is found before anything is mapped.

use super::arrival::Arrival;
use super::code;
use super::coordinator::list;
use super::guards;
use super::launch::Settings;
use super::mailbox::{futex_wait, futex_wake, Channel};
use super::memory::{self, Advice};
use super::{save, stop, EVENT_BOUND};
use crate::resources::{Opened, Resources};
use anyhow::{bail, Context, Error, Result};
use lh_loader::layout::LHINFO_BASE;
use lh_loader::lhinfo::{self, LhInfo, HALF_READY, MAX_THREADS};
use lh_loader::restore::{ALIVE, PARKED};
use restart::code::Identity;
use restart::image::{FileRef, Load, Reader, Region};
use restart::meta::{self, Meta};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Event of the plugin's helper: adopt the fresh halves and replay.
const RESTART: u32 = 3;
/// The other halves are loaded, and threads come up, in less than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A restart that takes longer waits for other ranks: no thread of the program runs, all block signals, and one
/// that is to end the process is looked for.
const REPLAY: Duration = Duration::from_secs(1);
/// Such signals, as a mask.
const ENDING: u64 = 1 << (libc::SIGTERM - 1) | 1 << (libc::SIGINT - 1) | 1 << (libc::SIGHUP - 1);

/// A process whose memory and descriptors are back.
pub struct Restored {
    resources: Resources,
    /// Tids as they were at the checkpoint, by slot.
    old: Vec<u32>,
    /// Says that this rank is there.
    arrival: Arrival,
    /// How long the other ranks are waited for.
    timeout: Duration,
}

/// Reads the image, whose bytes `splitproc restart` has verified, then puts memory and descriptors back. Each
/// chunk is checked once more when it is read, before any of the program runs.
pub fn memory(image: &Path, settings: &Settings) -> Result<Restored> {
    let reader = Reader::open(image)?;
    let meta: Meta = reader.section(meta::SECTION)?;
    let resources: Resources = reader.section(save::RESOURCES)?;
    if settings.mpi && meta.size > 1 && meta.rank != settings.env_rank {
        bail!(
            "it is the image of rank {}, and this is rank {}",
            meta.rank,
            settings.env_rank
        );
    }
    if reader.section::<Identity>(save::LOADER)? != save::loader()? {
        bail!(
            "it was written with another build of splitproc's loader; restart with the same build"
        );
    }
    meta.check_processor().map_err(Error::msg)?;
    wait_for_halves()?;
    let opened = resources.open(&settings.launcher)?;
    for warning in &opened.warnings {
        super::say(&format!("warning: {warning}"));
    }
    map(&reader, &opened)?;
    code::restored(reader.section(restart::code::SECTION)?);
    super::trigger::claim(settings);
    let old = threads()
        .iter()
        .map(|t| t.real_tid.load(Ordering::Acquire))
        .collect();
    resources.install(&opened, &mut warn)?;
    Ok(Restored {
        resources,
        old,
        arrival: Arrival::announce(&settings.dir, meta.rank, meta.size),
        timeout: settings.timeout,
    })
}

fn warn(message: String) {
    super::say(&format!("warning: {message}"));
}

/// The other halves open files while they are loaded, for a moment at numbers of the application's.
fn wait_for_halves() -> Result<()> {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    let deadline = Instant::now() + PATIENCE;
    let count = info.half_count as usize;
    while !info
        .halves
        .iter()
        .take(count)
        .all(|h| h.state.load(Ordering::Acquire) == HALF_READY)
    {
        if Instant::now() >= deadline {
            bail!("a lower half does not come up");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The process's pending signals that this thread blocks, as a mask.
fn pending() -> u64 {
    let mut set = 0_u64;
    let args = [&raw mut set as usize, size_of::<u64>(), 0, 0, 0, 0];
    // SAFETY: the kernel writes the set to a live variable of this size; a failure leaves it empty.
    let _ = unsafe { crate::sys::raw(libc::SYS_rt_sigpending, args) };
    set
}

/// The saved threads' slots.
fn threads() -> &'static [lhinfo::Thread] {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    &info.threads[..(info.thread_count.load(Ordering::Acquire) as usize).min(MAX_THREADS)]
}

/// Maps every region at its address and fills it.
fn map(reader: &Reader, opened: &Opened) -> Result<()> {
    // Words, so that the copy of lhInfo is aligned.
    let mut info = vec![0_u64; lhinfo::LEN / 8];
    let mut loads = Vec::new();
    let mut finished = Vec::new();
    let advice: Vec<Advice> = reader.section(save::ADVICE)?;
    let mut files = Files::new(reader);
    for (index, region) in reader.regions().iter().enumerate() {
        if region.device {
            // The plugin has it filled, once the fresh half has a place for it.
            continue;
        }
        if region.start == LHINFO_BASE {
            if region.len() != lhinfo::LEN {
                bail!("its lhInfo has another size; restart with the same build");
            }
            loads.push(Load {
                region: index,
                at: info.as_mut_ptr().cast(),
            });
            continue;
        }
        let what = || {
            format!(
                "memory at {:#x}-{:#x} ({})",
                region.start,
                region.end,
                name(region)
            )
        };
        let fill = reader.held(index);
        map_region(region, fill, opened, &mut files, &advice).with_context(what)?;
        if fill {
            // Two mappings of the same bytes must not be filled at the same time: that is done in place.
            if files.fills(region) {
                loads.push(Load {
                    region: index,
                    at: region.start as *mut u8,
                });
            }
            finished.push(region);
        }
    }
    // SAFETY: each target was mapped just now, writable, or is the buffer above; none overlap.
    unsafe { reader.load(&loads, 0)? };
    for region in finished {
        let args = [region.start, region.len(), region.prot as usize, 0, 0, 0];
        // SAFETY: our own mapping; nobody runs in it yet.
        unsafe { crate::sys::raw(libc::SYS_mprotect, args) }
            .with_context(|| format!("memory at {:#x} can't be protected", region.start))?;
    }
    memory::advise(&advice, &mut warn);
    guards::install(&reader.section::<Vec<[usize; 2]>>(save::GUARDS)?)?;
    // SAFETY: the buffer has the region's size and alignment, and plain data in it.
    adopt(unsafe { &*info.as_ptr().cast::<LhInfo>() })
}

fn name(region: &Region) -> String {
    match &region.file {
        Some(file) => file.path.display().to_string(),
        None => region.name.clone(),
    }
}

/// Files whose bytes the image has, for mappings hold them. Deleted ones live on in memory, one for all mappings of each.
struct Files {
    /// Those of which the image has bytes: one with a name is made again if it is gone.
    in_memory: HashSet<(u64, u64)>,
    /// What of each file has been filled, by a mapping.
    filled: Vec<((u64, u64), Range<u64>)>,
    /// Length that the mappings of each need.
    lengths: HashMap<(u64, u64), u64>,
    made: HashMap<(u64, u64), OwnedFd>,
}

/// A file's identity.
fn key(file: &FileRef) -> (u64, u64) {
    (file.dev, file.inode)
}

impl Files {
    fn new(reader: &Reader) -> Self {
        let regions = reader.regions();
        let held = |(i, r): (usize, &Region)| {
            r.file
                .as_ref()
                .filter(|_| r.shared && reader.held(i))
                .map(key)
        };
        let in_memory = regions.iter().enumerate().filter_map(held).collect();
        let mut lengths = HashMap::new();
        for region in regions {
            if let Some(file) = region.file.as_ref().filter(|f| f.deleted) {
                let length: &mut u64 = lengths.entry((file.dev, file.inode)).or_default();
                *length = (*length).max(file.offset + region.len() as u64);
            }
        }
        let made = HashMap::new();
        Files {
            in_memory,
            filled: Vec::new(),
            lengths,
            made,
        }
    }

    /// Whether another mapping of the same file has filled this region's bytes, or this one is to.
    fn fills(&mut self, region: &Region) -> bool {
        let Some(file) = region.file.as_ref().filter(|_| region.shared) else {
            return true;
        };
        let range = file.offset..file.offset + region.len() as u64;
        let holds = |(of, r): &((u64, u64), Range<u64>)| {
            *of == key(file) && r.start <= range.start && range.end <= r.end
        };
        let fills = !self.filled.iter().any(holds);
        if fills {
            self.filled.push((key(file), range));
        }
        fills
    }

    /// The file in memory that stands for this one.
    fn file(&mut self, file: &FileRef) -> Result<RawFd> {
        let key = key(file);
        if let Some(made) = self.made.get(&key) {
            return Ok(made.as_raw_fd());
        }
        // SAFETY: makes a descriptor, at a number of the host's, which becomes ours.
        let fd = unsafe {
            let fd = crate::sys::check(libc::memfd_create(c"shared".as_ptr(), libc::MFD_CLOEXEC))?;
            OwnedFd::from_raw_fd(fd)
        };
        let length = self.lengths.get(&key).copied().unwrap_or_default();
        let made = File::from(fd);
        made.set_len(length)?;
        Ok(self.made.entry(key).or_insert(made.into()).as_raw_fd())
    }
}

/// Maps one region. What is filled from the image is writable at first.
fn map_region(
    region: &Region,
    fill: bool,
    opened: &Opened,
    files: &mut Files,
    advice: &[Advice],
) -> Result<()> {
    let mut replace = libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
    if memory::grows(advice, region.start) {
        replace |= libc::MAP_GROWSDOWN;
    }
    let file = region.file.as_ref().filter(|_| region.shared);
    let write = fill || region.prot & libc::PROT_WRITE as u32 != 0;
    let opened_here;
    let (sharing, fd, offset) = match file {
        Some(file) => {
            let fd = match opened.by_inode(file.dev, file.inode) {
                // What the mapping may do is not what that descriptor may do.
                Some(fd) => {
                    let link = PathBuf::from(format!("/proc/self/fd/{fd}"));
                    opened_here = open_for_mapping(&link, write)?;
                    opened_here.as_raw_fd()
                }
                None if file.deleted => files.file(file)?,
                None => {
                    if files.in_memory.contains(&key(file)) {
                        make(file)?;
                    }
                    opened_here = open_for_mapping(&file.path, write)?;
                    // Of one that is only read, `splitproc restart` has said whether it may be shorter.
                    if write && opened_here.metadata()?.len() < file.size {
                        bail!("the file is shorter than it was");
                    }
                    opened_here.as_raw_fd()
                }
            };
            (libc::MAP_SHARED, fd, file.offset)
        }
        None if region.shared => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
    };
    let prot = if fill {
        libc::PROT_READ | libc::PROT_WRITE
    } else {
        region.prot as i32
    };
    let flags = sharing | replace;
    let args = [
        region.start,
        region.len(),
        prot as usize,
        flags as usize,
        fd as usize,
        offset as usize,
    ];
    // SAFETY: NOREPLACE covers nothing that is mapped.
    let at = unsafe { crate::sys::raw(libc::SYS_mmap, args) };
    match at {
        Ok(at) if at == region.start => Ok(()),
        Ok(_) => bail!("the kernel does not map at this address"),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            bail!("something else is mapped there in this process")
        }
        Err(error) => Err(error.into()),
    }
}

/// A file in memory whose bytes the image has is made again if it is gone, as after a reboot, and has its length again.
fn make(file: &FileRef) -> Result<()> {
    let made = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&file.path);
    let made = made.context("the file can't be made again")?;
    if made.metadata()?.len() < file.size {
        made.set_len(file.size)?;
    }
    Ok(())
}

/// Opens a file that a shared mapping needs: for writing too where that is allowed, as the program may make the
/// mapping writable later.
fn open_for_mapping(path: &Path, write: bool) -> Result<File> {
    let open = |write| File::options().read(true).write(write).open(path);
    match open(true) {
        Err(_) if !write => open(false),
        done => done,
    }
    .context("the file can't be opened again")
}

/// Takes from the image's lhInfo what is the upper half's; what the loader wrote for the fresh halves stays.
fn adopt(saved: &LhInfo) -> Result<()> {
    if saved.magic != lhinfo::MAGIC || saved.version != lhinfo::VERSION {
        bail!("its lhInfo is of another version");
    }
    let info = lhinfo::ptr();
    let generation = saved.upper.generation.load(Ordering::Acquire) + 1;
    // SAFETY: nobody else uses these fields until the upper half runs; both sides are plain data.
    unsafe {
        std::ptr::copy_nonoverlapping(&raw const saved.upper, &raw mut (*info).upper, 1);
        std::ptr::copy_nonoverlapping(&raw const saved.threads, &raw mut (*info).threads, 1);
        (*info).hole = saved.hole;
        for half in &mut (*info).halves {
            half.generation = generation;
        }
        (*info)
            .upper
            .generation
            .store(generation, Ordering::Release);
        (*info).upper.release.store(0, Ordering::Release);
        // The checkpoint's, when it was saved.
        (*info)
            .upper
            .turn
            .store(lhinfo::TURN_FREE, Ordering::Release);
        let pid = std::process::id();
        (*info).upper.real_pid.store(pid, Ordering::Release);
        let count = saved.thread_count.load(Ordering::Acquire);
        (*info).thread_count.store(count, Ordering::Release);
    }
    for thread in threads()
        .iter()
        .filter(|t| t.in_call == 1 && t.state.load(Ordering::Acquire) == PARKED)
    {
        let frame = thread.frame as *mut libc::ucontext_t;
        // SAFETY: the kernel's frame on the thread's restored stack; the thread does not run yet.
        unsafe {
            (*frame).uc_mcontext.gregs[libc::REG_RIP as usize] = thread.reentry[0] as i64;
            (*frame).uc_mcontext.gregs[libc::REG_RSP as usize] = thread.reentry[1] as i64;
        }
    }
    Ok(())
}

impl Restored {
    /// Brings the threads back, has the plugin replay, and lets the program go on.
    pub fn revive(self, go: &AtomicU32, events: Channel) -> Result<()> {
        let wanted: Vec<usize> = (0..threads().len())
            .filter(|&s| threads()[s].state.load(Ordering::Acquire) == PARKED)
            .collect();
        go.store(1, Ordering::Release);
        futex_wake(go);
        let deadline = Instant::now() + PATIENCE;
        for &slot in &wanted {
            let state = &threads()[slot].state;
            while state.load(Ordering::Acquire) != ALIVE {
                if Instant::now() >= deadline {
                    bail!("a thread of the program does not come back");
                }
                futex_wait(state, PARKED, Duration::from_millis(50));
            }
        }
        let real = |old: u32| {
            let slot = wanted.iter().find(|&&s| self.old[s] == old)?;
            Some(threads()[*slot].real_tid.load(Ordering::Acquire))
        };
        self.resources.arm(&real, &mut warn)?;
        let mut missing = Vec::new();
        // What was already pending at the checkpoint is the program's, and so is what it ignores.
        let programs = self.resources.expected_signals();
        let mut ended = false;
        let reply = events.request_while(RESTART, &[], |waited| {
            ended = waited >= REPLAY && pending() & !programs & ENDING != 0;
            if ended || waited >= self.timeout {
                missing = self.arrival.missing();
            }
            !ended && missing.is_empty() && waited < EVENT_BOUND
        });
        match reply {
            Some((0, _)) => {}
            Some((_, why)) => bail!("{}", String::from_utf8_lossy(&why)),
            None if ended && missing.is_empty() => bail!("it was told to end by a signal"),
            None if ended => bail!(
                "it was told to end by a signal while it waited for {}",
                list(missing.into_iter())
            ),
            None if missing.is_empty() => bail!("the plugin does not answer"),
            None => bail!(
                "{} did not come up within {} s (--timeout); see whether the launcher could start it",
                list(missing.into_iter()),
                self.timeout.as_secs()
            ),
        }
        stop::release();
        Ok(())
    }
}
