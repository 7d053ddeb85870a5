//! Contexts. They share the device's memory and streams; a thread has a stack of those that it has made current.

use super::{api, cu, device, driver, lock, put, put_if, Done, Error, Handle};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// What is remembered of a context.
#[derive(Clone)]
pub struct Context {
    device: c_int,
    primary: bool,
    flags: Arc<Mutex<c_uint>>,
    limits: Arc<Mutex<[usize; LIMITS]>>,
    /// Contexts whose memory it may reach.
    peers: Arc<Mutex<BTreeSet<Handle>>>,
    fault: Fault,
}

/// Why no more can be done in a context: a kernel's fault. What is given to a stream has it of the context that gave it.
#[derive(Clone, Default)]
pub struct Fault(Arc<AtomicU32>);

impl Fault {
    /// There was none.
    ///
    /// # Errors
    /// The first one.
    pub fn check(&self) -> Done {
        match self.0.load(Relaxed) {
            0 => Ok(()),
            code => Err(Error(code)),
        }
    }

    /// Takes note of one; the first stays.
    pub fn set(&self, error: Error) {
        self.0.compare_exchange(0, error.0, Relaxed, Relaxed).ok();
    }
}

const LIMITS: usize = 10;
/// Limits as a driver has them at first.
const AT_FIRST: [usize; LIMITS] = [1024, 1 << 20, 8 << 20, 2, 2048, 64, 0, 0, 0, 0];
/// Those that can be set.
const SETTABLE: [usize; 7] = [0, 1, 2, 3, 4, 5, 6];
/// All flags.
const FLAGS: c_uint = 0xff;
/// The version of the API that contexts are made with.
const API: c_uint = 3020;

