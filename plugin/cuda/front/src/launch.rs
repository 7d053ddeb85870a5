//! Launches, and functions of the program that streams call.

use super::codes::*;
use super::driver::{self, check, inside, Class};
use super::lower::{self, ix};
use super::model::Kind;
use super::record;
use super::{context, graph, stream};
use crate::plugin;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Kernel, grid, block, shared memory, stream, parameters, extra.
unsafe fn kernel(index: usize, mut args: [u64; 11], n: usize) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        args[0] = record::handle(Kind::Function, args[0])?;
        args[8] = stream::lower(args[8])?;
        check(lower::must(index, &args[..n]))
    })
}

macro_rules! words {
    ($($a:ident)*) => { [$($a as u64),*] };
}

pub unsafe fn cuLaunchKernel(
    f: u64,
    gx: i32,
    gy: i32,
    gz: i32,
    bx: i32,
    by: i32,
    bz: i32,
    shared: i32,
    stream: u64,
    params: u64,
    extra: u64,
) -> i32 {
    let args = words![f gx gy gz bx by bz shared stream params extra];
    unsafe { kernel(ix::cuLaunchKernel, args, 11) }
}

pub unsafe fn cuLaunchCooperativeKernel(
    f: u64,
    gx: i32,
    gy: i32,
    gz: i32,
    bx: i32,
    by: i32,
    bz: i32,
    shared: i32,
    stream: u64,
    params: u64,
) -> i32 {
    let none = 0;
    let args = words![f gx gy gz bx by bz shared stream params none];
    unsafe { kernel(ix::cuLaunchCooperativeKernel, args, 10) }
}

pub unsafe fn cuLaunchKernelEx(config: u64, f: u64, params: u64, extra: u64) -> i32 {
    inside(|| unsafe {
        context::ensure()?;
        let f = record::handle(Kind::Function, f)?;
        if config == 0 {
            return Err(INVALID_VALUE);
        }
        let mut kept = record::Lowered::default();
        let config = kept.structure(record::Layout::Launch, config)?;
        check(lower::must(
            ix::cuLaunchKernelEx,
            &[config, f, params, extra],
        ))
    })
}

/// A function of the program that a stream calls, and what it is given.
struct Call {
    function: unsafe extern "C" fn(u64, u64, u64),
    words: [u64; 3],
}

impl Call {
    /// Calls it, in the upper half.
    fn make(&self) {
        let begun = (self.function as usize, Instant::now());
        running().push(begun);
        // SAFETY: the program's function, with its arguments.
        unsafe { (self.function)(self.words[0], self.words[1], self.words[2]) };
        running().retain(|r| *r != begun);
    }
}

/// Functions of the program that streams call now, and since when.
static RUNNING: Mutex<Vec<(usize, Instant)>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<(usize, Instant)>> {
    RUNNING.lock().unwrap_or_else(|e| e.into_inner())
}

/// Has one of them been running for so long that it may be waiting for something?
pub fn waits() -> bool {
    let long = |since: &Instant| since.elapsed() > Duration::from_millis(20);
    running().first().is_some_and(|(_, since)| long(since))
}

/// What a checkpoint waits for if it waits for one of them.
pub fn describe_running() -> Option<String> {
    let (function, since) = *running().first()?;
    // SAFETY: a place for what is told; names are static as long as their libraries stay.
    let (symbol, file, base) = unsafe {
        let mut info: libc::Dl_info = core::mem::zeroed();
        libc::dladdr(function as *const libc::c_void, &mut info);
        let [symbol, file] = [info.dli_sname, info.dli_fname].map(|name| {
            let name = (!name.is_null()).then(|| CStr::from_ptr(name));
            name.map(CStr::to_string_lossy)
        });
        (symbol, file, info.dli_fbase as usize)
    };
    let file = file.unwrap_or_default();
    let name = symbol.map_or_else(
        || format!("{file}+{:#x}", function - base),
        |symbol| symbol.into_owned(),
    );
    let seconds = since.elapsed().as_secs();
    Some(format!(
        "a stream has called the program's function {name} {seconds} s ago, which has not returned"
    ))
}

