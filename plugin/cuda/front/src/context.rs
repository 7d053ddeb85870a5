//! Contexts: which one is a thread's is the model's affair, and told to the lower half before a call.

use super::codes::*;
use super::device;
use super::driver::{check, code, inside, put};
use super::lower::{self, ix};
use super::model::{self, Kind};
use super::record::Record;
use super::{fault, graph};
use crate::plugin::{self, Call, Restarted};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Most contexts that a thread has pushed.
const DEPTH: usize = 32;

thread_local! {
    /// The stack of contexts; without a destructor, for a thread that ends may still call.
    static STACK: Cell<(usize, [u64; DEPTH])> = const { Cell::new((0, [0; DEPTH])) };
    /// What the lower half has as this thread's context, and since which restart.
    static TOLD: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// The thread's context; 0: none.
pub fn current() -> u64 {
    match STACK.get() {
        (0, _) => 0,
        (n, stack) => stack[n - 1],
    }
}

/// Makes a context the thread's, in the place of the top one.
pub fn set_current(context: u64) {
    let (n, mut stack) = STACK.get();
    let n = n.max(1);
    stack[n - 1] = context;
    STACK.set((n, stack));
}

fn wanted() -> Option<(u32, u64)> {
    let want = (plugin::generation(), current());
    let told = TOLD.get();
    let none = want.1 == 0 && (told.1 == 0 || told.0 != want.0);
    (want != told && !none).then_some(want)
}

/// Tells the lower half which context is this thread's, where it may be interrupted by a restart.
///
/// # Errors
/// It was.
pub fn ensure_again() -> Result<(), Restarted> {
    if let Some(want) = wanted() {
        let context = model::lower(Kind::Context, want.1).unwrap_or(0);
        // SAFETY: a lower handle, or none.
        unsafe { lower::call(ix::cuCtxSetCurrent, &[context]) }?;
        graph::tell_mode()?;
        TOLD.set(want);
    }
    Ok(())
}

/// Tells the lower half which context is this thread's.
///
/// # Errors
/// The context is gone, or has had a fault.
#[inline]
pub fn ensure() -> Result<(), i32> {
    fault::check(current())?;
    if let Some(want) = wanted() {
        let context = match want.1 {
            0 => 0,
            handle => model::lower(Kind::Context, handle).ok_or(INVALID_CONTEXT)?,
        };
        // SAFETY: a lower handle, or none; inside the gate.
        check(unsafe { lower::must(ix::cuCtxSetCurrent, &[context]) })?;
        // Inside the gate there is no restart.
        let _ = graph::tell_mode();
        TOLD.set(want);
    }
    Ok(())
}

/// The lower half has another context, or is another one.
pub fn forget() {
    TOLD.set((0, 0));
}

/// Runs something in a context, whichever is the thread's.
pub fn with<R>(context: u64, f: impl FnOnce() -> R) -> R {
    let before = STACK.get();
    set_current(context);
    let result = f();
    STACK.set(before);
    result
}

static FLAGS: AtomicU32 = AtomicU32::new(0);
/// How often a primary context was reset.
static RESETS: AtomicU32 = AtomicU32::new(0);

/// How often a primary context was reset: after that threads may have one that nobody has retained.
pub fn resets() -> u32 {
    RESETS.load(Relaxed)
}

/// The device of a primary context that nobody has retained.
pub fn unused(context: u64) -> Option<i32> {
    let model = model::lock();
    let mut all = model.devices.iter().map(|d| d.primary);
    let found = all.position(|p| p.handle == context && p.references == 0);
    found.map(|device| device as i32)
}

pub unsafe fn cuInit(flags: i32) -> i32 {
    let _inside = plugin::enter(Call::MustComplete);
    if lower::active() {
        return SUCCESS;
    }
    let mut model = model::lock();
    if lower::active() {
        return SUCCESS;
    }
    if !lower::resolve() {
        super::driver::say_once(
            "this process has no CUDA half: start it with `splitproc launch --cuda auto`, under DMTCP with SPLITPROC_LH=cuda",
        );
        return NO_DEVICE;
    }
    FLAGS.store(flags as u32, Relaxed);
    // SAFETY: inside the gate.
    unsafe {
        let code = init_lower();
        if code == SUCCESS {
            model.devices = device::all();
            lower::set_active();
        }
        code
    }
}

/// Initialises the lower half's driver, as the program did.
///
/// # Safety
/// Inside the gate, or on the helper thread.
pub unsafe fn init_lower() -> i32 {
    // SAFETY: cuInit takes flags.
    unsafe { lower::must(ix::cuInit, &[u64::from(FLAGS.load(Relaxed))]) }
}

/// A device's primary context, retained once more.
///
/// # Errors
/// The code for the application.
pub fn retain(device: i32) -> Result<u64, i32> {
    let mut model = model::lock();
    let primary = model
        .devices
        .get(device as usize)
        .ok_or(INVALID_DEVICE)?
        .primary;
    if primary.references > 0 {
        model.devices[device as usize].primary.references += 1;
        return Ok(primary.handle);
    }
    let mut lower = 0_u64;
    // SAFETY: a place for the handle, and a device that is there; inside the gate.
    unsafe {
        let args = [&raw mut lower as u64, device as u64];
        check(lower::must(ix::cuDevicePrimaryCtxRetain, &args))?;
    }
    // It goes by one handle for ever.
    let handle = match primary.handle {
        0 => {
            let record = Record::plain(ix::cuDevicePrimaryCtxRetain, vec![0, device as u64]);
            model.add(Kind::Context, lower, 0, record)
        }
        handle => {
            if let Some(object) = model::object(Kind::Context, handle) {
                object.lower.store(lower, Relaxed);
            }
            handle
        }
    };
    let primary = &mut model.devices[device as usize].primary;
    primary.handle = handle;
    primary.references = 1;
    Ok(handle)
}

/// A device's primary context, as the runtime has it: retained once.
///
/// # Errors
/// The code for the application.
pub fn primary(device: i32) -> Result<u64, i32> {
    let known = model::lock()
        .devices
        .get(device as usize)
        .map(|d| d.primary);
    match known.ok_or(INVALID_DEVICE)? {
        primary if primary.references > 0 => Ok(primary.handle),
        _ => retain(device),
    }
}

/// The device of a context.
pub fn device_of(context: u64) -> Option<i32> {
    let mut model = model::lock();
    let entry = model.entry(Kind::Context, context)?;
    entry.record.words.last().map(|w| *w as i32)
}

/// The device of the thread's context.
///
/// # Errors
/// It has none.
pub fn device() -> Result<i32, i32> {
    device_of(current()).ok_or(INVALID_CONTEXT)
}

pub unsafe fn cuDevicePrimaryCtxRetain(out: u64, device: i32) -> i32 {
    inside(|| unsafe { put(out, retain(device)?) })
}

/// Ends what a device has, in the lower half too.
fn clear(device: i32, function: usize) -> Result<(), i32> {
    let handle = model::lock()
        .devices
        .get(device as usize)
        .ok_or(INVALID_DEVICE)?
        .primary
        .handle;
    if handle != 0 {
        let_go(handle);
    }
    // SAFETY: a device that is there; inside the gate.
    check(unsafe { lower::must(function, &[device as u64]) })?;
    gone(handle);
    Ok(())
}

/// A context is about to end: gives back what it has in the lower half, as far as that can be done.
fn let_go(context: u64) {
    super::memory::free_all(context);
    super::pool::purge(context);
    super::event::purge(context);
    super::graph::purge(context);
    super::peers::purge(context);
}

/// A context has ended in the lower half.
fn gone(context: u64) {
    super::host::purge(context);
    model::lock().purge(context);
    fault::forget(context);
    super::memory::unmap_left();
    TOLD.set((0, 0));
}

pub unsafe fn cuDevicePrimaryCtxRelease_v2(device: i32) -> i32 {
    inside(|| {
        let mut model = model::lock();
        let known = model.devices.get_mut(device as usize);
        let primary = &mut known.ok_or(INVALID_DEVICE)?.primary;
        match primary.references {
            0 => Err(INVALID_CONTEXT),
            1 => {
                primary.references = 0;
                drop(model);
                clear(device, ix::cuDevicePrimaryCtxRelease_v2)
            }
            _ => {
                primary.references -= 1;
                Ok(())
            }
        }
    })
}

pub unsafe fn cuDevicePrimaryCtxRelease(device: i32) -> i32 {
    unsafe { cuDevicePrimaryCtxRelease_v2(device) }
}

pub unsafe fn cuDevicePrimaryCtxReset_v2(device: i32) -> i32 {
    inside(|| {
        clear(device, ix::cuDevicePrimaryCtxReset_v2)?;
        // It is retained anew by whoever uses it next, in the lower half as well, where it was retained once.
        let mut model = model::lock();
        let primary = &mut model.devices[device as usize].primary;
        if std::mem::take(&mut primary.references) > 0 {
            // SAFETY: as in `clear`.
            unsafe { lower::must(ix::cuDevicePrimaryCtxRelease_v2, &[device as u64]) };
        }
        RESETS.fetch_add(1, Relaxed);
        Ok(())
    })
}

pub unsafe fn cuDevicePrimaryCtxReset(device: i32) -> i32 {
    unsafe { cuDevicePrimaryCtxReset_v2(device) }
}

pub unsafe fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: i32) -> i32 {
    inside(|| {
        // SAFETY: numbers; inside the gate.
        let args = [device as u64, flags as u64];
        check(unsafe { lower::must(ix::cuDevicePrimaryCtxSetFlags_v2, &args) })?;
        let mut model = model::lock();
        let known = model.devices.get_mut(device as usize);
        known.ok_or(INVALID_DEVICE)?.primary.flags = flags;
        Ok(())
    })
}

