//! The cut: streams come to their end, and what devices hold is copied into the upper half, which is saved.
//!
//! It is the last step of the process's cut: the gate is closed, no thread is inside a call that must complete.

use super::codes::*;
use super::driver::{self, check, Class};
use super::lower::{self, active, ix};
use super::model::{self, Kind};
use super::{arrays, context, event, graph, module, pool, vmm};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a checkpoint waits for what streams do.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a copy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Memory that a device has at an address.
    Device(u64),
    /// Memory that host and device see at an address.
    Managed(u64),
    /// An array.
    Array(u64),
}

/// A copy in the upper half.
#[derive(Clone, Copy)]
pub struct Saved {
    /// Of what.
    pub of: Of,
    /// The context that it is reached in.
    pub context: u64,
    /// Where the copy is.
    pub at: u64,
    /// How long it is.
    pub len: u64,
}

static SAVED: Mutex<Vec<Saved>> = Mutex::new(Vec::new());

fn bytes(n: u64) -> String {
    format!("{:.1} MiB", n as f64 / f64::from(1 << 20))
}

/// What went wrong, with CUDA's number.
pub fn failed(what: &str) -> impl Fn(i32) -> String + '_ {
    move |code| format!("{what} failed with CUDA's error {code}")
}

/// Prepares what devices hold to be saved. On an error the program just goes on.
///
/// # Errors
/// Why it can't be now.
pub fn presuspend() -> Result<(), String> {
    if !active() {
        return Ok(());
    }
    if let Some(why) = module::unsaved() {
        return Err(why.to_owned());
    }
    if graph::open_captures() > 0 {
        return Err("a stream is being captured, which can't be saved half: ask again when the capture has ended".into());
    }
    // SAFETY: this is the helper thread, and the gate is closed.
    let outcome = unsafe { wait_and_save() };
    if outcome.is_err() {
        resume();
    }
    outcome
}

unsafe fn wait_and_save() -> Result<(), String> {
    for (device, context) in contexts() {
        context::with(context, || quiet(device, context))?;
    }
    pool::reap(true).map_err(failed("freeing memory"))?;
    // SAFETY: no stream has work.
    unsafe { event::save() };
    save()
}

/// Contexts that are alive, with their devices.
pub fn contexts() -> Vec<(i32, u64)> {
    let model = model::lock();
    let unused = |handle: u64| {
        let mut all = model.devices.iter();
        all.any(|d| d.primary.handle == handle && d.primary.references == 0)
    };
    let entries = model.live.values().filter(|e| e.kind == Kind::Context);
    entries
        .filter(|e| !unused(e.handle))
        .map(|e| (e.record.words.last().map_or(0, |w| *w as i32), e.handle))
        .collect()
}

/// Waits until no stream of the thread's context has work.
fn quiet(device: i32, context: u64) -> Result<(), String> {
    let asked = failed("asking for a stream");
    context::ensure().map_err(&asked)?;
    let mut streams = vec![super::stream::LEGACY];
    let all = model::lock();
    let own = all.live.values();
    let own = own.filter(|e| e.kind == Kind::Stream && e.context == context);
    streams.extend(own.filter_map(|e| model::lower(Kind::Stream, e.handle)));
    drop(all);
    let begin = Instant::now();
    for (i, stream) in streams.iter().enumerate() {
        let mut pause = Duration::from_micros(50);
        loop {
            // SAFETY: a lower handle.
            match unsafe { lower::must(ix::cuStreamQuery, &[*stream]) } {
                SUCCESS => break,
                NOT_READY if begin.elapsed() < PATIENCE => {}
                NOT_READY => {
                    return Err(format!(
                        "stream {i} of device {device} has had work for {} s; ask again when its kernels are done",
                        PATIENCE.as_secs()
                    ))
                }
                code => return Err(asked(code)),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
    // SAFETY: no arguments.
    check(unsafe { lower::must(ix::cuCtxSynchronize, &[]) }).map_err(&asked)
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

/// Everything that is to be saved, without its copy.
fn wanted() -> Result<Vec<Saved>, i32> {
    look_up_levels()?;
    super::runtime::register::look_up_all()?;
    let arrays = arrays::all();
    let own = vmm::spans()?;
    let model = model::lock();
    let saved = |of, context, len| Saved {
        of,
        context,
        at: 0,
        len,
    };
    let memory = model.arena.spans().into_iter();
    let mut all: Vec<Saved> = memory
        .map(|(at, len, context)| saved(Of::Device(at), context, len))
        .collect();
    let own = own.into_iter();
    all.extend(own.map(|(at, len, of)| saved(Of::Device(at), of, len)));
    let managed = model.managed.iter();
    all.extend(managed.map(|m| saved(Of::Managed(m.at), m.context, m.len)));
    let globals = model.globals.iter();
    all.extend(globals.map(|g| saved(Of::Device(g.at), g.context, g.len)));
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

fn save() -> Result<(), String> {
    let wanted = wanted().map_err(failed("looking what devices hold"))?;
    let total: u64 = wanted.iter().map(|s| s.len).sum();
    for mut s in wanted {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, in the upper half.
        let at = unsafe { libc::mmap(core::ptr::null_mut(), s.len as usize, prot, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(format!(
                "there is no memory for a copy of the {} that devices hold",
                bytes(total)
            ));
        }
        s.at = at as u64;
        saved().push(s);
        copy(&s, false).map_err(failed("copying a device's memory"))?;
    }
    Ok(())
}

fn saved() -> std::sync::MutexGuard<'static, Vec<Saved>> {
    SAVED.lock().unwrap_or_else(|e| e.into_inner())
}

/// Copies from the device, or back to it.
fn copy(s: &Saved, back: bool) -> Result<(), i32> {
    context::with(s.context, || {
        context::ensure()?;
        // SAFETY: both are there, as long as the model says.
        unsafe {
            match (s.of, back) {
                (Of::Device(at), false) => {
                    check(lower::must(ix::cuMemcpyDtoH_v2, &[s.at, at, s.len]))
                }
                (Of::Device(at), true) => {
                    check(lower::must(ix::cuMemcpyHtoD_v2, &[at, s.at, s.len]))
                }
                (Of::Managed(at), _) => {
                    let (from, to) = if back { (s.at, at) } else { (at, s.at) };
                    core::ptr::copy_nonoverlapping(
                        from as *const u8,
                        to as *mut u8,
                        s.len as usize,
                    );
                    Ok(())
                }
                (Of::Array(array), back) => arrays::copy((array, s.context), s.at, back),
            }
        }
    })
}

/// Copies everything back, in a fresh half where it all has its place again.
///
/// # Errors
/// What failed.
pub fn restore() -> Result<(), String> {
    let all = saved().clone();
    for s in &all {
        copy(s, true).map_err(failed("copying a device's memory back"))?;
    }
    Ok(())
}

/// The checkpoint is over, or the restart: the copies are let go.
pub fn resume() {
    for s in saved().drain(..) {
        // SAFETY: mapped by us, and nobody else knows it.
        unsafe { libc::munmap(s.at as *mut _, s.len as usize) };
    }
    vmm::resume();
    event::forget_saved();
}
