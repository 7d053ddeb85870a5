//! What devices hold: named for the host, which copies it chunk by chunk while it writes the image, or copied into the upper
//! half, where the host saves nothing else.

use super::codes::*;
use super::cut::failed;
use super::driver::{self, check, Class};
use super::lower::{self, ix};
use super::model::{self, Kind};
use super::{arrays, context, vmm};
use crate::plugin;
use lh_loader::lhinfo::Piece;
use std::sync::Mutex;

/// Memory is copied into the upper half in parts of this size, of which untouched ones are left out.
const PART: u64 = 1 << 20;
/// Copies are compared in parts of this size.
const PAGE: u64 = 4096;
/// So much of the host's memory is left when that is done.
const SPARE: u64 = 64 << 20;

/// What is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Memory that a device has at an address, managed memory too.
    Memory(u64),
    /// An array.
    Array(u64),
}

#[derive(Clone, Copy)]
struct Saved {
    of: Of,
    /// The context that it is reached in.
    context: u64,
    len: u64,
    /// Where its copy in the upper half is; 0: the host has it.
    at: u64,
    /// The program writes it without a call.
    open: bool,
}

static SAVED: Mutex<Vec<Saved>> = Mutex::new(Vec::new());

fn saved() -> std::sync::MutexGuard<'static, Vec<Saved>> {
    SAVED.lock().unwrap_or_else(|e| e.into_inner())
}

/// Looks up all levels of mipmapped arrays, so that they are saved.
fn look_up_levels() -> Result<(), i32> {
    for (handle, context, levels) in arrays::levels() {
        for level in 0..levels {
            let mut out = 0_u64;
            let args = [&raw mut out as u64, handle, level];
            // SAFETY: a place for a handle.
            context::with(context, || unsafe {
                driver::forward(ix::cuMipmappedArrayGetLevel, Class::Make, &args)
            })?;
        }
    }
    Ok(())
}

/// Everything that is to be saved: memory, then arrays.
fn wanted() -> Result<Vec<Saved>, i32> {
    look_up_levels()?;
    super::runtime::register::look_up_all()?;
    let arrays = arrays::all();
    let own = vmm::spans()?;
    let model = model::lock();
    let saved = |of, context, len| Saved {
        of,
        context,
        len,
        at: 0,
        open: false,
    };
    let memory = |(at, len, context)| saved(Of::Memory(at), context, len);
    let mut all: Vec<Saved> = model.arena.spans().into_iter().map(memory).collect();
    all.extend(own.into_iter().map(memory));
    let managed = model
        .managed
        .iter()
        .map(|m| ((m.at, m.len, m.context), true));
    let globals = model
        .globals
        .iter()
        .map(|g| ((g.at, g.len, g.context), g.managed));
    all.extend(
        managed
            .chain(globals)
            .map(|(of, open)| Saved { open, ..memory(of) }),
    );
    drop(model);
    for (array, context) in arrays {
        let len = context::with(context, || {
            context::ensure()?;
            arrays::size(array)
        })?;
        all.push(saved(Of::Array(array), context, len));
    }
    Ok(all)
}

/// Memory as the host and the half know it.
fn pieces(all: &[Saved]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for s in all {
        if let (Of::Memory(at), 0) = (s.of, s.at) {
            let context = model::lower(Kind::Context, s.context);
            let piece = Piece {
                context: context.ok_or("device memory is in a context that is gone")?,
                at,
                len: s.len,
            };
            bytes.extend(piece.bytes());
        }
    }
    Ok(bytes)
}

/// Sees to it that all is saved.
///
/// # Errors
/// Why it can't be. Nothing has changed; [`forget`] takes back what was begun.
pub fn save() -> Result<(), String> {
    let all = wanted().map_err(failed("looking what devices hold"))?;
    let (memory, mut copied): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|s| matches!(s.of, Of::Memory(_)));
    let pieces = pieces(&memory)?;
    if pieces.is_empty() || plugin::save_devices(&pieces)? {
        saved().extend(memory);
    } else {
        copied.extend(memory);
    }
    room(&copied)?;
    for mut s in copied {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, in the upper half.
        let at = unsafe { libc::mmap(core::ptr::null_mut(), s.len as usize, prot, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(too_little(s.len));
        }
        s.at = at as u64;
        saved().push(s);
        copy(&s, false).map_err(failed("copying a device's memory"))?;
    }
    Ok(())
}