pub unsafe fn cuDevicePrimaryCtxSetFlags(device: i32, flags: i32) -> i32 {
    unsafe { cuDevicePrimaryCtxSetFlags_v2(device, flags) }
}

pub unsafe fn cuDevicePrimaryCtxGetState(device: i32, flags: u64, active: u64) -> i32 {
    inside(|| unsafe {
        let model = model::lock();
        let known = model.devices.get(device as usize).ok_or(INVALID_DEVICE)?;
        put(flags, known.primary.flags)?;
        put(active, i32::from(known.primary.references > 0))
    })
}

/// Makes a context and makes it the thread's.
unsafe fn create(out: u64, flags: i32, device: i32) -> i32 {
    inside(|| unsafe {
        let mut lower = 0_u64;
        let args = [&raw mut lower as u64, flags as u64, device as u64];
        check(lower::must(ix::cuCtxCreate_v2, &args))?;
        let record = Record::plain(ix::cuCtxCreate_v2, args.to_vec());
        let handle = model::lock().add(Kind::Context, lower, 0, record);
        push(handle)?;
        TOLD.set((plugin::generation(), handle));
        put(out, handle)
    })
}

pub unsafe fn cuCtxCreate_v2(out: u64, flags: i32, device: i32) -> i32 {
    unsafe { create(out, flags, device) }
}

