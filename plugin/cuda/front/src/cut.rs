//! The cut: streams come to their end, and what devices hold is made ready to be saved.
//!
//! It is the last step of the process's cut: the gate is closed, no thread is inside a call that must complete.

use super::codes::*;
use super::driver::check;
use super::lower::{self, active, ix};
use super::model::{self, Kind};
use super::{contents, context, event, fault, ghosts, graph, launch, module, pool, printed, vmm};
use crate::plugin;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a checkpoint waits for what streams do, in seconds.
static PATIENCE: AtomicU64 = AtomicU64::new(120);

/// Sets how long a checkpoint waits for what streams do.
pub fn wait_at_most(seconds: u64) {
    PATIENCE.store(seconds, Relaxed);
}

fn patience() -> Duration {
    Duration::from_secs(PATIENCE.load(Relaxed))
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
    may_be_saved()?;
    // SAFETY: this is the helper thread, and the gate is closed.
    let outcome = unsafe { wait_and_save() };
    if outcome.is_err() {
        resume();
    }
    outcome
}

/// What is known to be in the way.
fn may_be_saved() -> Result<(), String> {
    let known = fault::refusal()
        .or_else(|| module::unsaved().map(str::to_owned))
        .or_else(ghosts::refusal);
    if let Some(why) = known {
        return Err(why);
    }
    if graph::open_captures() > 0 {
        return Err("a stream is being captured, which can't be saved half: ask again when the capture has ended".into());
    }
    Ok(())
}

/// Does something in each context.
fn each(f: impl Fn(i32, u64) -> Result<(), String>) -> Result<(), String> {
    for (device, context) in contexts() {
        // A fault may be seen only now.
        context::with(context, || {
            context::ensure().map_err(failed("entering a context"))?;
            f(device, context)
        })
        .map_err(|why| fault::refusal().unwrap_or(why))?;
    }
    Ok(())
}

/// Waits until no stream has work. A function of the program that a stream has called may wait for a thread that the gate holds in
/// a call of CUDA: then such threads are let in, and may make and end streams, and give them more work.
fn settle() -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let admitted = Cell::new(false);
        each(|device, context| quiet(device, context, begin, &admitted))?;
        if !admitted.get() {
            return Ok(());
        }
        loop {
            std::thread::sleep(Duration::from_millis(1));
            if !plugin::has_guests() {
                break;
            }
            if begin.elapsed() > patience() {
                return Err("a thread is inside a call of CUDA's that does not end".into());
            }
            if launch::waits() {
                plugin::admit();
            }
        }
    }
}

unsafe fn wait_and_save() -> Result<(), String> {
    settle()?;
    may_be_saved()?;
    printed::keep();
    // SAFETY: no arguments.
    each(|_, _| {
        check(unsafe { lower::must(ix::cuCtxSynchronize, &[]) })
            .map_err(failed("waiting for a device"))
    })?;
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

/// Waits until no stream of the thread's context has work, or threads have been let in.
fn quiet(device: i32, context: u64, begin: Instant, admitted: &Cell<bool>) -> Result<(), String> {
    let asked = failed("asking for a stream");
    let mut streams = vec![super::stream::LEGACY];
    let all = model::lock();
    let own = all.live.values();
    let own = own.filter(|e| e.kind == Kind::Stream && e.context == context);
    streams.extend(own.filter_map(|e| model::lower(Kind::Stream, e.handle)));
    drop(all);
    for (i, stream) in streams.iter().enumerate() {
        let mut pause = Duration::from_micros(50);
        loop {
            // SAFETY: a lower handle.
            match unsafe { lower::must(ix::cuStreamQuery, &[*stream]) } {
                SUCCESS => break,
                NOT_READY if begin.elapsed() < patience() => {}
                NOT_READY => {
                    let seconds = patience().as_secs();
                    let what =
                        format!("stream {i} of device {device} has had work for {seconds} s");
                    let longer = "or launch or restart with a longer --timeout";
                    return Err(match launch::describe_running() {
                        Some(function) => format!(
                            "{what}: {function}; it may wait for a thread that a checkpoint holds in a call of CUDA's; ask again, {longer}"
                        ),
                        None => format!("{what}; ask again when its kernels are done, {longer}"),
                    });
                }
                code => return Err(asked(code)),
            }
            if launch::waits() {
                plugin::admit();
                admitted.set(true);
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// The checkpoint is over, or the restart.
pub fn resume() {
    contents::forget();
    vmm::resume();
    event::forget_saved();
    printed::give_back();
}