thread_local! {
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// Primary contexts, by device: how often each is retained, and its flags for when it begins.
static PRIMARY: Mutex<[Primary; device::MOST]> = Mutex::new([(0, 0, 0); device::MOST]);

type Primary = (Handle, u32, c_uint);

impl Context {
    fn new(device: c_int, primary: bool, flags: c_uint) -> Context {
        Context {
            device,
            primary,
            peers: Arc::default(),
            fault: Fault::default(),
            flags: Arc::new(Mutex::new(flags)),
            limits: Arc::new(Mutex::new(AT_FIRST)),
        }
    }
}

/// The thread's context.
pub fn current() -> Result<Handle, Error> {
    let top = STACK.with_borrow(|stack| stack.last().copied());
    match top {
        None | Some(0) => Err(Error::INVALID_CONTEXT),
        Some(context) => {
            driver()?
                .contexts
                .get(context)
                .map_err(|_| Error::INVALID_CONTEXT)?;
            Ok(context)
        }
    }
}

fn of(handle: Handle) -> Result<Context, Error> {
    driver()?
        .contexts
        .get(handle)
        .map_err(|_| Error::INVALID_CONTEXT)
}

fn mine() -> Result<Context, Error> {
    of(current()?)
}

/// The device of the thread's context.
pub fn of_thread() -> Result<c_int, Error> {
    Ok(mine()?.device)
}

/// The fault of the thread's context, if there was one.
pub fn check_fault() -> Done {
    mine()?.fault.check()
}

/// The same where no context is needed.
pub fn check_fault_if_any() -> Done {
    match current() {
        Ok(_) => check_fault(),
        Err(_) => Ok(()),
    }
}

/// The place for the fault of the thread's context.
pub fn fault() -> Fault {
    mine().map(|c| c.fault).unwrap_or_default()
}

/// Ends a context and what it had, a fault as well.
fn end(context: Handle) -> Done {
    let driver = driver()?;
    driver.wait_all();
    let device = driver.contexts.remove(context)?.device;
    driver.end_modules(context, device)?;
    driver.memory.end_context(context);
    Ok(())
}

/// Ends the primary context.
fn end_primary(primary: &mut Primary) -> Done {
    end(primary.0)?;
    (primary.0, primary.1) = (0, 0);
    Ok(())
}

api! {
    /// The primary context.
    fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) {
        device::check(device)?;
        let mut all = lock(&PRIMARY);
        let primary = &mut all[device as usize];
        if primary.1 == 0 {
            primary.0 = driver()?.contexts.add(Context::new(device, true, primary.2));
        }
        put(context, primary.0)?;
        primary.1 += 1;
        Ok(())
    }

    /// It is used by one less.
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        device::check(device)?;
        let mut all = lock(&PRIMARY);
        let primary = &mut all[device as usize];
        match primary.1 {
            0 => Err(Error::INVALID_CONTEXT),
            1 => end_primary(primary),
            _ => {
                primary.1 -= 1;
                Ok(())
            }
        }
    }

    /// Its flags.
    fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: c_uint) {
        device::check(device)?;
        if flags & !FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let mut all = lock(&PRIMARY);
        let primary = &mut all[device as usize];
        primary.2 = flags;
        if let Ok(context) = of(primary.0) {
            *lock(&context.flags) = flags;
        }
        Ok(())
    }

    /// Its flags, and whether it has begun.
    fn cuDevicePrimaryCtxGetState(device: c_int, flags: *mut c_uint, active: *mut c_int) {
        device::check(device)?;
        let primary = lock(&PRIMARY)[device as usize];
        put(flags, primary.2)?;
        put(active, c_int::from(primary.1 > 0))
    }

    /// Ends it, whoever uses it.
    fn cuDevicePrimaryCtxReset_v2(device: c_int) {
        device::check(device)?;
        let mut all = lock(&PRIMARY);
        let primary = &mut all[device as usize];
        if primary.1 == 0 {
            return Ok(());
        }
        let (handle, uses) = (primary.0, primary.1);
        end_primary(primary)?;
        // Who has retained it goes on with it.
        driver()?.contexts.put_back(handle, Context::new(device, true, primary.2));
        (primary.0, primary.1) = (handle, uses);
        Ok(())
    }

    /// A context.
    fn cuCtxCreate_v4(context: *mut Handle, parameters: *const c_void, flags: c_uint, device: c_int) {
        device::check(device)?;
        if flags & !FLAGS != 0 || context.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        if !parameters.is_null() {
            return Err(super::refused::say("cuCtxCreate with an execution affinity"));
        }
        let handle = driver()?.contexts.add(Context::new(device, false, flags));
        STACK.with_borrow_mut(|stack| stack.push(handle));
        put(context, handle)
    }

    /// A context, as before CUDA 13.
    fn cuCtxCreate_v2(context: *mut Handle, flags: c_uint, device: c_int) {
        cu(cuCtxCreate_v4(context, std::ptr::null(), flags, device))
    }

    /// Its end.
    fn cuCtxDestroy_v2(context: Handle) {
        if of(context)?.primary {
            return Err(Error::INVALID_CONTEXT);
        }
        end(context)?;
        STACK.with_borrow_mut(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        Ok(())
    }

    /// Makes a context the thread's, until it is popped.
    fn cuCtxPushCurrent_v2(context: Handle) {
        of(context)?;
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    /// Goes back to the one before.
    fn cuCtxPopCurrent_v2(context: *mut Handle) {
        driver()?;
        let top = STACK.with_borrow_mut(Vec::pop).ok_or(Error::INVALID_CONTEXT)?;
        put_if(context, top);
        Ok(())
    }

    /// Makes a context the thread's in the place of the one it has.
    fn cuCtxSetCurrent(context: Handle) {
        driver()?;
        if context != 0 {
            of(context)?;
        }
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    }

    /// The thread's context, or none.
    fn cuCtxGetCurrent(context: *mut Handle) {
        driver()?;
        put(context, STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0)))
    }

    /// Its device.
    fn cuCtxGetDevice(device: *mut c_int) {
        put(device, mine()?.device)
    }

    /// Its device.
    fn cuCtxGetDevice_v2(device: *mut c_int, context: Handle) {
        put(device, of(context)?.device)
    }

    /// Reaches another device's memory. (A kernel that does so without is not stopped here.)
    fn cuCtxEnablePeerAccess(peer: Handle, flags: c_uint) {
        let (mine, other) = (mine()?, of(peer)?);
        if flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        if mine.device == other.device {
            return Err(Error::PEER_ACCESS_UNSUPPORTED);
        }
        let new = lock(&mine.peers).insert(peer);
        new.then_some(()).ok_or(Error::PEER_ACCESS_ALREADY_ENABLED)
    }

    /// Reaches it no more.
    fn cuCtxDisablePeerAccess(peer: Handle) {
        of(peer)?;
        let known = lock(&mine()?.peers).remove(&peer);
        known.then_some(()).ok_or(Error::PEER_ACCESS_NOT_ENABLED)
    }

    /// Its flags.
    fn cuCtxGetFlags(flags: *mut c_uint) {
        put(flags, *lock(&mine()?.flags))
    }

    /// Its flags.
    fn cuCtxSetFlags(flags: c_uint) {
        if flags & !FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        *lock(&mine()?.flags) = flags;
        Ok(())
    }

    /// Its number.
    fn cuCtxGetId(context: Handle, id: *mut u64) {
        let context = if context == 0 { current()? } else { context };
        of(context)?;
        put(id, context)
    }

    /// The version of its API.
    fn cuCtxGetApiVersion(context: Handle, version: *mut c_uint) {
        if context != 0 {
            of(context)?;
        }
        put(version, API)
    }

    /// Waits for all that was given to it.
    fn cuCtxSynchronize() {
        let driver = super::ready()?;
        driver.refuse_capture()?;
        driver.wait_all();
        check_fault()
    }

    /// The same for a context that need not be the thread's.
    fn cuCtxSynchronize_v2(context: Handle) {
        let other = of(context)?;
        let driver = driver()?;
        driver.refuse_capture()?;
        driver.wait_all();
        other.fault.check()
    }

    /// A limit.
    fn cuCtxSetLimit(limit: c_uint, value: usize) {
        let limit = limit as usize;
        if limit >= LIMITS {
            return Err(Error::INVALID_VALUE);
        }
        if !SETTABLE.contains(&limit) {
            return Err(Error::UNSUPPORTED_LIMIT);
        }
        lock(&mine()?.limits)[limit] = value;
        Ok(())
    }

    /// A limit.
    fn cuCtxGetLimit(value: *mut usize, limit: c_uint) {
        let limits = *lock(&mine()?.limits);
        put(value, *limits.get(limit as usize).ok_or(Error::INVALID_VALUE)?)
    }

    /// How the caches are shared out: there is nothing to share out here.
    fn cuCtxGetCacheConfig(config: *mut c_uint) {
        mine()?;
        put(config, 0)
    }

    /// A wish about it.
    fn cuCtxSetCacheConfig(config: c_uint) {
        mine()?;
        if config > 3 { Err(Error::INVALID_VALUE) } else { Ok(()) }
    }

    /// The width of shared memory's banks: there are none here.
    fn cuCtxGetSharedMemConfig(config: *mut c_uint) {
        mine()?;
        put(config, 0)
    }

    /// A wish about it.
    fn cuCtxSetSharedMemConfig(config: c_uint) {
        mine()?;
        if config > 2 { Err(Error::INVALID_VALUE) } else { Ok(()) }
    }

    /// The least and the greatest priority of a stream.
    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) {
        mine()?;
        put_if(least, super::stream::PRIORITIES[0]);
        put_if(greatest, super::stream::PRIORITIES[1]);
        Ok(())
    }

    /// Forgets what the cache was told to keep.
    fn cuCtxResetPersistingL2Cache() {
        mine().map(|_| ())
    }
}
