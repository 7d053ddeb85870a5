//! Arrays' contents, for the cut and the replay.

use super::codes::*;
use super::driver::check;
use super::lower::{self, ix};
use super::model::{self, Kind};
use super::{context, record::P};

/// `CUDA_ARRAY3D_DESCRIPTOR`.
#[repr(C)]
#[derive(Default)]
#[allow(missing_docs)]
pub struct Descriptor {
    pub width: u64,
    pub height: u64,
    pub depth: u64,
    pub format: u32,
    pub channels: u32,
    pub flags: u32,
    pad: u32,
}

/// `CUDA_MEMCPY3D`, the words that are used of it: by their place.
#[repr(C)]
struct Copy3([u64; 25]);

const SOURCE: usize = 4;
const TARGET: usize = 15;
const HOST: u64 = 1;
const ARRAY: u64 = 3;

/// An array with contents: its handle and context.
pub type Found = (u64, u64);

/// All arrays, those of mipmapped ones by level.
pub fn all() -> Vec<Found> {
    let model = model::lock();
    let arrays = model.live.values().filter(|e| e.kind == Kind::Array);
    arrays
        .filter(|e| e.record.index != ix::cuArrayGetPlane)
        .map(|e| (e.handle, e.context))
        .collect()
}

fn element(format: u32) -> u64 {
    match format {
        0x01 | 0x08 => 1,
        0x02 | 0x09 | 0x10 => 2,
        _ => 4,
    }
}

fn describe(array: u64) -> Result<(Descriptor, u64), i32> {
    let lower = model::lower(Kind::Array, array).ok_or(INVALID_HANDLE)?;
    let mut d = Descriptor::default();
    // SAFETY: a place for a description, and a lower handle.
    let args = [&raw mut d as u64, lower];
    check(unsafe { lower::must(ix::cuArray3DGetDescriptor_v2, &args) })?;
    Ok((d, lower))
}

/// What an array is.
///
/// # Errors
/// The driver's.
pub fn descriptor(array: u64) -> Result<Descriptor, i32> {
    describe(array).map(|(d, _)| d)
}

/// Bytes of an array's element.
///
/// # Errors
/// The driver's.
pub fn element_size(array: u64) -> Result<u64, i32> {
    let (d, _) = describe(array)?;
    Ok(element(d.format) * u64::from(d.channels.max(1)))
}

/// Bytes of an array's row.
///
/// # Errors
/// The driver's.
pub fn row_length(array: u64) -> Result<u64, i32> {
    describe(array).map(|(d, _)| row(&d))
}

/// How many bytes an array holds.
///
/// # Errors
/// The driver's.
pub fn size(array: u64) -> Result<u64, i32> {
    let (d, _) = describe(array)?;
    Ok(row(&d) * d.height.max(1) * d.depth.max(1))
}

fn row(d: &Descriptor) -> u64 {
    d.width * element(d.format) * u64::from(d.channels.max(1))
}

/// Copies an array's contents to memory of the host, or back.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// As many bytes as [`size`] says must be there; on the helper thread.
pub unsafe fn copy(array: Found, host: u64, into_array: bool) -> Result<(), i32> {
    context::with(array.1, || {
        context::ensure()?;
        let (d, lower) = describe(array.0)?;
        let mut c = Copy3([0; 25]);
        let (host_side, array_side) = if into_array {
            (SOURCE, TARGET)
        } else {
            (TARGET, SOURCE)
        };
        // Each side: memory type, host address, device address, array, context, pitch, height.
        c.0[host_side] = HOST;
        c.0[host_side + 1] = host;
        c.0[host_side + 5] = row(&d);
        c.0[host_side + 6] = d.height.max(1);
        c.0[array_side] = ARRAY;
        c.0[array_side + 3] = lower;
        c.0[22..].copy_from_slice(&[row(&d), d.height.max(1), d.depth.max(1)]);
        // SAFETY: the structure as cuda.h has it; the caller vouches for the memory.
        check(unsafe { lower::must(ix::cuMemcpy3D_v2, &[&raw const c as u64]) })
    })
}

/// Is this a mipmapped array whose levels nobody has looked up? They are looked up for the cut.
pub fn levels() -> Vec<(u64, u64, u64)> {
    let model = model::lock();
    let mipmapped = model.live.values().filter(|e| e.kind == Kind::Mipmapped);
    let levels = |e: &model::Entry| {
        let mut made = lower::PARAMS[e.record.index].iter();
        let at = made.rposition(|p| *p == P::Word);
        at.map_or(0, |i| e.record.words[i])
    };
    mipmapped
        .map(|e| (e.handle, e.context, levels(e)))
        .collect()
}
