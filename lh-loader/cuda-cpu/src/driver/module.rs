//! Modules: a program's device code, with memory for its variables. A library is a module too.

use super::function::Function;
use super::memory::Kind;
use super::{
    api, context, cu, get, lock, other, put, put_if, ready, refused, text, Done, Driver, Error,
    Handle, Pointer,
};
use crate::code::Program;
use crate::ptx::{self, Init, Space};
use crate::{fatbin, ptx::Variable};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::sync::{Arc, Mutex};

/// A module.
pub struct Module {
    /// Its functions.
    pub program: Program,
    /// Its variables: where, size, and whether they are managed.
    variables: HashMap<String, (Pointer, usize, bool)>,
    /// Kernels by name, with their handles once they have been asked for.
    kernels: Mutex<BTreeMap<String, Option<Handle>>>,
    /// A library on other devices, from the second on: each has variables of its own.
    elsewhere: Vec<Arc<Module>>,
    /// The context that it ends with; a library has none.
    context: Option<Handle>,
    /// What its variables are at first, by address.
    first: Vec<(Pointer, Box<[u8]>)>,
}

/// What an image of a module is, by its first bytes.
const ELF: u32 = u32::from_le_bytes(*b"\x7fELF");

/// The compute capability of the device: 90 for 9.0.
fn capability() -> u32 {
    let [major, minor] = other::capability();
    (10 * major + minor) as u32
}

/// The PTX of an image, which is for this device.
///
/// # Safety
/// `image` must be a fat binary, its wrapper, an ELF file, or text that ends with a NUL.
unsafe fn ptx_of(image: *const c_void) -> Result<String, Error> {
    if image.is_null() {
        return Err(Error::INVALID_VALUE);
    }
    // SAFETY: whatever it is, it has four bytes; text that is shorter is no module. The rest is as the format says.
    unsafe {
        let text = match image.cast::<u32>().read_unaligned() {
            fatbin::WRAPPER => {
                return ptx_of(image.cast::<*const c_void>().add(1).read_unaligned())
            }
            fatbin::CONTAINER => {
                let head = std::slice::from_raw_parts(image.cast::<u8>(), 16);
                let all =
                    fatbin::size(head).map(|n| std::slice::from_raw_parts(image.cast::<u8>(), n));
                all.and_then(|all| fatbin::ptx(all, capability()))
            }
            ELF => Err(fatbin::Error::NoPtx("a cubin".into())),
            _ => {
                let text = text(image.cast()).map_err(|_| Error::INVALID_IMAGE)?;
                fits(text).map_err(|()| Error::INVALID_PTX)?;
                return Ok(text.to_owned());
            }
        };
        let text = text.map_err(|error| {
            eprintln!("splitproc: CUDA on the CPU device: {error}");
            match error {
                fatbin::Error::NoPtx(_) => Error::NO_BINARY_FOR_GPU,
                _ => Error::INVALID_IMAGE,
            }
        })?;
        fits(&text).map_err(|()| Error::NO_BINARY_FOR_GPU)?;
        Ok(text)
    }
}

/// Is it for this device?
fn fits(text: &str) -> Result<(), ()> {
    fatbin::target::runs_on(text, capability())
        .map_err(|why| eprintln!("splitproc: CUDA on the CPU device: {why}"))
}

/// Has it memory of its own?
fn has_memory(v: &Variable) -> bool {
    matches!(v.space, Space::Global | Space::Const)
}

impl Module {
    /// Loads a module for the device of the thread's context.
    fn load(driver: &Driver, text: &str) -> Result<Module, Error> {
        let mut module = Module::load_on(driver, context::of_thread()?, text, None)?;
        module.context = Some(context::current()?);
        Ok(module)
    }

    /// Loads a library, which is there on all devices.
    fn load_library(driver: &Driver, text: &str) -> Result<Module, Error> {
        let mut first = Module::load_on(driver, 0, text, None)?;
        for device in 1..driver.devices {
            let other = Module::load_on(driver, device, text, Some(&first))?;
            first.elsewhere.push(Arc::new(other));
        }
        for (at, ..) in first.variables.values().filter(|v| v.2) {
            driver.memory.outlives_contexts(*at);
        }
        Ok(first)
    }

    /// The module as the device of the thread's context has it.
    pub fn here(self: &Arc<Self>) -> Result<Arc<Module>, Error> {
        Ok(self.on(context::of_thread()?).clone())
    }

