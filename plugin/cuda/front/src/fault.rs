//! Faults that stay: after a kernel's, each call that needs the context gives the same error until the context ends.
//!
//! A driver says so of the calls that reach it; many of ours don't. What is left in such a context is nobody's to know, so it
//! is not saved.

use super::codes::*;
use super::lower::PARAMS;
use super::model::{self, Kind};
use super::record::P;
use super::{context, cut};
use std::sync::atomic::{AtomicBool, Ordering::*};

/// There has been one: else nobody looks for one.
static ANY: AtomicBool = AtomicBool::new(false);

/// Does this error leave its context of no use, as `cuda.h` says?
#[inline]
pub fn stays(code: i32) -> bool {
    code >= CONTAINED
        && matches!(
            code,
            CONTAINED
                | ILLEGAL_ADDRESS
                | LAUNCH_TIMEOUT
                | ASSERT
                | HARDWARE_STACK_ERROR
                | ILLEGAL_INSTRUCTION
                | MISALIGNED_ADDRESS
                | INVALID_ADDRESS_SPACE
                | INVALID_PC
                | LAUNCH_FAILED
                | TENSOR_MEMORY_LEAK
                | EXTERNAL_DEVICE
        )
}

/// The lower half has said so of a call with these arguments: of the context of the stream, the event or the context that they
/// name, or of the thread's. Takes no lock: the caller may have the model's.
#[cold]
pub fn note(index: usize, args: &[u64], code: i32) {
    let named = PARAMS[index].iter().zip(args).find_map(|(p, a)| match p {
        P::Handle(Kind::Context) => model::with_lower(Kind::Context, *a).map(|(handle, _)| handle),
        P::Handle(kind @ (Kind::Stream | Kind::Event)) => {
            model::with_lower(*kind, *a).map(|(_, of)| of)
        }
        _ => None,
    });
    let of = named.unwrap_or_else(context::current);
    if let Some(object) = model::object(Kind::Context, of) {
        // The first one stays.
        let _ = (object.fault).compare_exchange(SUCCESS, code, Relaxed, Relaxed);
        ANY.store(true, Release);
    }
}

/// A context's fault; success if it has none.
#[inline]
pub fn of(context: u64) -> i32 {
    match ANY.load(Acquire) {
        false => SUCCESS,
        true => model::object(Kind::Context, context).map_or(SUCCESS, |o| o.fault.load(Relaxed)),
    }
}

/// A context has no fault.
///
/// # Errors
/// It has.
#[inline]
pub fn check(context: u64) -> Result<(), i32> {
    match of(context) {
        SUCCESS => Ok(()),
        code => Err(code),
    }
}

/// The context has ended.
pub fn forget(context: u64) {
    if let Some(object) = model::object(Kind::Context, context) {
        object.fault.store(SUCCESS, Relaxed);
    }
}

/// Why contexts can't be saved, if there is one with a fault.
pub fn refusal() -> Option<String> {
    let all = cut::contexts();
    let (device, code) = all
        .iter()
        .map(|(device, handle)| (*device, of(*handle)))
        .find(|(_, code)| *code != SUCCESS)?;
    let text = told(code).map_or("".into(), |t| t.text.to_string_lossy());
    Some(format!(
        "a kernel on CUDA device {device} has failed (error {code}, {text}), and what its context has is of no use any more: ask again when \
         the program has called cudaDeviceReset or ended the context, or go back to an earlier checkpoint"
    ))
}
