//! Arrays, and texture and surface objects.

use super::super::arrays;
use super::super::codes::*;
use super::super::driver::{self, check, put};
use super::super::model::{self, Kind};
use super::{with_context, Extent};

/// `cudaChannelFormatDesc`: bits of each channel, and a kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    bits: [i32; 4],
    kind: i32,
}

/// Kinds of channels: signed, unsigned, floating point.
const SIGNED: i32 = 0;
const UNSIGNED: i32 = 1;
const FLOAT: i32 = 2;

/// `CUarray_format` for a kind and bits.
const FORMATS: [(u32, i32, i32); 8] = [
    (0x01, UNSIGNED, 8),
    (0x02, UNSIGNED, 16),
    (0x03, UNSIGNED, 32),
    (0x08, SIGNED, 8),
    (0x09, SIGNED, 16),
    (0x0a, SIGNED, 32),
    (0x10, FLOAT, 16),
    (0x20, FLOAT, 32),
];

impl Channels {
    /// Format and number of channels.
    fn format(&self) -> Result<[u32; 2], i32> {
        let same = |f: &&(u32, i32, i32)| f.1 == self.kind && f.2 == self.bits[0];
        let format = FORMATS.iter().find(same).ok_or(INVALID_VALUE)?.0;
        let n = self.bits.iter().filter(|b| **b != 0).count();
        let even = self.bits[..n].iter().all(|b| *b == self.bits[0]);
        if even && n != 3 {
            Ok([format, n as u32])
        } else {
            Err(INVALID_VALUE)
        }
    }

    fn of(format: u32, n: u32) -> Result<Channels, i32> {
        let same = |f: &&(u32, i32, i32)| f.0 == format;
        let (_, kind, size) = FORMATS.iter().find(same).ok_or(INVALID_VALUE)?;
        let mut bits = [0; 4];
        bits[..(n as usize).min(4)].fill(*size);
        Ok(Channels { bits, kind: *kind })
    }
}

/// `cudaCreateChannelDesc`, which gives a structure.
#[export_name = "splitproc_cudaCreateChannelDesc"]
pub extern "C" fn cudaCreateChannelDesc(x: i32, y: i32, z: i32, w: i32, kind: i32) -> Channels {
    Channels {
        bits: [x, y, z, w],
        kind,
    }
}

/// `CUDA_ARRAY3D_DESCRIPTOR`.
unsafe fn descriptor(channels: u64, extent: Extent, flags: i32) -> Result<[u64; 5], i32> {
    if channels == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the program's description.
    let [format, n] = unsafe { (channels as *const Channels).read() }.format()?;
    let Extent {
        width,
        height,
        depth,
    } = extent;
    let kind = u64::from(format) | u64::from(n) << 32;
    Ok([width, height, depth, kind, flags as u64])
}

pub unsafe fn cudaMalloc3DArray(out: u64, channels: u64, extent: Extent, flags: i32) -> i32 {
    with_context(|| {
        // SAFETY: the program's place and description.
        unsafe {
            let d = descriptor(channels, extent, flags)?;
            check(driver::cuArray3DCreate_v2(out, d.as_ptr() as u64))
        }
    })
}

pub unsafe fn cudaMallocArray(out: u64, channels: u64, width: u64, height: u64, flags: i32) -> i32 {
    let extent = Extent {
        width,
        height,
        depth: 0,
    };
    unsafe { cudaMalloc3DArray(out, channels, extent, flags) }
}

pub unsafe fn cudaMallocMipmappedArray(
    out: u64,
    channels: u64,
    extent: Extent,
    levels: i32,
    flags: i32,
) -> i32 {
    with_context(|| {
        // SAFETY: the program's place and description.
        unsafe {
            let d = descriptor(channels, extent, flags)?;
            let at = d.as_ptr() as u64;
            check(driver::cuMipmappedArrayCreate(out, at, levels))
        }
    })
}

pub unsafe fn cudaArrayGetInfo(channels: u64, extent: u64, flags: u64, array: u64) -> i32 {
    with_context(|| {
        let d = super::with_result(|| arrays::descriptor(array))?;
        // SAFETY: the program's places, each of which may be left out.
        unsafe {
            if channels != 0 {
                put(channels, Channels::of(d.format, d.channels)?)?;
            }
            if extent != 0 {
                put(extent, [d.width, d.height, d.depth])?;
            }
            if flags != 0 {
                put(flags, d.flags)?;
            }
        }
        Ok(())
    })
}

pub unsafe fn cudaGetChannelDesc(out: u64, array: u64) -> i32 {
    unsafe { cudaArrayGetInfo(out, 0, 0, array) }
}

pub unsafe fn cudaArrayGetMemoryRequirements(out: u64, array: u64, device: i32) -> i32 {
    // The structures are the same.
    with_context(|| check(unsafe { driver::cuArrayGetMemoryRequirements(out, array, device) }))
}

pub unsafe fn cudaMipmappedArrayGetMemoryRequirements(out: u64, array: u64, device: i32) -> i32 {
    with_context(|| {
        // SAFETY: the program's place.
        check(unsafe { driver::cuMipmappedArrayGetMemoryRequirements(out, array, device) })
    })
}

/// Resources: linear memory and pitched memory have channels where the driver's have a format.
const LINEAR: u64 = 2;
const PITCHED: u64 = 3;

