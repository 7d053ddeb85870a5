//! Device memory: read chunk by chunk while the image is written, and put back in parallel at a restart.
//!
//! The host has no way into the CUDA half, so threads of that half copy for it (`lhinfo::Copier`), each through a staging
//! buffer of its own. The image's thread number *i* has copier number *i*.

use super::coordinator::Failed;
use super::mailbox::{futex_wait, futex_wake};
use anyhow::{anyhow, bail, Context, Result};
use lh_loader::lhinfo::{
    self, Copier, Copiers, Piece, COPIERS, COPIER_IDLE, COPIER_REPLY, COPIER_REQUEST, COPY_BEGIN,
    COPY_END, COPY_READ, COPY_UNTOUCHED, COPY_WRITE, COPY_ZERO, STAGING,
};
use restart::image::{self, Reader, Region, Sink, Source};
use restart::memory;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The driver copies a staging buffer's worth in less than this.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a thread of the image's needs for itself: its stack, and what it compresses with.
const THREAD: usize = 8 << 20;
/// What the image's regions of this kind are called.
const NAME: &str = "[cuda]";

/// Who uses a copier.
static USED: [Mutex<()>; COPIERS] = [const { Mutex::new(()) }; COPIERS];
/// What the next image is to hold.
static WANTED: Mutex<Vec<Piece>> = Mutex::new(Vec::new());

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The CUDA half's copiers.
fn copiers() -> Result<&'static Copiers> {
    // SAFETY: lhInfo is mapped for the life of the process.
    let info = unsafe { lhinfo::get() };
    let all = info.halves.iter().take(info.half_count as usize);
    let at = all.map(|half| half.copiers).find(|at| *at != 0);
    // SAFETY: the half has said where they are; they are static there, and all fields are atomic.
    at.map(|at| unsafe { &*(at as *const Copiers) })
        .context("there is no CUDA half that copies device memory")
}

/// Has a copier do something.
fn ask(copier: &Copier, op: u32, piece: &Piece, offset: u64, len: u64) -> Result<i32> {
    let state = &copier.state;
    if state.load(Ordering::Acquire) == COPIER_REQUEST {
        bail!("the CUDA driver has not yet done what it was asked for earlier");
    }
    copier.op.store(op, Ordering::Relaxed);
    copier.context.store(piece.context, Ordering::Relaxed);
    copier.device.store(piece.at + offset, Ordering::Relaxed);
    copier.len.store(len, Ordering::Relaxed);
    state.store(COPIER_REQUEST, Ordering::Release);
    futex_wake(state);
    let begun = Instant::now();
    while state.load(Ordering::Acquire) != COPIER_REPLY {
        if begun.elapsed() > PATIENCE {
            bail!(
                "the CUDA driver has not copied memory at {:#x} for {} s",
                piece.at + offset,
                PATIENCE.as_secs()
            );
        }
        futex_wait(state, COPIER_REQUEST, Duration::from_secs(1));
    }
    let result = copier.result.load(Ordering::Relaxed);
    state.store(COPIER_IDLE, Ordering::Release);
    Ok(result)
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Gives each of the image's threads a copier with its staging buffer.
fn begin(pieces: &[Piece]) -> Result<usize> {
    let Some(first) = pieces.first() else {
        return Ok(0);
    };
    let count = image::workers(0).min(COPIERS);
    let too_little = |why: &str| {
        let total = pieces.iter().map(|p| p.len).sum();
        anyhow!(
            "there is too little memory of the host's to copy the {} MiB that devices hold: {} MiB are needed for {count} \
             threads and their staging buffers, and {} are available{why}; try again when there is more",
            mib(total),
            mib((count * (STAGING + THREAD)) as u64),
            memory::available().map_or("?".into(), |n| format!("{} MiB", mib(n))),
        )
    };
    if memory::available().is_some_and(|n| n < (count * (STAGING + THREAD)) as u64) {
        return Err(too_little(""));
    }
    let all = copiers()?;
    for (i, copier) in all.iter().enumerate().take(count) {
        let _used = lock(&USED[i]);
        let others = if i == 0 { count as u64 } else { 0 };
        let code = ask(copier, COPY_BEGIN, first, 0, others)?;
        if code != 0 {
            return Err(too_little(&format!(" (CUDA's error {code})")));
        }
    }
    Ok(count)
}

/// Gives the staging buffers back. One that a write which hangs still reads stays.
pub fn end() {
    lock(&WANTED).clear();
    let Ok(all) = copiers() else { return };
    for (copier, used) in all.iter().zip(&USED) {
        if copier.staging.load(Ordering::Relaxed) == 0 {
            continue;
        }
        if let Ok(_used) = used.try_lock() {
            let none = Piece {
                context: 0,
                at: 0,
                len: 0,
            };
            // It stays, then.
            let _ = ask(copier, COPY_END, &none, 0, 0);
        }
    }
}

fn pieces(bytes: &[u8]) -> Vec<Piece> {
    let whole = bytes.as_chunks().0.iter();
    whole.map(Piece::from_bytes).collect()
}

fn failed(error: &anyhow::Error) -> Failed {
    Failed::new(libc::ENOMEM, format!("{error:#}"))
}

/// The plugin says what the next image is to hold, and everything is prepared for it.
pub fn announce(bytes: &[u8]) -> Result<(), Failed> {
    let wanted = pieces(bytes);
    begin(&wanted).map_err(|error| failed(&error))?;
    *lock(&WANTED) = wanted;
    Ok(())
}

/// What the image is to hold: regions, and where their bytes come from.
pub fn wanted() -> Vec<(Region, Arc<dyn Source>)> {
    let pieces = lock(&WANTED).clone();
    let region = |piece: &Piece| Region {
        start: piece.at as usize,
        end: (piece.at + piece.len) as usize,
        prot: (libc::PROT_READ | libc::PROT_WRITE) as u32,
        name: NAME.into(),
        device: true,
        ..Region::default()
    };
    let both = |piece: Piece| (region(&piece), Arc::new(Device(piece)) as Arc<dyn Source>);
    pieces.into_iter().map(both).collect()
}

/// The staging buffer of a copier that is ours for now.
///
/// # Safety
/// `_used` must be the copier's lock.
unsafe fn staging<'a>(
    copier: &Copier,
    _used: &'a mut MutexGuard<'_, ()>,
    len: usize,
) -> Result<&'a mut [u8]> {
    let at = copier.staging.load(Ordering::Relaxed);
    if at == 0 || len > STAGING {
        bail!("it has no staging buffer");
    }
    // SAFETY: the half's buffer is so long, and whoever has the lock has it alone; it is given back under the lock.
    Ok(unsafe { std::slice::from_raw_parts_mut(at as *mut u8, len) })
}

