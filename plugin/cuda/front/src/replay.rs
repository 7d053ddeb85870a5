//! Replay: what the model has is made again in a fresh lower half, in the order of making, each checked.

use super::arena::RESERVED;
use super::codes::*;
use super::cut::{self, failed};
use super::driver::check;
use super::ghosts::Replay;
use super::lower::{self, active, ix};
use super::model::{self, Kind};
use super::record::Record;
use super::{contents, context, elsewhere};
use super::{event, graph, host, managed, memory, module, peers, vmm};

/// Most texture and surface objects that are made to have a wanted number.
const FILLERS: usize = 4096;

/// Rebuilds the lower half from the model.
///
/// # Errors
/// What could not be made again.
pub fn restart() -> Result<(), String> {
    if !active() {
        return Ok(());
    }
    if !lower::resolve() {
        return Err("the program uses CUDA, and was restarted without a CUDA half".into());
    }
    // SAFETY: the half is fresh, the gate closed, and this is the helper thread.
    unsafe { rebuild() }.map_err(elsewhere::told)?;
    cut::resume();
    Ok(())
}

unsafe fn rebuild() -> Result<(), String> {
    // SAFETY: the caller's, of each step.
    unsafe {
        check(context::init_lower()).map_err(failed("cuInit"))?;
        elsewhere::check()?;
        model::lock().forget_lower();
        memory::forget_left();
        contexts()?;
        peers::replay().map_err(failed("letting devices reach each other's memory"))?;
        event::replay().map_err(failed("making an event"))?;
        device_memory()?;
        vmm::replay().map_err(failed("mapping the program's memory"))?;
        managed_memory()?;
        pinned()?;
        memory::replay_attributes().map_err(failed("cuPointerSetAttribute"))?;
        objects()?;
        graph::replay().map_err(failed("building a graph"))?;
        settings()?;
    }
    globals()?;
    contents::restore()
}

unsafe fn contexts() -> Result<(), String> {
    let making = failed("making a context");
    let mut count = 0_i32;
    // SAFETY: a place for a number.
    check(unsafe { lower::must(ix::cuDeviceGetCount, &[&raw mut count as u64]) })
        .map_err(failed("cuDeviceGetCount"))?;
    let entries: Vec<(u64, u64, Record)> = {
        let model = model::lock();
        let had = model.devices.len();
        if (count as usize) < had {
            return Err(format!(
                "the program had {had} CUDA devices, and this machine has {count}"
            ));
        }
        let all = model.live.iter().filter(|(_, e)| e.kind == Kind::Context);
        all.map(|(s, e)| (*s, e.handle, e.record.clone())).collect()
    };
    context::forget();
    for (serial, handle, record) in entries {
        let device = record.words.last().copied().unwrap_or(0);
        let mut made = 0_u64;
        // SAFETY: places for handles, and numbers.
        unsafe {
            if record.index == ix::cuCtxCreate_v2 {
                let args = [&raw mut made as u64, record.words[1], device];
                check(lower::must(ix::cuCtxCreate_v2, &args)).map_err(&making)?;
                context::forget();
            } else {
                let primary = model::lock().devices[device as usize].primary;
                if primary.references == 0 || primary.handle != handle {
                    continue;
                }
                let flags = [device, primary.flags as u64];
                lower::must(ix::cuDevicePrimaryCtxSetFlags_v2, &flags);
                let args = [&raw mut made as u64, device];
                check(lower::must(ix::cuDevicePrimaryCtxRetain, &args)).map_err(&making)?;
            }
        }
        model::lock().renew(serial, made);
    }
    Ok(())
}

/// Maps device memory where it was, if there is enough of it.
unsafe fn device_memory() -> Result<(), String> {
    let mapping = failed("mapping device memory");
    let regions: Vec<(u64, super::arena::Region)> = {
        let model = model::lock();
        model
            .arena
            .regions
            .iter()
            .map(|(at, r)| (*at, *r))
            .collect()
    };
    for (device, handle) in cut::contexts() {
        let mine = regions.iter().filter(|(_, r)| r.device == device);
        let needed = mine.map(|(_, r)| r.len).sum::<u64>() + vmm::total(device);
        let (mut free, mut total) = (0_u64, 0_u64);
        context::with(handle, context::ensure).map_err(failed("setting a context"))?;
        // SAFETY: places for numbers.
        let asked = unsafe {
            let args = [&raw mut free as u64, &raw mut total as u64];
            lower::must(ix::cuMemGetInfo_v2, &args)
        };
        if asked == SUCCESS && needed > free {
            return Err(format!(
                "device {device} has {} MiB of {} MiB free, and the program had {} MiB; restart when there is room",
                free >> 20,
                total >> 20,
                needed >> 20
            ));
        }
    }
    for (at, region) in regions.into_iter().filter(|(_, r)| r.device != RESERVED) {
        // SAFETY: nothing is there yet.
        unsafe { memory::map(at, &region, &peers::access(region.device)) }.map_err(&mapping)?;
    }
    Ok(())
}

