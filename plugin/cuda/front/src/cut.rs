//! The cut: streams come to their end, and what devices hold is made ready to be saved.
//!
//! It is the last step of the process's cut: the gate is closed, no thread is inside a call that must complete.

use super::codes::*;
use super::driver::check;
use super::lower::{self, active, ix};
use super::model::{self, Kind};
use super::{contents, context, event, fault, ghosts, graph, module, pool, vmm};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a checkpoint waits for what streams do, in seconds.
static PATIENCE: AtomicU64 = AtomicU64::new(120);

/// Sets how long a checkpoint waits for what streams do.
pub fn wait_at_most(seconds: u64) {
    PATIENCE.store(seconds, Relaxed);
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
    if let Some(why) = fault::refusal() {
        return Err(why);
    }
    if let Some(why) = module::unsaved() {
        return Err(why.to_owned());
    }
    if let Some(why) = ghosts::refusal() {
        return Err(why);
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
        // A fault may be seen only now.
        context::with(context, || quiet(device, context))
            .map_err(|why| fault::refusal().unwrap_or(why))?;
    }
    graph::settle();
    pool::reap(true).map_err(failed("freeing memory"))?;
    // SAFETY: no stream has work.
    unsafe { event::save() };
    contents::save()
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
    let patience = Duration::from_secs(PATIENCE.load(Relaxed));
    let begin = Instant::now();
    for (i, stream) in streams.iter().enumerate() {
        let mut pause = Duration::from_micros(50);
        loop {
            // SAFETY: a lower handle.
            match unsafe { lower::must(ix::cuStreamQuery, &[*stream]) } {
                SUCCESS => break,
                NOT_READY if begin.elapsed() < patience => {}
                NOT_READY => {
                    return Err(format!(
                        "stream {i} of device {device} has had work for {} s; ask again when its kernels and the \
                         host's functions in it are done, or launch or restart with a longer --timeout",
                        patience.as_secs()
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

/// The checkpoint is over, or the restart.
pub fn resume() {
    contents::forget();
    vmm::resume();
    event::forget_saved();
}