/// Memory of a device that is saved.
struct Device(Piece);

impl Source for Device {
    fn read(
        &self,
        worker: usize,
        offset: u64,
        len: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        let mut fetch = || -> Result<()> {
            let copier = &copiers()?[worker % COPIERS];
            let mut used = lock(&USED[worker % COPIERS]);
            let code = ask(copier, COPY_READ, &self.0, offset, len as u64)?;
            // SAFETY: this copier's lock.
            let bytes = unsafe { staging(copier, &mut used, len) }?;
            match code {
                0 => {}
                COPY_UNTOUCHED => bytes.fill(0),
                code => bail!(
                    "device memory at {:#x} can't be copied: CUDA's error {code}",
                    self.0.at + offset
                ),
            }
            take(bytes);
            Ok(())
        };
        fetch().map_err(|error| format!("{error:#}"))
    }
}

/// Fills device memory from the image, in a fresh half where all of it has its place again.
pub fn fill(image: Option<&Path>, bytes: &[u8]) -> Result<(), Failed> {
    let filled = refill(image, &pieces(bytes));
    end();
    filled.map_err(|error| failed(&error))
}

fn refill(image: Option<&Path>, pieces: &[Piece]) -> Result<()> {
    let reader = Reader::open(image.context("this is no restart")?)?;
    let regions = reader.regions().iter().enumerate();
    let held: Vec<usize> = regions.filter(|(_, r)| r.device).map(|(i, _)| i).collect();
    let place = |region: &Region| (region.start as u64, region.len() as u64);
    let same = held.iter().map(|&i| place(&reader.regions()[i]));
    if !same.eq(pieces.iter().map(|p| (p.at, p.len))) {
        bail!("the image does not hold the device memory that the program had");
    }
    let count = begin(pieces)?;
    let pieces = held.iter().copied().zip(pieces.iter().copied()).collect();
    reader.pour(&held, &Fill(pieces), count)?;
    Ok(())
}

/// Memory of devices that is filled, by the image's regions.
struct Fill(HashMap<usize, Piece>);

impl Fill {
    /// Has the copier with this number do `op` to a part of a region, after `prepare`.
    fn part(
        &self,
        op: u32,
        worker: usize,
        (region, offset, len): (usize, u64, usize),
        prepare: impl FnOnce(&mut [u8]),
    ) -> Result<(), String> {
        let done = || -> Result<()> {
            let copier = &copiers()?[worker % COPIERS];
            let piece = self.0.get(&region).context("it is no device memory")?;
            let mut used = lock(&USED[worker % COPIERS]);
            // SAFETY: this copier's lock.
            prepare(unsafe { staging(copier, &mut used, len) }?);
            match ask(copier, op, piece, offset, len as u64)? {
                0 => Ok(()),
                code => bail!(
                    "device memory at {:#x} can't be filled: CUDA's error {code}",
                    piece.at + offset
                ),
            }
        };
        done().map_err(|error| format!("{error:#}"))
    }
}

impl Sink for Fill {
    fn write(
        &self,
        worker: usize,
        region: usize,
        offset: u64,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), String> {
        self.part(COPY_WRITE, worker, (region, offset, len), |bytes| {
            bytes.fill(0);
            fill(bytes);
        })
    }

    fn zero(&self, worker: usize, region: usize, offset: u64, len: usize) -> Result<(), String> {
        self.part(COPY_ZERO, worker, (region, offset, len), |_| ())
    }
}
