//! The driver's exported functions, generated from `plugin/cuda/driver.txt`, and what they have in common.

use super::codes::*;
use super::lower::{self, ix, PARAMS};
use super::model::{self, Kind};
use super::record::{Lowered, Record, P};
use super::stream::{self, per_thread};
use super::{context, fault, printed, ranges};
use crate::plugin::{self, Call, Inside};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

include!(concat!(env!("OUT_DIR"), "/cuda_driver.rs"));

/// How a function of the table is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Translated and forwarded.
    Forward,
    /// The same; a thread may be saved in it.
    Wait,
    /// It makes an object.
    Make,
    /// It ends one.
    Free,
    /// Forwarded, and again at a restart.
    Set,
}

/// Says a line on stderr, once.
pub fn say_once(line: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(|e| e.into_inner());
    if said.insert(line.to_owned()) {
        crate::plugin::flush();
        eprintln!("splitproc: {line}");
    }
}

/// A function that is not supported yet: never a silent pass-through.
#[cold]
pub fn refuse(name: &str) -> i32 {
    say_once(&format!(
        "{name} is not supported yet; it gives an error (docs/cuda.md)"
    ));
    NOT_SUPPORTED
}

/// Turns what a call gives into a code.
pub fn code(outcome: Result<(), i32>) -> i32 {
    outcome.err().unwrap_or(SUCCESS)
}

/// Runs what has to complete before the process may stop.
pub fn inside(f: impl FnOnce() -> Result<(), i32>) -> i32 {
    let inside = plugin::enter(Call::MustComplete);
    if !lower::active() {
        return NOT_INITIALIZED;
    }
    let code = code(f());
    left(inside);
    code
}

/// The call is over.
fn left(inside: Inside) {
    let due = printed::due();
    drop(inside);
    if due {
        printed::out();
    }
}

/// A code of the lower half as an outcome.
pub fn check(code: i32) -> Result<(), i32> {
    match code {
        SUCCESS => Ok(()),
        code => Err(code),
    }
}

/// Stores a result where the application wants it.
///
/// # Errors
/// There is no place.
///
/// # Safety
/// `at` must be 0 or a place for a `T`.
pub unsafe fn put<T>(at: u64, value: T) -> Result<(), i32> {
    if at == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's.
    unsafe { (at as *mut T).write(value) };
    Ok(())
}

/// Calls a function of the lower half with the application's arguments.
///
/// # Safety
/// They must be what the function takes.
pub unsafe fn call(index: usize, class: Class, args: &[u64]) -> i32 {
    // SAFETY: the caller's.
    unsafe {
        match class {
            Class::Wait => wait(index, args),
            Class::Forward if lower::WAITS[index] => {
                printed::begin_wait();
                inside(|| forward(index, class, args))
            }
            _ => inside(|| forward(index, class, args)),
        }
    }
}

/// Waits for the device. A thread that is saved here waits again after a restart.
unsafe fn wait(index: usize, args: &[u64]) -> i32 {
    printed::begin_wait();
    // A thread's own stream may have to be made, which must complete.
    let mut args = args.to_vec();
    let found = inside(|| {
        match index {
            ix::cuCtxSynchronize_v2 => fault::check(args[0])?,
            _ => fault::check(context::current())?,
        }
        for (p, a) in PARAMS[index].iter().zip(&mut args) {
            if *p == P::Handle(Kind::Stream) {
                // SAFETY: the caller's.
                *a = unsafe { stream::resolve(*a) }?;
            }
        }
        Ok(())
    });
    if found != SUCCESS {
        return found;
    }
    let inside = plugin::enter(Call::Reexecutable);
    let code = loop {
        // SAFETY: the caller's.
        let outcome = unsafe {
            let lowered = match Lowered::new(index, &args, core::ptr::null_mut()) {
                Ok(lowered) => lowered,
                Err(code) => break code,
            };
            context::ensure_again().and_then(|()| lower::call(index, &lowered.words))
        };
        if let Ok(code) = outcome {
            break code;
        }
    };
    left(inside);
    code
}

/// Texture and surface objects have the lower half's numbers, which it gives again: one that ends is out of the model before
/// another can be made. Neither call waits for the device.
fn numbers(index: usize, class: Class) -> Option<MutexGuard<'static, ()>> {
    static NUMBERS: Mutex<()> = Mutex::new(());
    use Kind::{Surface, Texture};
    let numbered = |p: &P| matches!(p, P::Made(Texture | Surface) | P::Handle(Texture | Surface));
    let ends_or_begins = matches!(class, Class::Make | Class::Free);
    (ends_or_begins && PARAMS[index].iter().any(numbered))
        .then(|| NUMBERS.lock().unwrap_or_else(|e| e.into_inner()))
}

/// Forwards a call.
///
/// # Errors
/// The code for the application.
///
/// # Safety
/// The arguments must be what the function takes; inside the gate.
pub unsafe fn forward(index: usize, class: Class, args: &[u64]) -> Result<(), i32> {
    // SAFETY: the caller's.
    unsafe {
        context::ensure()?;
        ranges::check(index, args)?;
        let _one = numbers(index, class);
        let mut made = 0;
        let lowered = Lowered::new(index, args, &mut made)?;
        check(lower::must(index, &lowered.words))?;
        match class {
            Class::Make => {
                let record = Record::new(index, args);
                if let Some(at) = record.made() {
                    if let P::Made(kind) = PARAMS[index][at] {
                        let handle = model::lock().add(kind, made, context::current(), record);
                        put(args[at], handle)?;
                    }
                }
            }
            Class::Free => {
                if let P::Handle(kind) = PARAMS[index][0] {
                    model::lock().remove(kind, args[0]);
                }
            }
            Class::Set => {
                // cuKernelSetAttribute has its value before the kernel; of others it is the last.
                let value = if index == ix::cuKernelSetAttribute {
                    1
                } else {
                    args.len().saturating_sub(1)
                };
                let record = Record::new(index, args);
                model::lock().set(context::current(), record, value);
            }
            Class::Forward | Class::Wait => {}
        }
        Ok(())
    }
}