pub unsafe fn cuCtxCreate_v3(out: u64, affinity: u64, n: i32, flags: i32, device: i32) -> i32 {
    if n != 0 && affinity != 0 {
        return super::driver::refuse("cuCtxCreate with an execution affinity");
    }
    unsafe { create(out, flags, device) }
}

pub unsafe fn cuCtxCreate_v4(out: u64, params: u64, flags: i32, device: i32) -> i32 {
    /// Words of `CUctxCreateParams`: an execution affinity, how many, graphics.
    const WORDS: usize = 3;
    // SAFETY: the program's structure.
    if params != 0 && unsafe { (params as *const [u64; WORDS]).read() } != [0; WORDS] {
        return super::driver::refuse("cuCtxCreate with parameters");
    }
    unsafe { create(out, flags, device) }
}

pub unsafe fn cuCtxDestroy_v2(context: u64) -> i32 {
    inside(|| {
        let lower = model::lower(Kind::Context, context).ok_or(INVALID_CONTEXT)?;
        let_go(context);
        // SAFETY: a lower handle; inside the gate.
        check(unsafe { lower::must(ix::cuCtxDestroy_v2, &[lower]) })?;
        gone(context);
        model::lock().remove(Kind::Context, context);
        if current() == context {
            let (n, stack) = STACK.get();
            STACK.set((n - 1, stack));
        }
        Ok(())
    })
}