    /// The module as a device has it.
    fn on(self: &Arc<Self>, device: c_int) -> &Arc<Module> {
        let other = (device as usize).checked_sub(1);
        other.and_then(|i| self.elsewhere.get(i)).unwrap_or(self)
    }

    /// Loads a module; managed variables are those of a module that it is the same as on another device.
    fn load_on(
        driver: &Driver,
        device: c_int,
        text: &str,
        same: Option<&Module>,
    ) -> Result<Module, Error> {
        let parsed = ptx::parse(text).map_err(|error| {
            eprintln!("splitproc: CUDA on the CPU device: {error}");
            Error::INVALID_PTX
        })?;
        let mut variables = HashMap::new();
        for v in parsed
            .variables
            .iter()
            .filter(|v| has_memory(v) && (!v.external || v.count > 0))
        {
            let kind = if v.managed {
                Kind::Managed
            } else {
                Kind::Variable
            };
            if let Some(shared) = same.filter(|_| v.managed) {
                variables.insert(v.name.to_owned(), shared.variables[v.name]);
                continue;
            }
            let (size, align) = (v.size().max(1) as u64, v.align.max(1) as u64);
            let at = driver.memory.allocate_on(device, kind, size, align, 0)?;
            variables.insert(v.name.to_owned(), (at, v.size(), v.managed));
        }
        let addresses = variables
            .iter()
            .map(|(name, v)| (name.clone(), v.0))
            .collect();
        let program = Program::new(&parsed, &addresses);
        let own = |v: &&Variable| has_memory(v) && !(v.managed && same.is_some());
        let mut first = Vec::new();
        for v in parsed.variables.iter().filter(own) {
            let Some((at, size, _)) = variables.get(v.name) else {
                continue;
            };
            let bytes = v.ty.bytes();
            let mut contents = vec![0; *size];
            for (i, init) in v.init.iter().enumerate().take(size / bytes.max(1)) {
                let value = match init {
                    Init::Bits(bits) => *bits,
                    Init::Address(name, offset) => {
                        let base = addresses
                            .get(*name)
                            .copied()
                            .or_else(|| program.address(name));
                        base.ok_or(Error::INVALID_PTX)?.wrapping_add(*offset as u64)
                    }
                };
                let n = bytes.min(8);
                contents[i * bytes..][..n].copy_from_slice(&value.to_le_bytes()[..n]);
            }
            first.push((*at, contents.into_boxed_slice()));
        }
        let kernels = parsed
            .functions
            .iter()
            .filter(|f| f.entry && f.body.is_some())
            .map(|f| (f.name.to_owned(), None))
            .collect();
        let module = Module {
            program,
            variables,
            kernels: Mutex::new(kernels),
            elsewhere: Vec::new(),
            context: None,
            first,
        };
        module.begin();
        Ok(module)
    }

    /// Gives variables what they are at first.
    fn begin(&self) {
        for (at, contents) in &self.first {
            // SAFETY: memory of the module's, as long as its variable; nothing runs that uses it.
            unsafe {
                std::ptr::copy_nonoverlapping(contents.as_ptr(), *at as *mut u8, contents.len())
            };
        }
    }

    /// A kernel's handle.
    fn kernel(self: &Arc<Self>, driver: &Driver, name: &str) -> Result<Handle, Error> {
        let mut kernels = lock(&self.kernels);
        let handle = kernels.get_mut(name).ok_or(Error::NOT_FOUND)?;
        let index = self.program.find(name).ok_or(Error::NOT_FOUND)?;
        Ok(*handle
            .get_or_insert_with(|| driver.functions.add(Arc::new(Function::new(self, index)))))
    }

    fn all_kernels(self: &Arc<Self>, driver: &Driver) -> Result<Vec<Handle>, Error> {
        let names: Vec<String> = lock(&self.kernels).keys().cloned().collect();
        names.iter().map(|name| self.kernel(driver, name)).collect()
    }

    /// A variable.
    fn variable(&self, name: &str) -> Result<(Pointer, usize, bool), Error> {
        self.variables.get(name).copied().ok_or(Error::NOT_FOUND)
    }
}

