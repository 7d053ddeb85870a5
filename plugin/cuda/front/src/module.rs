//! Modules and libraries. Their images are kept, for they are loaded again at a restart.

use super::codes::*;
use super::driver::{check, inside, put, refuse};
use super::globals::{self, Global};
use super::link::Logs;
use super::lower::{self, ix};
use super::model::{self, Kind};
use super::record::Record;
use super::{context, device};
use cuda_fatbin::variables;
use std::ffi::{CStr, CString};
use std::sync::OnceLock;

/// Magic numbers: the fat binary's, ELF's.
const FATBIN: u32 = cuda_fatbin::CONTAINER;
const ELF: u32 = u32::from_le_bytes(*b"\x7fELF");

/// The image that an address given by the application means.
///
/// # Safety
/// It must be an image, or a wrapper of one.
pub unsafe fn unwrapped(at: u64) -> u64 {
    // SAFETY: the caller's; a wrapper is magic, version, image and a file's name.
    unsafe {
        if (at as *const u32).read_unaligned() == cuda_fatbin::WRAPPER {
            (at as *const u64).add(1).read_unaligned()
        } else {
            at
        }
    }
}

/// The bytes of an image.
///
/// # Safety
/// It must be an image, and stay.
pub unsafe fn bytes(at: u64) -> &'static [u8] {
    // SAFETY: the caller's; the image says itself how long it is.
    unsafe { core::slice::from_raw_parts(at as *const u8, length(at)) }
}

/// How long an image is, with its end.
unsafe fn length(at: u64) -> usize {
    // SAFETY: the caller vouches for the image, which says itself how long it is.
    unsafe {
        match (at as *const u32).read_unaligned() {
            FATBIN => {
                let head = (at as *const u16).add(3).read_unaligned();
                usize::from(head) + (at as *const u64).add(1).read_unaligned() as usize
            }
            ELF => {
                let word = |offset: u64| ((at + offset) as *const u64).read_unaligned();
                let half = |offset: u64| u64::from(((at + offset) as *const u16).read_unaligned());
                let (programs, sections) = (word(32), word(40));
                let end = (programs + half(54) * half(56)).max(sections + half(58) * half(60));
                let section = |i: u64| sections + i * half(58);
                let ends = (0..half(60)).map(|i| {
                    // SHT_NOBITS has nothing in the file.
                    let kind = ((at + section(i) + 4) as *const u32).read_unaligned();
                    let (offset, size) = (word(section(i) + 24), word(section(i) + 32));
                    offset + if kind == 8 { 0 } else { size }
                });
                ends.fold(end, u64::max) as usize
            }
            _ => CStr::from_ptr(at as *const _).count_bytes() + 1,
        }
    }
}

/// Why what modules hold can't be saved: set by the first of which that is so.
static UNSAVED: OnceLock<String> = OnceLock::new();

/// Why checkpoints are refused, if they are.
pub fn unsaved() -> Option<&'static str> {
    UNSAVED.get().map(String::as_str)
}

/// The variables of all ELF files of a fat binary without PTX, and whether their kernels use the device's heap.
fn of_elfs(fat_binary: &[u8]) -> Result<(Vec<String>, bool), String> {
    let files = cuda_fatbin::elf(fat_binary).map_err(|why| why.to_string())?;
    let (mut names, mut heap) = (std::collections::BTreeSet::new(), false);
    for file in &files {
        let of_one = variables::of_elf(file).ok_or("an ELF file in it is damaged")?;
        names.extend(of_one.0);
        heap |= of_one.1;
    }
    if files.is_empty() {
        return Err("there is neither PTX nor an ELF file in it".into());
    }
    Ok((names.into_iter().collect(), heap))
}

/// Names of an image's variables: all of them are saved. From an image that holds what can't be saved on, checkpoints are
/// refused.
///
/// # Safety
/// It must be an image.
pub unsafe fn variables(at: u64) -> Vec<CString> {
    // SAFETY: the caller's.
    let bytes = unsafe { bytes(at) };
    let magic = bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b));
    let of_ptx = |text: &str| (variables::of_ptx(text), variables::heap_in_ptx(text));
    let found = match magic {
        Some(FATBIN) => match cuda_fatbin::ptx(bytes, device::architecture()) {
            Ok(text) => Ok(of_ptx(&text)),
            // Code for some GPUs only, as what was linked on the device (`-rdc=true`) is.
            Err(cuda_fatbin::Error::NoPtx(_)) => of_elfs(bytes),
            Err(why) => Err(why.to_string()),
        },
        Some(ELF) => variables::of_elf(bytes).ok_or_else(|| "its ELF file is damaged".into()),
        _ => Ok(of_ptx(&String::from_utf8_lossy(bytes))),
    };
    let (names, refused) = match found {
        Ok((names, false)) => (names, None),
        Ok((names, true)) => {
            let why = "kernels of this program take memory from the device's heap with malloc, which is not saved: give them memory of cudaMalloc's";
            (names, Some(why.to_owned()))
        }
        Err(why) => {
            let why = format!("the variables of a CUDA module can't be found ({why}): build it with PTX, as -gencode \"code=[sm_90,compute_90]\" does");
            (Vec::new(), Some(why))
        }
    };
    if let Some(why) = refused {
        // The first is enough.
        let _ = UNSAVED.set(why);
    }
    names
        .into_iter()
        .filter_map(|n| CString::new(n).ok())
        .collect()
}