/// `CUDA_RESOURCE_DESC` for `cudaResourceDesc`.
unsafe fn resource(at: u64) -> Result<[u64; 18], i32> {
    // SAFETY: the program's description: a kind, then a union.
    unsafe {
        let word = |offset: u64| ((at + offset) as *const u64).read();
        let format = || {
            let channels = (at + 16) as *const Channels;
            let [format, n] = channels.read().format()?;
            Ok::<u64, i32>(u64::from(format) | u64::from(n) << 32)
        };
        let mut out = [0; 18];
        out[0] = word(0) & 0xffff_ffff;
        out[1] = word(8);
        match out[0] {
            LINEAR => out[2..4].copy_from_slice(&[format()?, word(40)]),
            PITCHED => out[2..6].copy_from_slice(&[format()?, word(40), word(48), word(56)]),
            _ => {}
        }
        Ok(out)
    }
}

/// `CUDA_TEXTURE_DESC`, in its words of 32 bits, for `cudaTextureDesc`'s.
fn texture(t: [u32; 18]) -> [u32; 26] {
    // Of the program's: 0 address modes, 3 filter, 4 read mode, 5 sRGB, 6 border, 10 normalized, 11 anisotropy, 12 mipmap
    // filter, 13 bias, 14 and 15 clamps, 16 no trilinear optimisation, 17 seamless cube maps.
    let flag = |condition: bool, bit: u32| if condition { bit } else { 0 };
    let flags = flag(t[4] == 0, 1)
        | flag(t[10] != 0, 2)
        | flag(t[5] != 0, 0x10)
        | flag(t[16] != 0, 0x20)
        | flag(t[17] != 0, 0x40);
    let mut out = [0; 26];
    out[..5].copy_from_slice(&[t[0], t[1], t[2], t[3], flags]);
    out[5..10].copy_from_slice(&[t[11], t[12], t[13], t[14], t[15]]);
    out[10..14].copy_from_slice(&t[6..10]);
    out
}

/// What the program gave of each texture or surface object, for its questions.
unsafe fn given(kind: Kind, handle: u64, argument: usize, out: u64, len: usize) -> i32 {
    with_context(|| {
        let mut model = model::lock();
        let entry = model.entry(kind, handle).ok_or(INVALID_VALUE)?;
        let notes = entry.notes.get(argument).ok_or(INVALID_VALUE)?;
        if out == 0 || notes.len() < len {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the program's place for a structure of this length.
        unsafe { core::ptr::copy_nonoverlapping(notes.as_ptr(), out as *mut u8, len) };
        Ok(())
    })
}

/// Lengths of `cudaResourceDesc`, `cudaTextureDesc` and `cudaResourceViewDesc`.
const LENGTHS: [usize; 3] = [72, 72, 48];

unsafe fn note(kind: Kind, out: u64, parts: [u64; 3]) {
    let bytes = |(at, len): (u64, usize)| -> Box<[u8]> {
        if at == 0 {
            return Box::default();
        }
        // SAFETY: the program's descriptions.
        unsafe { core::slice::from_raw_parts(at as *const u8, len) }.into()
    };
    let notes = parts.into_iter().zip(LENGTHS).map(bytes).collect();
    // SAFETY: a handle that was just written.
    let handle = unsafe { (out as *const u64).read() };
    if let Some(entry) = model::lock().entry(kind, handle) {
        entry.notes = notes;
    }
}

pub unsafe fn cudaCreateTextureObject(out: u64, what: u64, how: u64, view: u64) -> i32 {
    with_context(|| {
        if what == 0 || how == 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the program's descriptions.
        unsafe {
            let resource = resource(what)?;
            let texture = texture((how as *const [u32; 18]).read());
            let mut wide = [0_u64; 14];
            if view != 0 {
                wide[..6].copy_from_slice(&(view as *const [u64; 6]).read());
            }
            let view_at = if view == 0 { 0 } else { wide.as_ptr() as u64 };
            check(driver::cuTexObjectCreate(
                out,
                resource.as_ptr() as u64,
                texture.as_ptr() as u64,
                view_at,
            ))?;
            note(Kind::Texture, out, [what, how, view]);
        }
        Ok(())
    })
}

pub unsafe fn cudaCreateSurfaceObject(out: u64, what: u64) -> i32 {
    with_context(|| {
        if what == 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the program's description.
        unsafe {
            let resource = resource(what)?;
            check(driver::cuSurfObjectCreate(out, resource.as_ptr() as u64))?;
            note(Kind::Surface, out, [what, 0, 0]);
        }
        Ok(())
    })
}

pub unsafe fn cudaGetTextureObjectResourceDesc(out: u64, texture: u64) -> i32 {
    unsafe { given(Kind::Texture, texture, 0, out, LENGTHS[0]) }
}

pub unsafe fn cudaGetTextureObjectTextureDesc(out: u64, texture: u64) -> i32 {
    unsafe { given(Kind::Texture, texture, 1, out, LENGTHS[1]) }
}

pub unsafe fn cudaGetTextureObjectResourceViewDesc(out: u64, texture: u64) -> i32 {
    unsafe { given(Kind::Texture, texture, 2, out, LENGTHS[2]) }
}

pub unsafe fn cudaGetSurfaceObjectResourceDesc(out: u64, surface: u64) -> i32 {
    unsafe { given(Kind::Surface, surface, 0, out, LENGTHS[0]) }
}
