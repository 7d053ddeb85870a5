//! Launches, and functions of the program that streams call.

use super::codes::*;
use super::driver::{self, check, inside, Class};
use super::lower::{self, ix};
use super::model::Kind;
use super::record;
use super::{context, stream};
use crate::service;

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

/// What the lower half calls, on a thread of its own: no TLS, no heap.
unsafe extern "C" fn called(data: u64) {
    // SAFETY: `run` takes the call's address.
    unsafe { service::upper(run, [data, 0, 0, 0, 0, 0]) };
}

/// Runs the program's function, in the upper half.
unsafe extern "C" fn run(data: u64, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: made in `later`, and run once.
    let call = unsafe { Box::from_raw(data as *mut Call) };
    // SAFETY: the program's function, with its arguments.
    unsafe { (call.function)(call.words[0], call.words[1], call.words[2]) };
    0
}

/// Has a stream call a function of the program.
unsafe fn later(stream: u64, function: u64, words: [u64; 3]) -> i32 {
    service::start();
    inside(|| unsafe {
        if function == 0 {
            return Err(INVALID_VALUE);
        }
        let call = Box::into_raw(Box::new(Call {
            function: core::mem::transmute::<u64, unsafe extern "C" fn(u64, u64, u64)>(function),
            words,
        }));
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
    // The function is given the stream as the program knows it, and a status: there was no error.
    unsafe { later(stream, function, [stream, 0, data]) }
}