/// Looks all variables of a module or library up in the thread's context.
///
/// # Errors
/// The driver's.
pub fn look_up(owner: (Kind, u64), names: &[CString]) -> Result<(), i32> {
    let functions: &[usize] = match owner.0 {
        Kind::Library => &[ix::cuLibraryGetManaged, ix::cuLibraryGetGlobal],
        _ => &[ix::cuModuleGetGlobal_v2],
    };
    for name in names {
        for function in functions {
            match globals::find(*function, owner, name) {
                Ok(_) => break,
                // What no kernel uses may have been left out.
                Err(NOT_FOUND) => {}
                Err(code) => return Err(code),
            }
        }
    }
    Ok(())
}

/// The image of a live module or library.
pub fn image(record: &Record) -> Option<&'static [u8]> {
    let loaded = [ix::cuModuleLoadData, ix::cuLibraryLoadData].contains(&record.index);
    let at = *record.words.get(1).filter(|_| loaded)?;
    // SAFETY: images stay where they are for as long as what was loaded of them is alive.
    Some(unsafe { bytes(at) })
}

/// The text of an image's PTX for devices of this architecture; the error says why there is none.
///
/// # Errors
/// It is code for one kind of GPU only, or damaged.
pub fn text(image: &[u8], architecture: u32) -> Result<String, String> {
    let magic = image.first_chunk::<4>().map(|b| u32::from_le_bytes(*b));
    match magic {
        Some(FATBIN) => cuda_fatbin::ptx(image, architecture).map_err(|why| why.to_string()),
        Some(ELF) => Err("it is an ELF file, without PTX".into()),
        _ => Ok(String::from_utf8_lossy(image).into_owned()),
    }
}

/// A copy of an image, which stays.
unsafe fn keep(at: u64) -> u64 {
    // SAFETY: the caller's.
    kept(unsafe { bytes(at) }.into())
}

/// The address of an image, which stays from now on.
pub fn kept(image: Box<[u8]>) -> u64 {
    let at = image.as_ptr() as u64;
    model::lock().images.push(image);
    at
}

/// Loads an image that stays where it is.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// It must be an image.
unsafe fn load(index: usize, kind: Kind, context: u64, image: u64, n: usize) -> Result<u64, i32> {
    let mut lower = 0_u64;
    let mut args = vec![0; n];
    args[..2].copy_from_slice(&[&raw mut lower as u64, image]);
    context::ensure()?;
    // SAFETY: the caller's; options are null.
    check(unsafe { lower::must(index, &args) })?;
    args[0] = 0;
    let record = Record::plain(index, args);
    Ok(model::lock().add(kind, lower, context, record))
}

/// A library of an image that stays where it is, as the runtime has it.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// It must be an image.
pub unsafe fn library(image: u64) -> Result<u64, i32> {
    unsafe { load(ix::cuLibraryLoadData, Kind::Library, 0, image, 8) }
}

pub unsafe fn cuModuleLoadData(out: u64, image: u64) -> i32 {
    inside(|| unsafe {
        if out == 0 || image == 0 {
            return Err(INVALID_VALUE);
        }
        let (image, context) = (keep(unwrapped(image)), context::current());
        let module = load(ix::cuModuleLoadData, Kind::Module, context, image, 2)?;
        look_up((Kind::Module, module), &variables(image))?;
        put(out, module)
    })
}

/// Loads with options, of which only those change what a program sees that say where it reads of errors.
unsafe fn told(n: i32, options: u64, values: u64, load: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the application's options.
    let logs = match unsafe { Logs::of(n, options, values) } {
        Ok(logs) => logs,
        Err(code) => return code,
    };
    let code = load();
    if code != SUCCESS {
        logs.say(&format!("the driver refuses this code with error {code}"));
    }
    code
}

pub unsafe fn cuModuleLoadDataEx(out: u64, image: u64, n: i32, options: u64, values: u64) -> i32 {
    unsafe { told(n, options, values, || cuModuleLoadData(out, image)) }
}

pub unsafe fn cuModuleLoadFatBinary(out: u64, image: u64) -> i32 {
    unsafe { cuModuleLoadData(out, image) }
}

