//! Device code that was compiled in parts (`-rdc=true`), and the driver's linker: PTX is linked here, by `cuda_fatbin::link`, so that
//! lower halves and restarts have one text of it, and variables are known by it.

use super::codes::*;
use super::driver::{code, put, refuse, say_once};
use super::{device, module};
use crate::plugin::{self, Call};
use std::ffi::CStr;

/// The fat binaries that the one in a wrapper was linked of, as `link.stub` of nvcc has them: version 2, and a list that ends with 0.
///
/// # Safety
/// It must be a compiler's wrapper, or an image.
pub unsafe fn parts(wrapper: u64) -> Vec<u64> {
    const LINKED: u32 = 2;
    // SAFETY: a wrapper is magic, version, image, and for what was linked the list.
    unsafe {
        let head = wrapper as *const u32;
        if head.read_unaligned() != cuda_fatbin::WRAPPER || head.add(1).read_unaligned() != LINKED {
            return Vec::new();
        }
        let list = (wrapper as *const u64).add(2).read_unaligned() as *const u64;
        if list.is_null() {
            return Vec::new();
        }
        let entries = (0..).map(|i| list.add(i).read_unaligned());
        entries.take_while(|part| *part != 0).collect()
    }
}

/// A fat binary that has, besides its code for GPUs, the linked PTX of its parts; as it is, where they have none.
///
/// # Safety
/// They must be images, which stay.
pub unsafe fn whole(image: u64, parts: &[u64]) -> u64 {
    if parts.is_empty() {
        return image;
    }
    // SAFETY: the caller's.
    let (image_bytes, parts): (_, Vec<&[u8]>) = unsafe {
        let parts = parts.iter().map(|part| module::bytes(*part));
        (module::bytes(image), parts.collect())
    };
    let linked = cuda_fatbin::link::link_all(&parts, device::architecture());
    match linked.and_then(|text| cuda_fatbin::with_ptx(image_bytes, &text)) {
        Ok(bytes) => module::kept(bytes.into()),
        // Code for some GPUs only.
        Err(cuda_fatbin::Error::NoPtx(_)) => image,
        Err(why) => {
            say_once(&format!(
                "the device code of this program can't be linked: {why}"
            ));
            image
        }
    }
}

/// What a program links by itself (`CUlinkState`).
#[derive(Default)]
struct State {
    texts: Vec<String>,
    linked: Vec<u8>,
    log: Logs,
}

/// Where the program wants to read what is said of its device code.
#[derive(Default)]
pub struct Logs {
    information: Log,
    error: Log,
}

/// A log: where, in how many bytes, and where it is told how many of them are used.
#[derive(Default)]
struct Log {
    at: u64,
    room: usize,
    used: u64,
}

impl Logs {
    /// From options (`CUjit_option`) and their values. There is nothing to measure or to optimise.
    ///
    /// # Errors
    /// One says where variables of the program are, which is not supported.
    ///
    /// # Safety
    /// The arrays must have `n` options and values.
    pub unsafe fn of(n: i32, options: u64, values: u64) -> Result<Logs, i32> {
        const WALL_TIME: i32 = 2;
        const GLOBAL_SYMBOLS: std::ops::RangeInclusive<i32> = 17..=19;
        let mut logs = Logs::default();
        for i in 0..usize::try_from(n).unwrap_or(0) {
            // SAFETY: the application's arrays of `n` options and values.
            unsafe {
                let value = (values as *mut u64).add(i);
                match (options as *const i32).add(i).read() {
                    // The place of the value is the result's.
                    WALL_TIME => value.cast::<f32>().write(0.0),
                    3 => logs.information.at = value.read(),
                    4 => logs.information.sized(value),
                    5 => logs.error.at = value.read(),
                    6 => logs.error.sized(value),
                    of if GLOBAL_SYMBOLS.contains(&of) => {
                        return Err(refuse("CU_JIT_GLOBAL_SYMBOL_NAMES"));
                    }
                    _ => {}
                }
            }
        }
        logs.say("");
        Ok(logs)
    }

    /// Writes what is wrong.
    pub fn say(&self, error: &str) {
        self.information.say("");
        self.error.say(error);
    }
}

impl Log {
    /// Its room is this option's value, and the place of what is used of it.
    unsafe fn sized(&mut self, value: *mut u64) {
        // SAFETY: the caller's; the value is an unsigned int, and its place a pointer's.
        (self.room, self.used) = (unsafe { value.cast::<u32>().read() } as usize, value as u64);
    }

