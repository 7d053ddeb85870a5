//! Calls as data: how arguments are translated, and calls that are kept to be made again.

use super::codes::*;
use super::lower::{self, PARAMS};
use super::model::{self, Kind};
use super::stream;

/// The kind of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum P {
    /// A number, an address of the device, a place for a result.
    Word,
    /// A handle.
    Handle(Kind),
    /// A place for the handle of an object that the call makes.
    Made(Kind),
    /// A C string that is read.
    Text,
    /// A structure of so many bytes that is read.
    Bytes(usize),
    /// A structure with handles that is read.
    Struct(Layout),
}

/// Structures with handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `CUDA_MEMCPY2D`.
    Copy2,
    /// `CUDA_MEMCPY3D`.
    Copy3,
    /// `CUDA_MEMCPY3D_PEER`.
    Copy3Peer,
    /// `CUDA_RESOURCE_DESC`.
    Resource,
    /// `CUlaunchConfig`.
    Launch,
}

/// Size of a `CUlaunchAttribute`.
const ATTRIBUTE: usize = 72;
/// Attributes of a launch whose value begins with an event.
const EVENT_ATTRIBUTES: [u32; 2] = [7, 12];
/// `CU_MEMORYTYPE_ARRAY`.
const MEMORY_ARRAY: u32 = 3;

impl Layout {
    fn len(self) -> usize {
        match self {
            Layout::Copy2 => 128,
            Layout::Copy3 | Layout::Copy3Peer => 200,
            Layout::Resource => 144,
            Layout::Launch => 56,
        }
    }

    /// Where its handles are, in a structure that is at hand.
    fn handles(self, at: &[u8]) -> Vec<(usize, Kind)> {
        let array = |kind: usize, place: usize| {
            (number(at, kind) == MEMORY_ARRAY).then_some((place, Kind::Array))
        };
        match self {
            Layout::Copy2 => [array(16, 40), array(72, 96)]
                .into_iter()
                .flatten()
                .collect(),
            Layout::Copy3 => [array(32, 56), array(120, 144)]
                .into_iter()
                .flatten()
                .collect(),
            Layout::Copy3Peer => [
                array(32, 56),
                array(120, 144),
                Some((64, Kind::Context)),
                Some((152, Kind::Context)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Layout::Resource => match number(at, 0) {
                0 => vec![(8, Kind::Array)],
                1 => vec![(8, Kind::Mipmapped)],
                _ => Vec::new(),
            },
            Layout::Launch => vec![(32, Kind::Stream)],
        }
    }
}

fn number(at: &[u8], place: usize) -> u32 {
    let word = at[place..].first_chunk::<4>();
    word.map_or(0, |b| u32::from_le_bytes(*b))
}

fn word(at: &[u8], place: usize) -> u64 {
    let word = at[place..].first_chunk::<8>();
    word.map_or(0, |b| u64::from_le_bytes(*b))
}

/// Arguments for the lower half, with what they point to.
#[derive(Default)]
pub struct Lowered {
    /// The arguments.
    pub words: Vec<u64>,
    kept: Vec<Box<[u8]>>,
}

/// The lower half's handle for one of the application's.
///
/// # Errors
/// There is no such object.
pub unsafe fn handle(kind: Kind, given: u64) -> Result<u64, i32> {
    match kind {
        Kind::Stream => unsafe { stream::lower(given) },
        Kind::Texture | Kind::Surface => Ok(given),
        Kind::Context if given == 0 => Ok(0),
        // A kernel may stand for its function.
        Kind::Function => model::lower(Kind::Function, given)
            .or_else(|| model::lower(Kind::Kernel, given))
            .ok_or(INVALID_HANDLE),
        _ => model::lower(kind, given).ok_or(INVALID_HANDLE),
    }
}

impl Lowered {
    /// Translates a call's arguments; objects that it makes are written to `made`.
    ///
    /// # Errors
    /// The code for the application.
    ///
    /// # Safety
    /// The arguments must be what the function takes.
    pub unsafe fn new(index: usize, args: &[u64], made: *mut u64) -> Result<Lowered, i32> {
        let mut all = Lowered::default();
        all.words.reserve(args.len());
        for (p, a) in PARAMS[index].iter().zip(args) {
            // SAFETY: the caller's.
            let word = match *p {
                P::Word | P::Text | P::Bytes(_) => *a,
                P::Handle(kind) => unsafe { handle(kind, *a) }?,
                P::Made(_) if *a == 0 => return Err(INVALID_VALUE),
                P::Made(_) => made as u64,
                P::Struct(_) if *a == 0 => return Err(INVALID_VALUE),
                P::Struct(layout) => unsafe { all.structure(layout, *a) }?,
            };
            all.words.push(word);
        }
        Ok(all)
    }

    /// A copy of the structure, translated.
    ///
    /// # Safety
    /// `at` must be one.
    pub unsafe fn structure(&mut self, layout: Layout, at: u64) -> Result<u64, i32> {
        // SAFETY: the caller's; a structure is as long as this.
        let mut copy: Box<[u8]> =
            unsafe { core::slice::from_raw_parts(at as *const u8, layout.len()) }.into();
        for (place, kind) in layout.handles(&copy) {
            // SAFETY: the caller's.
            let lower = unsafe { handle(kind, word(&copy, place)) }?;
            copy[place..place + 8].copy_from_slice(&lower.to_le_bytes());
        }
        if layout == Layout::Launch {
            let (attributes, n) = (word(&copy, 40), number(&copy, 48) as usize);
            if n != 0 && attributes != 0 {
                // SAFETY: the configuration says how many there are.
                let mut all: Box<[u8]> =
                    unsafe { core::slice::from_raw_parts(attributes as *const u8, n * ATTRIBUTE) }
                        .into();
                for i in (0..n).map(|i| i * ATTRIBUTE) {
                    if EVENT_ATTRIBUTES.contains(&number(&all, i)) {
                        // SAFETY: the caller's.
                        let event = unsafe { handle(Kind::Event, word(&all, i + 8)) }?;
                        all[i + 8..i + 16].copy_from_slice(&event.to_le_bytes());
                    }
                }
                copy[40..48].copy_from_slice(&(all.as_ptr() as u64).to_le_bytes());
                self.kept.push(all);
            }
        }
        let address = copy.as_ptr() as u64;
        self.kept.push(copy);
        Ok(address)
    }
}

/// A call that can be made again: its arguments as the application gave them, with copies of what they point to.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The function.
    pub index: usize,
    /// The arguments; 0 where there is a copy.
    pub words: Vec<u64>,
    copies: Vec<(usize, Box<[u8]>)>,
}

impl Record {
    /// A call whose arguments are words alone.
    pub fn plain(index: usize, words: Vec<u64>) -> Record {
        Record {
            index,
            words,
            copies: Vec::new(),
        }
    }

