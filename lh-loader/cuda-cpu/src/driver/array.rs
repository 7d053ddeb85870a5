//! Arrays: memory for textures, in rows without gaps.

use super::copy::{Copy, Side};
use super::memory::{Kind, ALIGN};
use super::{api, get, put, ready, refused, Error, Handle, Pointer};
use crate::exec::{Format, Image};
use std::ffi::c_uint;
use std::sync::Arc;

/// `CUDA_ARRAY_DESCRIPTOR_v2`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FlatArray {
    width: usize,
    height: usize,
    format: c_uint,
    channels: c_uint,
}

/// `CUDA_ARRAY3D_DESCRIPTOR_v2`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Description {
    width: usize,
    height: usize,
    depth: usize,
    format: c_uint,
    channels: c_uint,
    flags: c_uint,
}

/// An array.
pub struct Array {
    about: Description,
    at: Pointer,
}

/// Flags that need nothing: layers, surfaces, cubes, gathers.
const FLAGS: c_uint = 0x0f;
/// Of these, layers, and six sides.
const LAYERED: c_uint = 1;
const CUBE: c_uint = 4;

impl Description {
    /// Bytes of an element.
    fn element(&self) -> Result<u64, Error> {
        let one = match self.format {
            0x01 | 0x08 => 1,
            0x02 | 0x09 | 0x10 => 2,
            0x03 | 0x0a | 0x20 => 4,
            _ => return Err(Error::INVALID_VALUE),
        };
        match self.channels {
            1 | 2 | 4 => Ok(one * u64::from(self.channels)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    /// Bytes of a row, rows, slices.
    fn size(&self) -> Result<[u64; 3], Error> {
        let row = self.element()? * self.width as u64;
        Ok([row, self.height.max(1) as u64, self.depth.max(1) as u64])
    }
}

impl Array {
    /// Its elements, for textures and surfaces.
    pub fn image(&self) -> Result<Image, Error> {
        let [row, rows, _] = self.about.size()?;
        let Description {
            width,
            height,
            depth,
            ..
        } = self.about;
        if self.about.flags & CUBE != 0 {
            return Err(refused::say("a texture of cubes"));
        }
        Ok(Image {
            at: self.at,
            size: [width, height, depth].map(|n| n as u32),
            pitch: row,
            slice: row * rows,
            format: Format::of(self.about.format).ok_or(Error::INVALID_VALUE)?,
            channels: self.about.channels,
        })
    }

    /// Part of it, from a place on.
    pub fn part(&self, [x, y, z]: [u64; 3], size: [u64; 3]) -> Result<Side, Error> {
        let whole = self.about.size()?;
        let [pitch, rows, _] = whole;
        if [x, y, z]
            .iter()
            .zip(size)
            .zip(whole)
            .any(|((at, n), all)| at + n > all)
        {
            return Err(Error::INVALID_VALUE);
        }
        let start = self.at + (z * rows + y) * pitch + x;
        Ok(Side {
            start,
            pitch,
            slice: pitch * rows,
        })
    }

    fn line(&self, offset: usize, size: usize) -> Result<Side, Error> {
        let [row, rows, slices] = self.about.size()?;
        match (offset as u64).checked_add(size as u64) {
            Some(end) if end <= row * rows * slices => Ok(Side::line(self.at + offset as u64)),
            _ => Err(Error::INVALID_VALUE),
        }
    }
}

/// A copy to an array.
pub fn copy_to(array: Handle, offset: usize, from: Pointer, size: usize) -> Result<Copy, Error> {
    let to = ready()?.arrays.get(array)?.line(offset, size)?;
    Ok(Copy {
        from: Side::line(from),
        to,
        size: [size as u64, 1, 1],
    })
}

/// A copy from an array.
pub fn copy_from(to: Pointer, array: Handle, offset: usize, size: usize) -> Result<Copy, Error> {
    let from = ready()?.arrays.get(array)?.line(offset, size)?;
    Ok(Copy {
        from,
        to: Side::line(to),
        size: [size as u64, 1, 1],
    })
}

fn create(about: Description) -> Result<Handle, Error> {
    let driver = ready()?;
    if about.width == 0 || (about.depth > 0 && about.height == 0 && about.flags & 1 == 0) {
        return Err(Error::INVALID_VALUE);
    }
    if about.flags & !FLAGS != 0 {
        return Err(refused::say("cuArray3DCreate with these flags"));
    }
    let [row, rows, slices] = about.size()?;
    let size = row
        .checked_mul(rows)
        .and_then(|n| n.checked_mul(slices))
        .ok_or(Error::OUT_OF_MEMORY)?;
    let at = driver.memory.allocate(Kind::Device, size, ALIGN)?;
    Ok(driver.arrays.add(Arc::new(Array { about, at })))
}

api! {
    /// An array.
    fn cuArrayCreate_v2(out: *mut Handle, about: *const FlatArray) {
        get(out)?;
        let FlatArray { width, height, format, channels } = *get(about)?;
        put(out, create(Description { width, height, depth: 0, format, channels, flags: 0 })?)
    }

    /// An array of any kind.
    fn cuArray3DCreate_v2(out: *mut Handle, about: *const Description) {
        get(out)?;
        put(out, create(*get(about)?)?)
    }

    /// What it is.
    fn cuArrayGetDescriptor_v2(out: *mut FlatArray, array: Handle) {
        let Description { width, height, format, channels, .. } = ready()?.arrays.get(array)?.about;
        put(out, FlatArray { width, height, format, channels })
    }

    /// What it is.
    fn cuArray3DGetDescriptor_v2(out: *mut Description, array: Handle) {
        put(out, ready()?.arrays.get(array)?.about)
    }

    /// An array with levels, each half as large as the one before.
    fn cuMipmappedArrayCreate(out: *mut Handle, about: *const Description, levels: c_uint) {
        get(out)?;
        let mut about = *get(about)?;
        let mut all = Vec::new();
        let most = about.width.max(about.height).max(about.depth).max(1).ilog2() + 1;
        for _ in 0..levels.clamp(1, most) {
            all.push(create(about)?);
            let half = |n: usize| if n == 0 { 0 } else { (n / 2).max(1) };
            (about.width, about.height) = (half(about.width), half(about.height));
            if about.flags & LAYERED == 0 {
                about.depth = half(about.depth);
            }
        }
        put(out, ready()?.mipmapped.add(all.into()))
    }

    /// A level of it.
    fn cuMipmappedArrayGetLevel(out: *mut Handle, array: Handle, level: c_uint) {
        let levels = ready()?.mipmapped.get(array)?;
        put(out, *levels.get(level as usize).ok_or(Error::INVALID_VALUE)?)
    }

    /// Its end.
    fn cuMipmappedArrayDestroy(array: Handle) {
        let driver = ready()?;
        driver.wait_all();
        for level in driver.mipmapped.remove(array)?.iter() {
            driver.memory.release(driver.arrays.remove(*level)?.at, Kind::Device)?;
        }
        Ok(())
    }

    /// Its end.
    fn cuArrayDestroy(array: Handle) {
        let driver = ready()?;
        let array = driver.arrays.remove(array)?;
        driver.wait_all();
        driver.memory.release(array.at, Kind::Device)
    }
}