impl Driver {
    /// Ends a module.
    fn unload(&self, handle: Handle) -> Done {
        self.wait_all();
        let module = self.modules.remove(handle)?;
        self.functions
            .remove_all(|f| Arc::ptr_eq(&f.module, &module));
        for (at, _, managed) in module.variables.values() {
            let kind = if *managed {
                Kind::Managed
            } else {
                Kind::Variable
            };
            self.memory.release(*at, kind)?;
        }
        for other in &module.elsewhere {
            for (at, ..) in other.variables.values().filter(|v| !v.2) {
                self.memory.release(*at, Kind::Variable)?;
            }
        }
        Ok(())
    }

    /// Ends a context's modules; the variables of libraries are on its device what they are at first.
    pub fn end_modules(&self, context: Handle, device: c_int) -> Done {
        let of = |m: &Arc<Module>| m.context == Some(context);
        while let Some(handle) = self.modules.find(of) {
            self.unload(handle)?;
        }
        self.modules.find(|module| {
            if module.context.is_none() {
                module.on(device).begin();
            }
            false
        });
        Ok(())
    }
}

/// How an image is loaded: as a module, or as a library.
type How = fn(&Driver, &str) -> Result<Module, Error>;

/// Loads an image.
///
/// # Safety
/// As `ptx_of`.
unsafe fn load(out: *mut Handle, image: *const c_void, how: How) -> Done {
    // SAFETY: the caller's.
    unsafe {
        get(out)?;
        let driver = ready()?;
        let module = how(driver, &ptx_of(image)?)?;
        put(out, driver.modules.add(Arc::new(module)))
    }
}

/// Loads a file.
///
/// # Safety
/// `path` must be null or a C string; `out` as in `put`.
unsafe fn load_file(out: *mut Handle, path: *const c_char, how: How) -> Done {
    // SAFETY: the caller's; the NUL ends a text, and the length of the others is in them: what is cut short fails.
    unsafe {
        let mut image = std::fs::read(text(path)?).map_err(|_| Error::FILE_NOT_FOUND)?;
        if image.len() >= 16
            && image.starts_with(&fatbin::CONTAINER.to_le_bytes())
            && !fatbin::size(&image).is_ok_and(|n| n <= image.len())
        {
            return Err(Error::INVALID_IMAGE);
        }
        image.extend([0; 16]);
        load(out, image.as_ptr().cast(), how)
    }
}

/// Gives a variable's place.
///
/// # Safety
/// As `put_if`; `name` must be null or a C string.
unsafe fn global(
    at: *mut Pointer,
    size: *mut usize,
    module: Handle,
    name: *const c_char,
    managed: bool,
) -> Done {
    // SAFETY: the caller's.
    unsafe {
        let found = ready()?
            .modules
            .get(module)?
            .here()?
            .variable(text(name)?)?;
        if managed && !found.2 {
            return Err(Error::NOT_FOUND);
        }
        put_if(at, found.0);
        put_if(size, found.1);
        Ok(())
    }
}

/// Gives kernels' handles.
///
/// # Safety
/// There must be room for so many.
unsafe fn kernels(out: *mut Handle, n: c_uint, module: Handle) -> Done {
    let driver = ready()?;
    let found = driver.modules.get(module)?.all_kernels(driver)?;
    for (i, handle) in found.iter().take(n as usize).enumerate() {
        // SAFETY: the caller's.
        unsafe { put(out.wrapping_add(i), *handle)? };
    }
    Ok(())
}