    fn say(&self, text: &str) {
        if self.at == 0 || self.room == 0 {
            return;
        }
        let len = text.len().min(self.room - 1);
        // SAFETY: the application's place for so many bytes, and that of their number.
        unsafe {
            (self.at as *mut u8).copy_from_nonoverlapping(text.as_ptr(), len);
            (self.at as *mut u8).add(len).write(0);
            (self.used as *mut u32).write(len as u32);
        }
    }
}

/// Runs something on a state.
unsafe fn on(state: u64, f: impl FnOnce(&mut State) -> Result<(), i32>) -> i32 {
    let _inside = plugin::enter(Call::MustComplete);
    // SAFETY: what `cuLinkCreate` gave, as the application vouches for.
    match unsafe { (state as *mut State).as_mut() } {
        Some(state) => code(f(state)),
        None => INVALID_HANDLE,
    }
}

pub unsafe fn cuLinkCreate_v2(n: i32, options: u64, values: u64, out: u64) -> i32 {
    let _inside = plugin::enter(Call::MustComplete);
    if out == 0 {
        return INVALID_VALUE;
    }
    // SAFETY: the application's options, and a place for a pointer.
    code(unsafe {
        Logs::of(n, options, values).and_then(|log| {
            let state = State {
                log,
                ..State::default()
            };
            put(out, Box::into_raw(Box::new(state)) as u64)
        })
    })
}

fn add(state: &mut State, kind: i32, bytes: &[u8]) -> Result<(), i32> {
    const PTX: i32 = 1;
    const FAT_BINARY: i32 = 2;
    if kind != PTX && kind != FAT_BINARY {
        let why = "only PTX, and fat binaries with PTX, can be linked (cuLinkAddData)";
        say_once(&format!("{why}; it gives an error (docs/cuda.md)"));
        state.log.say(why);
        return Err(NOT_SUPPORTED);
    }
    let text = module::text(bytes, device::architecture()).map_err(|why| {
        state.log.say(&why);
        INVALID_IMAGE
    })?;
    let text = text.split('\0').next().unwrap_or_default();
    state.texts.push(text.to_owned());
    Ok(())
}

pub unsafe fn cuLinkAddData_v2(
    state: u64,
    kind: i32,
    data: u64,
    size: u64,
    _name: u64,
    _n: i32,
    _options: u64,
    _values: u64,
) -> i32 {
    // SAFETY: the application's data, of which there are so many bytes.
    unsafe {
        on(state, |state| {
            if data == 0 || size == 0 {
                return Err(INVALID_VALUE);
            }
            add(
                state,
                kind,
                core::slice::from_raw_parts(data as *const u8, size as usize),
            )
        })
    }
}

pub unsafe fn cuLinkAddFile_v2(
    state: u64,
    kind: i32,
    path: u64,
    _n: i32,
    _options: u64,
    _values: u64,
) -> i32 {
    // SAFETY: a C string.
    unsafe {
        on(state, |state| {
            if path == 0 {
                return Err(INVALID_VALUE);
            }
            let path = CStr::from_ptr(path as *const _)
                .to_string_lossy()
                .into_owned();
            let bytes = std::fs::read(path).map_err(|_| FILE_NOT_FOUND)?;
            add(state, kind, &bytes)
        })
    }
}

pub unsafe fn cuLinkComplete(state: u64, out: u64, size: u64) -> i32 {
    // SAFETY: places for results.
    unsafe {
        on(state, |state| {
            let text = cuda_fatbin::link::link(&state.texts).map_err(|why| {
                state.log.say(&why.to_string());
                INVALID_PTX
            })?;
            state.linked = text.into_bytes();
            state.linked.push(0);
            put(out, state.linked.as_ptr() as u64)?;
            if size != 0 {
                put(size, state.linked.len() as u64)?;
            }
            Ok(())
        })
    }
}

pub unsafe fn cuLinkDestroy(state: u64) -> i32 {
    let _inside = plugin::enter(Call::MustComplete);
    if state == 0 {
        return INVALID_HANDLE;
    }
    // SAFETY: what `cuLinkCreate` gave, which the application does not use any more.
    drop(unsafe { Box::from_raw(state as *mut State) });
    SUCCESS
}