/// Takes into the copies what the program has written since, where its threads are stopped only after the cut. No stream has
/// work, so the memory is the host's.
///
/// # Safety
/// The program's threads are stopped.
pub unsafe fn refresh() {
    for s in saved().iter().filter(|s| s.open && s.at != 0) {
        let Of::Memory(at) = s.of else { continue };
        for offset in (0..s.len).step_by(PAGE as usize) {
            let len = PAGE.min(s.len - offset) as usize;
            // SAFETY: the copy is as long as the memory, and nobody writes either. What is equal is not written: it may be
            // untouched.
            unsafe {
                let now = core::slice::from_raw_parts((at + offset) as *const u8, len);
                let copy = core::slice::from_raw_parts_mut((s.at + offset) as *mut u8, len);
                if now != copy {
                    copy.copy_from_slice(now);
                }
            }
        }
    }
}

fn too_little(needed: u64) -> String {
    let available = restart::memory::available().map_or("?".into(), |n| (n >> 20).to_string());
    format!(
        "{} MiB that devices hold have to be copied into this process to be saved, and {available} MiB of memory are available; \
         try again when there is more",
        needed >> 20
    )
}

/// Is there enough memory for copies of these?
fn room(all: &[Saved]) -> Result<(), String> {
    let parts = |s: &Saved| match s.of {
        Of::Array(_) => s.len,
        Of::Memory(at) => parts(s.len)
            .filter(|(offset, len)| lower::touched(at + offset, *len))
            .map(|(_, len)| len)
            .sum(),
    };
    let needed: u64 = all.iter().map(parts).sum();
    match restart::memory::available() {
        Some(available) if needed > 0 && needed + SPARE > available => Err(too_little(needed)),
        _ => Ok(()),
    }
}

fn parts(len: u64) -> impl Iterator<Item = (u64, u64)> {
    let part = move |offset| (offset, PART.min(len - offset));
    (0..len).step_by(PART as usize).map(part)
}

/// Copies from the device, or back to it.
fn copy(s: &Saved, back: bool) -> Result<(), i32> {
    context::with(s.context, || {
        context::ensure()?;
        let at = match s.of {
            // SAFETY: the copy is as long as the array.
            Of::Array(array) => return unsafe { arrays::copy((array, s.context), s.at, back) },
            Of::Memory(at) => at,
        };
        for (offset, len) in parts(s.len) {
            let (device, host) = (at + offset, s.at + offset);
            let touched = lower::touched(device, len);
            // SAFETY: the copy is as long as the memory, which is there as long as the model says.
            check(unsafe {
                if !back && touched {
                    lower::must(ix::cuMemcpyDtoH_v2, &[host, device, len])
                } else if back && !is_zero(host, len) {
                    lower::must(ix::cuMemcpyHtoD_v2, &[device, host, len])
                } else if back && touched {
                    lower::must(ix::cuMemsetD8_v2, &[device, 0, len])
                } else {
                    SUCCESS
                }
            })?;
        }
        Ok(())
    })
}

/// Are so many bytes of a copy all zero?
///
/// # Safety
/// They must be there.
unsafe fn is_zero(at: u64, len: u64) -> bool {
    // SAFETY: the caller's.
    let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, len as usize) };
    bytes
        .chunks(64)
        .all(|block| block.iter().fold(0, |a, b| a | b) == 0)
}

/// Puts everything back, in a fresh half where it all has its place again.
///
/// # Errors
/// What failed.
pub fn restore() -> Result<(), String> {
    let all = saved().clone();
    let pieces = pieces(&all)?;
    if !pieces.is_empty() {
        plugin::fill_devices(&pieces)?;
    }
    for s in all.iter().filter(|s| s.at != 0) {
        copy(s, true).map_err(failed("copying a device's memory back"))?;
    }
    Ok(())
}

/// The checkpoint is over, or the restart: copies are let go.
pub fn forget() {
    for s in saved().drain(..).filter(|s| s.at != 0) {
        // SAFETY: mapped by us, and nobody else knows it.
        unsafe { libc::munmap(s.at as *mut _, s.len as usize) };
    }
}