api! {
    /// Loads a module from a file.
    fn cuModuleLoad(out: *mut Handle, path: *const c_char) {
        load_file(out, path, Module::load)
    }

    /// Loads a module.
    fn cuModuleLoadData(out: *mut Handle, image: *const c_void) {
        load(out, image, Module::load)
    }

    /// Loads a module; there is no compiler that the options could be for.
    fn cuModuleLoadDataEx(out: *mut Handle, image: *const c_void, _n: c_uint, _options: *const c_uint, _values: *const u64) {
        load(out, image, Module::load)
    }

    /// Loads a module from a fat binary.
    fn cuModuleLoadFatBinary(out: *mut Handle, image: *const c_void) {
        load(out, image, Module::load)
    }

    /// Ends a module.
    fn cuModuleUnload(module: Handle) {
        ready()?.unload(module)
    }

    /// Are modules loaded at once, or when they are used? At once.
    fn cuModuleGetLoadingMode(mode: *mut c_uint) {
        ready()?;
        put(mode, 1)
    }

    /// A kernel.
    fn cuModuleGetFunction(out: *mut Handle, module: Handle, name: *const c_char) {
        get(out)?;
        let driver = ready()?;
        put(out, driver.modules.get(module)?.kernel(driver, text(name)?)?)
    }

    /// How many kernels there are.
    fn cuModuleGetFunctionCount(n: *mut c_uint, module: Handle) {
        let module = ready()?.modules.get(module)?;
        let count = lock(&module.kernels).len();
        put(n, count as c_uint)
    }

    /// All kernels.
    fn cuModuleEnumerateFunctions(out: *mut Handle, n: c_uint, module: Handle) {
        kernels(out, n, module)
    }

    /// A variable.
    fn cuModuleGetGlobal_v2(at: *mut Pointer, size: *mut usize, module: Handle, name: *const c_char) {
        global(at, size, module, name, false)
    }

    /// Loads a library.
    fn cuLibraryLoadData(out: *mut Handle, image: *const c_void, _options: *const c_uint, _values: *const u64, _n: c_uint, _library: *const c_uint, _library_values: *const u64, _library_n: c_uint) {
        load(out, image, Module::load_library)
    }

    /// Loads a library from a file.
    fn cuLibraryLoadFromFile(out: *mut Handle, path: *const c_char, _options: *const c_uint, _values: *const u64, _n: c_uint, _library: *const c_uint, _library_values: *const u64, _library_n: c_uint) {
        load_file(out, path, Module::load_library)
    }

    /// Ends a library.
    fn cuLibraryUnload(library: Handle) {
        ready()?.unload(library)
    }

    /// A kernel.
    fn cuLibraryGetKernel(out: *mut Handle, library: Handle, name: *const c_char) {
        cu(cuModuleGetFunction(out, library, name))
    }

    /// How many there are.
    fn cuLibraryGetKernelCount(n: *mut c_uint, library: Handle) {
        cu(cuModuleGetFunctionCount(n, library))
    }

    /// All kernels.
    fn cuLibraryEnumerateKernels(out: *mut Handle, n: c_uint, library: Handle) {
        kernels(out, n, library)
    }

    /// The library as a module.
    fn cuLibraryGetModule(out: *mut Handle, library: Handle) {
        ready()?.modules.get(library)?;
        put(out, library)
    }

    /// A variable.
    fn cuLibraryGetGlobal(at: *mut Pointer, size: *mut usize, library: Handle, name: *const c_char) {
        global(at, size, library, name, false)
    }

    /// A managed variable.
    fn cuLibraryGetManaged(at: *mut Pointer, size: *mut usize, library: Handle, name: *const c_char) {
        global(at, size, library, name, true)
    }

    /// A function that host and device have: there is none.
    fn cuLibraryGetUnifiedFunction(_out: *mut *mut c_void, _library: Handle, _name: *const c_char) {
        Err(refused::say("cuLibraryGetUnifiedFunction"))
    }

    /// A kernel as a function: it is one.
    fn cuKernelGetFunction(out: *mut Handle, kernel: Handle) {
        ready()?.functions.get(kernel)?;
        put(out, kernel)
    }

    /// The library of a kernel.
    fn cuKernelGetLibrary(out: *mut Handle, kernel: Handle) {
        cu(cuFuncGetModule(out, kernel))
    }

    /// The module of a function.
    fn cuFuncGetModule(out: *mut Handle, function: Handle) {
        let driver = ready()?;
        let function = driver.functions.get(function)?;
        let found = driver.modules.find(|m| Arc::ptr_eq(m, &function.module));
        put(out, found.ok_or(Error::INVALID_HANDLE)?)
    }

    /// Is it loaded? It always is.
    fn cuFuncIsLoaded(state: *mut c_int, function: Handle) {
        ready()?.functions.get(function)?;
        put(state, 1)
    }

    /// Loads it: it is.
    fn cuFuncLoad(function: Handle) {
        ready()?.functions.get(function).map(|_| ())
    }

    /// Its name.
    fn cuFuncGetName(out: *mut *const c_char, function: Handle) {
        let function = ready()?.functions.get(function)?;
        let name: &CStr = &function.name;
        put(out, name.as_ptr())
    }

    /// Its name.
    fn cuKernelGetName(out: *mut *const c_char, kernel: Handle) {
        cu(cuFuncGetName(out, kernel))
    }
}