/// What the lower half calls, on a thread of its own: no TLS, no heap.
unsafe extern "C" fn called(data: u64) {
    // SAFETY: `run` takes the call's address.
    unsafe { plugin::upper(run, [data, 0, 0, 0, 0, 0]) };
}

/// Runs the program's function, in the upper half.
unsafe extern "C" fn run(data: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: made in `later`, and run once.
    let call = unsafe { Box::from_raw(data as *mut Call) };
    call.make();
    0
}

/// Calls that graphs make, each as often as it is launched.
static HELD: Mutex<BTreeMap<(u64, [u64; 3]), usize>> = Mutex::new(BTreeMap::new());

/// As [`called`], of a call that may be made again.
unsafe extern "C" fn called_again(data: u64) {
    // SAFETY: `run_again` takes the call's address.
    unsafe { plugin::upper(run_again, [data, 0, 0, 0, 0, 0]) };
}

unsafe extern "C" fn run_again(data: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: made in `interned`, and kept.
    let call = unsafe { &*(data as *const Call) };
    call.make();
    0
}

fn boxed(function: u64, words: [u64; 3]) -> *mut Call {
    // SAFETY: a function of the program's, which takes up to three words.
    let function =
        unsafe { core::mem::transmute::<u64, unsafe extern "C" fn(u64, u64, u64)>(function) };
    Box::into_raw(Box::new(Call { function, words }))
}

/// What a lower graph calls for a function of the program's: a function and its argument. One of each is kept for ever, as
/// nobody tells when the last graph that has it is gone.
pub fn interned(function: u64, words: [u64; 3]) -> (u64, u64) {
    plugin::serve();
    let mut held = HELD.lock().unwrap_or_else(|e| e.into_inner());
    let call = held
        .entry((function, words))
        .or_insert_with(|| boxed(function, words) as usize);
    (called_again as *const () as u64, *call as u64)
}

/// The program's function and argument for what a lower graph calls.
pub fn held(function: u64, data: u64) -> Option<[u64; 2]> {
    let ours = function == called_again as *const () as u64;
    let held = HELD.lock().unwrap_or_else(|e| e.into_inner());
    let mut all = held.iter();
    let found = all.find(|(_, call)| ours && **call as u64 == data);
    found.map(|((function, words), _)| [*function, words[0]])
}

/// Has a stream call a function of the program.
unsafe fn later(stream: u64, function: u64, words: [u64; 3]) -> i32 {
    plugin::serve();
    inside(|| unsafe {
        if function == 0 {
            return Err(INVALID_VALUE);
        }
        context::ensure()?;
        if graph::capturing(stream) {
            let (function, data) = interned(function, words);
            let args = [stream, function, data];
            return driver::forward(ix::cuLaunchHostFunc, Class::Forward, &args);
        }
        let call = boxed(function, words);
        let args = [stream, called as *const () as u64, call as u64];
        let done = driver::forward(ix::cuLaunchHostFunc, Class::Forward, &args);
        if done.is_err() {
            drop(Box::from_raw(call));
        }
        done
    })
}

pub unsafe fn cuLaunchHostFunc(stream: u64, function: u64, data: u64) -> i32 {
    unsafe { later(stream, function, [data, 0, 0]) }
}

pub unsafe fn cuStreamAddCallback(stream: u64, function: u64, data: u64, flags: i32) -> i32 {
    if flags != 0 {
        return INVALID_VALUE;
    }
    let forbidden = inside(|| {
        context::ensure()?;
        if graph::capturing(stream) {
            graph::spoil(stream);
            return Err(STREAM_CAPTURE_UNSUPPORTED);
        }
        Ok(())
    });
    if forbidden != SUCCESS {
        return forbidden;
    }
    // The function is given the stream as the program knows it, and a status: there was no error.
    unsafe { later(stream, function, [stream, 0, data]) }
}