fn push(context: u64) -> Result<(), i32> {
    let (n, mut stack) = STACK.get();
    if n == DEPTH {
        return Err(OUT_OF_MEMORY);
    }
    stack[n] = context;
    STACK.set((n + 1, stack));
    Ok(())
}

pub unsafe fn cuCtxPushCurrent_v2(context: u64) -> i32 {
    inside(|| {
        model::lower(Kind::Context, context).ok_or(INVALID_CONTEXT)?;
        push(context)
    })
}

pub unsafe fn cuCtxPopCurrent_v2(out: u64) -> i32 {
    inside(|| {
        let (n, stack) = STACK.get();
        if n == 0 {
            return Err(INVALID_CONTEXT);
        }
        STACK.set((n - 1, stack));
        if out != 0 {
            // SAFETY: a place for a handle.
            unsafe { put(out, stack[n - 1])? };
        }
        Ok(())
    })
}

pub unsafe fn cuCtxSetCurrent(context: u64) -> i32 {
    inside(|| {
        if context == 0 {
            let (n, stack) = STACK.get();
            STACK.set((n.saturating_sub(1), stack));
            return Ok(());
        }
        model::lower(Kind::Context, context).ok_or(INVALID_CONTEXT)?;
        set_current(context);
        Ok(())
    })
}

pub unsafe fn cuCtxGetCurrent(out: u64) -> i32 {
    inside(|| unsafe { put(out, current()) })
}

pub unsafe fn cuCtxGetDevice(out: u64) -> i32 {
    inside(|| unsafe { put(out, device()?) })
}

pub unsafe fn cuCtxGetDevice_v2(out: u64, context: u64) -> i32 {
    inside(|| unsafe { put(out, device_of(context).ok_or(INVALID_CONTEXT)?) })
}

pub unsafe fn cuCtxGetFlags(out: u64) -> i32 {
    inside(|| unsafe {
        let device = device()?;
        let flags = model::lock().devices[device as usize].primary.flags;
        put(out, flags)
    })
}

pub unsafe fn cuCtxGetId(context: u64, out: u64) -> i32 {
    inside(|| unsafe {
        let which = if context == 0 { current() } else { context };
        let object = model::object(Kind::Context, which).ok_or(INVALID_CONTEXT)?;
        put(out, object.serial.load(Relaxed))
    })
}

pub unsafe fn cuStreamGetCtx(stream: u64, out: u64) -> i32 {
    inside(|| unsafe {
        let of = |handle| Some(model::lock().entry(Kind::Stream, handle)?.context);
        let context = match stream {
            0..=2 => current(),
            handle => of(handle).ok_or(INVALID_HANDLE)?,
        };
        put(out, context)
    })
}

pub unsafe fn cuStreamGetCtx_v2(stream: u64, out: u64, green: u64) -> i32 {
    if green != 0 {
        // SAFETY: a place for a handle: there are no green contexts.
        let done = unsafe { put(green, 0_u64) };
        if done.is_err() {
            return code(done);
        }
    }
    unsafe { cuStreamGetCtx(stream, out) }
}