/// Asks for managed memory in the order of addresses; what lies between is filled for the time being.
unsafe fn managed_memory() -> Result<(), String> {
    let asking = failed("asking for managed memory");
    let mut all = model::lock().managed.clone();
    all.sort_by_key(|m| m.at);
    let mut fillers = Vec::new();
    for m in all {
        context::with(m.context, || loop {
            let at = managed::ask(m.len, m.flags).map_err(&asking)?;
            if at == m.at {
                return Ok(());
            }
            if at > m.at {
                return Err(format!(
                    "managed memory that was at {:#x} is at {at:#x} now, which the program can't know",
                    m.at
                ));
            }
            managed::give_back(at).map_err(&asking)?;
            let filler = managed::ask(m.at - at, m.flags).map_err(&asking)?;
            fillers.push((m.context, filler));
        })?;
    }
    for (handle, at) in fillers {
        context::with(handle, || managed::give_back(at)).map_err(&asking)?;
    }
    Ok(())
}

unsafe fn pinned() -> Result<(), String> {
    let all = model::lock().pinned.clone();
    for (at, p) in all {
        let len = if p.ours {
            p.len.next_multiple_of(4096)
        } else {
            p.len
        };
        // SAFETY: memory of the upper half, which has come back.
        let device = context::with(p.context, || unsafe { host::register(at, len, p.flags) })
            .map_err(failed("registering host memory"))?;
        if device != p.device {
            return Err(format!(
                "the device knew host memory at {at:#x} as {:#x}, and knows it as {device:#x} now",
                p.device
            ));
        }
    }
    Ok(())
}

unsafe fn objects() -> Result<(), String> {
    // A library is in no context; any will do.
    let any = cut::contexts().first().map_or(0, |(_, handle)| *handle);
    let all: Vec<(u64, u64, Kind, u64, Record)> = {
        let model = model::lock();
        let made = model.live.iter();
        made.filter(|(_, e)| !e.kind.has_own_replay())
            .map(|(s, e)| (*s, e.handle, e.kind, e.context, e.record.clone()))
            .collect()
    };
    let mut fillers = Fillers::default();
    let mut ghosts = Replay::new();
    for (serial, handle, kind, of, record) in all {
        // SAFETY: the caller's.
        unsafe { ghosts.until(serial) }?;
        let name = lower::NAMES[record.index].to_string_lossy();
        let of = if of == 0 { any } else { of };
        let numbered = matches!(kind, Kind::Texture | Kind::Surface);
        let mut made = 0_u64;
        let code = context::with(of, || {
            context::ensure()?;
            if numbered {
                fillers.end(|f| (f.0, f.2) == (of, handle))?;
            }
            // SAFETY: images stay, and all else was copied.
            check(unsafe { record.again(Some(&mut made)) })?;
            while numbered && made != handle && fillers.0.len() < FILLERS {
                fillers.0.push((of, kind, made));
                // SAFETY: as above.
                check(unsafe { record.again(Some(&mut made)) })?;
            }
            Ok(())
        });
        code.map_err(failed(&name))?;
        if numbered && made != handle {
            return Err(format!(
                "texture or surface object {handle:#x} is {made:#x} now, which kernels can't know"
            ));
        }
        model::lock().renew(serial, made);
    }
    // SAFETY: the caller's.
    unsafe { ghosts.until(u64::MAX) }?;
    let ended = fillers.end(|_| true);
    ended.map_err(failed("ending a texture object"))
}

/// Texture and surface objects that have the numbers of those that were gone before: the driver gives the lowest that is free.
#[derive(Default)]
struct Fillers(Vec<Filler>);

/// Its context, what it is, its number.
type Filler = (u64, Kind, u64);

impl Fillers {
    /// Ends those that are meant.
    fn end(&mut self, meant: impl Fn(&Filler) -> bool) -> Result<(), i32> {
        let (gone, left): (Vec<_>, Vec<_>) = self.0.drain(..).partition(meant);
        self.0 = left;
        for (of, kind, number) in gone {
            let function = match kind {
                Kind::Texture => ix::cuTexObjectDestroy,
                _ => ix::cuSurfObjectDestroy,
            };
            context::with(of, || {
                context::ensure()?;
                // SAFETY: an object of ours; on the helper thread, in its context.
                check(unsafe { lower::must(function, &[number]) })
            })?;
        }
        Ok(())
    }
}

unsafe fn settings() -> Result<(), String> {
    let all = model::lock().settings.clone();
    for (of, record) in all {
        let name = lower::NAMES[record.index].to_string_lossy();
        let code = context::with(of, || {
            context::ensure()?;
            // SAFETY: what was pointed to was copied.
            check(unsafe { record.again(None) })
        });
        code.map_err(failed(&name))?;
    }
    Ok(())
}

/// Kernels may have kept addresses of variables: they must be where they were.
fn globals() -> Result<(), String> {
    let all = model::lock().globals.clone();
    for global in all {
        let (at, len) = context::with(global.context, || module::place(&global))
            .map_err(failed("looking a variable up"))?;
        if (at, len) != (global.at, global.len) {
            return Err(format!(
                "variable {:?} of a CUDA module was at {:#x} and is at {at:#x} now: device memory may have its address",
                global.name, global.at
            ));
        }
    }
    Ok(())
}