pub unsafe fn cuModuleLoad(out: u64, path: u64) -> i32 {
    if path == 0 {
        return INVALID_VALUE;
    }
    // SAFETY: a C string.
    let path = unsafe { CStr::from_ptr(path as *const _) };
    match std::fs::read(path.to_string_lossy().as_ref()) {
        // PTX ends with a NUL.
        Ok(mut bytes) => {
            bytes.push(0);
            unsafe { cuModuleLoadData(out, bytes.as_ptr() as u64) }
        }
        Err(_) => FILE_NOT_FOUND,
    }
}

pub unsafe fn cuLibraryLoadData(
    out: u64,
    image: u64,
    options: u64,
    values: u64,
    n: i32,
    _library_options: u64,
    _library_values: u64,
    _m: i32,
) -> i32 {
    let load = || unsafe {
        if out == 0 || image == 0 {
            return Err(INVALID_VALUE);
        }
        let image = keep(unwrapped(image));
        let library = library(image)?;
        let names = variables(image);
        if context::current() != 0 {
            look_up((Kind::Library, library), &names)?;
        }
        model::lock().fatbins.add(library, names);
        put(out, library)
    };
    unsafe { told(n, options, values, || inside(load)) }
}

/// Looks a variable up, and notes it.
unsafe fn variable(
    index: usize,
    owner: (Kind, u64),
    name: u64,
    out: u64,
    len: u64,
) -> Result<(), i32> {
    if name == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: a C string.
    let name = unsafe { CStr::from_ptr(name as *const _) };
    let global = globals::find(index, owner, name)?;
    // SAFETY: the application's places.
    unsafe {
        if out != 0 {
            put(out, global.at)?;
        }
        if len != 0 {
            put(len, global.len)?;
        }
    }
    Ok(())
}

pub unsafe fn cuModuleGetGlobal_v2(out: u64, len: u64, module: u64, name: u64) -> i32 {
    let owner = (Kind::Module, module);
    inside(|| unsafe { variable(ix::cuModuleGetGlobal_v2, owner, name, out, len) })
}

pub unsafe fn cuLibraryGetGlobal(out: u64, len: u64, library: u64, name: u64) -> i32 {
    let owner = (Kind::Library, library);
    inside(|| unsafe { variable(ix::cuLibraryGetGlobal, owner, name, out, len) })
}

pub unsafe fn cuLibraryGetManaged(out: u64, len: u64, library: u64, name: u64) -> i32 {
    let owner = (Kind::Library, library);
    inside(|| unsafe { variable(ix::cuLibraryGetManaged, owner, name, out, len) })
}

/// What an object was found in, or the name that it was found by.
unsafe fn origin(kind: Kind, handle: u64, argument: usize, out: u64) -> i32 {
    inside(|| {
        let mut model = model::lock();
        let record = match model.entry(kind, handle) {
            Some(entry) => &entry.record,
            None => {
                &model
                    .entry(Kind::Kernel, handle)
                    .ok_or(INVALID_HANDLE)?
                    .record
            }
        };
        // The copy stays as long as the object.
        let word = match record.copy(argument) {
            Some(name) => name.as_ptr() as u64,
            None => *record.words.get(argument).ok_or(INVALID_HANDLE)?,
        };
        // SAFETY: a place for a pointer.
        unsafe { put(out, word) }
    })
}

pub unsafe fn cuFuncGetModule(out: u64, function: u64) -> i32 {
    unsafe { origin(Kind::Function, function, 1, out) }
}

pub unsafe fn cuKernelGetLibrary(out: u64, kernel: u64) -> i32 {
    unsafe { origin(Kind::Kernel, kernel, 1, out) }
}

pub unsafe fn cuFuncGetName(out: u64, function: u64) -> i32 {
    unsafe { origin(Kind::Function, function, 2, out) }
}

pub unsafe fn cuKernelGetName(out: u64, kernel: u64) -> i32 {
    unsafe { origin(Kind::Kernel, kernel, 2, out) }
}

pub unsafe fn cuLibraryEnumerateKernels(_: u64, _: i32, _: u64) -> i32 {
    refuse("cuLibraryEnumerateKernels")
}

pub unsafe fn cuModuleEnumerateFunctions(_: u64, _: i32, _: u64) -> i32 {
    refuse("cuModuleEnumerateFunctions")
}

/// A variable's place now.
///
/// # Errors
/// The driver's.
pub fn place(global: &Global) -> Result<(u64, u64), i32> {
    let kind = if global.library {
        Kind::Library
    } else {
        Kind::Module
    };
    let owner = model::lower(kind, global.owner).ok_or(INVALID_HANDLE)?;
    let (mut at, mut len) = (0_u64, 0_u64);
    let name = global.name.as_ptr() as u64;
    context::ensure()?;
    // SAFETY: places for results, a lower handle and a C string.
    let args = [&raw mut at as u64, &raw mut len as u64, owner, name];
    check(unsafe { lower::must(global.function, &args) })?;
    Ok((at, len))
}