    /// Keeps a call.
    ///
    /// # Safety
    /// The arguments must be what the function takes.
    pub unsafe fn new(index: usize, args: &[u64]) -> Record {
        let mut record = Record {
            index,
            words: args.to_vec(),
            copies: Vec::new(),
        };
        for (i, (p, a)) in PARAMS[index].iter().zip(args).enumerate() {
            let len = match *p {
                _ if *a == 0 => continue,
                // SAFETY: a C string, with its end.
                P::Text => unsafe { core::ffi::CStr::from_ptr(*a as *const _) }.count_bytes() + 1,
                P::Bytes(n) => n,
                P::Struct(layout) => layout.len(),
                _ => continue,
            };
            record.words[i] = 0;
            // SAFETY: the caller's.
            let bytes = unsafe { core::slice::from_raw_parts(*a as *const u8, len) };
            record.copies.push((i, bytes.into()));
        }
        record
    }

    /// What was copied of an argument.
    pub fn copy(&self, argument: usize) -> Option<&[u8]> {
        let found = self.copies.iter().find(|(i, _)| *i == argument);
        found.map(|(_, bytes)| &bytes[..])
    }

    /// A place for the object that the call makes, if it makes one.
    pub fn made(&self) -> Option<usize> {
        PARAMS[self.index]
            .iter()
            .position(|p| matches!(p, P::Made(_)))
    }

    /// Does it use this object?
    pub fn uses(&self, kind: Kind, given: u64) -> bool {
        let params = PARAMS[self.index].iter().zip(&self.words);
        let mut direct = params.filter(|(p, _)| **p == P::Handle(kind));
        direct.any(|(_, w)| *w == given)
    }

    /// Is this the same call but for the argument of this number?
    pub fn same_but(&self, other: &Record, value: usize) -> bool {
        let but = |r: &Record| {
            let mut words = r.words.clone();
            if value < words.len() {
                words[value] = 0;
            }
            words
        };
        self.index == other.index && but(self) == but(other)
    }

    /// Makes the call again; an object that it makes is written to `made`.
    ///
    /// # Safety
    /// What its arguments still point to must be there.
    pub unsafe fn again(&self, made: Option<&mut u64>) -> i32 {
        let mut args = self.words.clone();
        for (i, bytes) in &self.copies {
            args[*i] = bytes.as_ptr() as u64;
        }
        let place = made.map_or(core::ptr::null_mut(), core::ptr::from_mut);
        if !place.is_null() {
            // Where the table does not say where its object goes it is the first.
            args[self.made().unwrap_or(0)] = place as u64;
        }
        // SAFETY: the caller's.
        unsafe {
            match Lowered::new(self.index, &args, place) {
                Ok(lowered) => lower::must(self.index, &lowered.words),
                Err(code) => code,
            }
        }
    }
}
