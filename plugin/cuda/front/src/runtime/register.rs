//! What programs and libraries register before `main`: fat binaries, their kernels and variables. A fat binary is loaded
//! when something of it is needed.

use super::super::codes::*;
use super::super::driver::{self, Class};
use super::super::globals;
use super::super::lower::ix;
use super::super::model::{self, Kind};
use super::super::{context, cut, graph, link, lower, module};
use super::{ready, Dim3};
use crate::plugin::{self, Call};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::Mutex;

/// A kernel by its host function.
#[derive(Clone)]
struct Kernel {
    fatbin: usize,
    name: CString,
    handle: u64,
}

/// A variable by its host variable.
#[derive(Clone)]
struct Variable {
    fatbin: usize,
    name: CString,
    managed: bool,
}

/// A fat binary: where it is and what it was linked of, and its library once it is loaded. All is 0 once it is unregistered.
#[derive(Clone, Default)]
struct Fatbin {
    image: u64,
    parts: Vec<u64>,
    library: u64,
    names: Vec<CString>,
}

/// Everything that is registered.
#[derive(Default)]
pub struct Fatbins {
    list: Vec<Fatbin>,
    kernels: BTreeMap<u64, Kernel>,
    variables: BTreeMap<u64, Variable>,
}

impl Fatbins {
    /// Nothing.
    pub const fn new() -> Fatbins {
        Fatbins {
            list: Vec::new(),
            kernels: BTreeMap::new(),
            variables: BTreeMap::new(),
        }
    }
}

impl Fatbins {
    /// Notes a library that the program has loaded by itself, with the names of its variables.
    pub fn add(&mut self, library: u64, names: Vec<CString>) {
        self.list.push(Fatbin {
            library,
            names,
            ..Fatbin::default()
        });
    }

    /// A library is gone.
    pub fn forget(&mut self, library: u64) {
        for f in self.list.iter_mut().filter(|f| f.library == library) {
            *f = Fatbin::default();
        }
    }
}

/// Runs something on the model that needs no driver.
fn noting<R>(f: impl FnOnce(&mut Fatbins) -> R) -> R {
    let _inside = plugin::enter(Call::MustComplete);
    f(&mut model::lock().fatbins)
}

/// Which fat binary a handle means.
unsafe fn index(handle: u64) -> usize {
    // SAFETY: what `__cudaRegisterFatBinary` gave.
    unsafe { (handle as *const usize).read() }
}

unsafe fn text(at: u64) -> CString {
    // SAFETY: a C string.
    unsafe { CStr::from_ptr(at as *const _) }.into()
}

pub unsafe fn __cudaRegisterFatBinary(wrapper: u64) -> u64 {
    // SAFETY: the compiler's wrapper.
    let (image, parts) = unsafe { (module::unwrapped(wrapper), link::parts(wrapper)) };
    let index = noting(|f| {
        f.list.push(Fatbin {
            image,
            parts,
            ..Fatbin::default()
        });
        f.list.len() - 1
    });
    Box::into_raw(Box::new(index)) as u64
}

pub unsafe fn __cudaRegisterFatBinaryEnd(_handle: u64) -> u64 {
    0
}

pub unsafe fn __cudaUnregisterFatBinary(handle: u64) -> u64 {
    let index = unsafe { index(handle) };
    let library = noting(|f| {
        f.kernels.retain(|_, k| k.fatbin != index);
        f.variables.retain(|_, v| v.fatbin != index);
        std::mem::take(&mut f.list[index]).library
    });
    if library != 0 {
        // SAFETY: a library that was loaded for it.
        unsafe { driver::cuLibraryUnload(library) };
    }
    0
}

pub unsafe fn __cudaRegisterFunction(
    handle: u64,
    host: u64,
    _device: u64,
    name: u64,
    _limit: i32,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    let (fatbin, name) = unsafe { (index(handle), text(name)) };
    let kernel = Kernel {
        fatbin,
        name,
        handle: 0,
    };
    noting(|f| f.kernels.insert(host, kernel));
    0
}

unsafe fn variable(handle: u64, host: u64, name: u64, managed: bool) {
    let (fatbin, name) = unsafe { (index(handle), text(name)) };
    let variable = Variable {
        fatbin,
        name,
        managed,
    };
    noting(|f| f.variables.insert(host, variable));
}

pub unsafe fn __cudaRegisterVar(
    handle: u64,
    host: u64,
    _device: u64,
    name: u64,
    _external: i32,
    _size: u64,
    _constant: i32,
    _global: i32,
) -> u64 {
    unsafe { variable(handle, host, name, false) };
    0
}

pub unsafe fn __cudaRegisterManagedVar(
    handle: u64,
    host: u64,
    _device: u64,
    name: u64,
    _external: i32,
    _size: u64,
    _constant: i32,
    _global: i32,
) -> u64 {
    unsafe { variable(handle, host, name, true) };
    0
}

pub unsafe fn __cudaRegisterHostVar(_handle: u64, _name: u64, _host: u64, _size: u64) -> u64 {
    0
}

pub unsafe fn __cudaInitModule(handle: u64) -> u64 {
    let index = unsafe { index(handle) };
    u64::from(ready().and_then(|()| library(index)).is_ok())
}

/// Threads that need a fat binary for the first time: one loads it, the others wait until its variables are known. It is locked
/// before the model.
static LOADING: Mutex<()> = Mutex::new(());

/// The library of a fat binary, loaded; its managed variables are then known to the program.
fn library(index: usize) -> Result<u64, i32> {
    let _inside = plugin::enter(Call::MustComplete);
    let _one = LOADING.lock().unwrap_or_else(|e| e.into_inner());
    let fatbin = model::lock().fatbins.list[index].clone();
    if fatbin.library != 0 {
        return Ok(fatbin.library);
    }
    // SAFETY: the program's image stays until it is unregistered, and so do its parts; what was linked stays for ever.
    let image = unsafe { link::whole(fatbin.image, &fatbin.parts) };
    // SAFETY: as above.
    let library = graph::relaxed(|| unsafe { module::library(image) })?;
    // SAFETY: as above.
    let names = unsafe { module::variables(image) };
    {
        let known = &mut model::lock().fatbins.list[index];
        (known.image, known.parts) = (image, Vec::new());
        (known.library, known.names) = (library, names);
    }
    look_up(index, library)?;
    Ok(library)
}

fn look_up(index: usize, library: u64) -> Result<(), i32> {
    let variables: Vec<(u64, Variable)> = {
        let model = model::lock();
        let all = model.fatbins.variables.iter();
        all.filter(|(_, v)| v.fatbin == index)
            .map(|(h, v)| (*h, v.clone()))
            .collect()
    };
    let names = model::lock().fatbins.list[index].names.clone();
    for (host, v) in variables {
        let function = if v.managed {
            ix::cuLibraryGetManaged
        } else {
            ix::cuLibraryGetGlobal
        };
        match globals::find(function, (Kind::Library, library), &v.name) {
            // SAFETY: the program's pointer to the variable.
            Ok(found) if v.managed => unsafe { (host as *mut u64).write(found.at) },
            // A variable that no kernel uses may have been left out.
            Ok(_) | Err(NOT_FOUND) => {}
            Err(code) => return Err(code),
        }
    }
    // Those too that are not registered.
    module::look_up((Kind::Library, library), &names)
}

/// Looks all variables of loaded fat binaries up in all contexts: they are to be saved.
///
/// # Errors
/// The driver's.
pub fn look_up_all() -> Result<(), i32> {
    let loaded: Vec<(usize, u64)> = {
        let model = model::lock();
        let all = model.fatbins.list.iter().enumerate();
        all.filter(|(_, f)| f.library != 0)
            .map(|(i, f)| (i, f.library))
            .collect()
    };
    for (_, handle) in cut::contexts() {
        for (index, library) in &loaded {
            context::with(handle, || look_up(*index, *library))?;
        }
    }
    Ok(())
}

/// The kernel of a host function, in the thread's context. What is a kernel's handle already is that.
///
/// # Errors
/// It is none, or the driver's.
pub fn kernel(host: u64) -> Result<u64, i32> {
    if lower::active() && model::object(Kind::Kernel, host).is_some() {
        return Ok(host);
    }
    ready()?;
    let _inside = plugin::enter(Call::MustComplete);
    let known = model::lock().fatbins.kernels.get(&host).cloned();
    let known = known.ok_or(INVALID_DEVICE_FUNCTION)?;
    if known.handle != 0 {
        return Ok(known.handle);
    }
    let library = library(known.fatbin)?;
    let mut handle = 0_u64;
    let args = [&raw mut handle as u64, library, known.name.as_ptr() as u64];
    // SAFETY: a place for the handle, a library and a C string.
    let found = unsafe { driver::forward(ix::cuLibraryGetKernel, Class::Make, &args) };
    found.map_err(|code| match code {
        NOT_FOUND => INVALID_DEVICE_FUNCTION,
        code => code,
    })?;
    if let Some(kernel) = model::lock().fatbins.kernels.get_mut(&host) {
        kernel.handle = handle;
    }
    Ok(handle)
}

/// The host function of a kernel; the kernel itself where it has none.
pub fn host_of(handle: u64) -> u64 {
    let _inside = plugin::enter(Call::MustComplete);
    let model = model::lock();
    let mut all = model.fatbins.kernels.iter();
    all.find(|(_, k)| k.handle == handle)
        .map_or(handle, |(host, _)| *host)
}

/// Where a variable is in the thread's context, and how long.
///
/// # Errors
/// It is none, or the driver's.
pub fn symbol(host: u64) -> Result<(u64, u64), i32> {
    ready()?;
    let _inside = plugin::enter(Call::MustComplete);
    let known = model::lock().fatbins.variables.get(&host).cloned();
    let known = known.ok_or(INVALID_SYMBOL)?;
    let library = library(known.fatbin)?;
    let function = if known.managed {
        ix::cuLibraryGetManaged
    } else {
        ix::cuLibraryGetGlobal
    };
    let found = globals::find(function, (Kind::Library, library), &known.name);
    let found = found.map_err(|code| match code {
        NOT_FOUND => INVALID_SYMBOL,
        code => code,
    })?;
    Ok((found.at, found.len))
}

/// What `<<<>>>` says of a launch.
type Configuration = (Dim3, Dim3, u64, u64);

thread_local! {
    static PUSHED: RefCell<Vec<Configuration>> = const { RefCell::new(Vec::new()) };
}

pub unsafe fn __cudaPushCallConfiguration(
    grid: Dim3,
    block: Dim3,
    shared: u64,
    stream: u64,
) -> u64 {
    PUSHED.with_borrow_mut(|p| p.push((grid, block, shared, stream)));
    0
}

pub unsafe fn __cudaPopCallConfiguration(grid: u64, block: u64, shared: u64, stream: u64) -> u64 {
    match PUSHED.with_borrow_mut(Vec::pop) {
        // SAFETY: the compiler's places.
        Some((g, b, bytes, s)) => unsafe {
            (grid as *mut Dim3).write(g);
            (block as *mut Dim3).write(b);
            (shared as *mut u64).write(bytes);
            (stream as *mut u64).write(s);
            0
        },
        None => MISSING_CONFIGURATION as u64,
    }
}
