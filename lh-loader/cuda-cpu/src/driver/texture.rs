//! Texture and surface objects. Kernels get them as plain numbers, which are given from the lowest on: the same calls give the
//! same numbers.

use super::{api, get, lock, put, ready, refused, Driver, Error, Handle};
use crate::exec::{Beyond, Format, Image, Texture};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

/// Objects by number.
pub type Objects = BTreeMap<Handle, Arc<Texture>>;

/// `CUDA_RESOURCE_DESC`: its type, then an array, memory in a line, or rows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Resource {
    kind: c_uint,
    /// An array's handle, or an address.
    what: u64,
    format: c_uint,
    channels: c_uint,
    /// Bytes of the line, or the width.
    size: usize,
    height: usize,
    pitch: usize,
}

/// `CUDA_TEXTURE_DESC`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sampling {
    beyond: [c_uint; 3],
    filter: c_uint,
    flags: c_uint,
    anisotropy: c_uint,
    level_filter: c_uint,
    bias: f32,
    least: f32,
    most: f32,
    border: [f32; 4],
    reserved: [c_int; 12],
}

/// Kinds of resources.
const ARRAY: c_uint = 0;
const MIPMAPPED: c_uint = 1;
const LINE: c_uint = 2;
const ROWS: c_uint = 3;
/// Flags: integers as they are, normalized coordinates, sRGB, seamless cubes.
const AS_THEY_ARE: c_uint = 1;
const NORMALIZED: c_uint = 2;
const REFUSED: c_uint = 0x10 | 0x40;

impl Resource {
    fn memory(&self, width: usize, height: usize, pitch: usize) -> Result<Image, Error> {
        let format = Format::of(self.format).ok_or(Error::INVALID_VALUE)?;
        let image = Image {
            at: self.what,
            size: [width as u32, height as u32, 0],
            pitch: pitch as u64,
            slice: 0,
            format,
            channels: self.channels,
        };
        let bytes = (pitch * height.max(1)).max(self.size * usize::from(height == 0));
        ready()?.memory.check_device(self.what, bytes as u64)?;
        Ok(image)
    }

    fn levels(&self) -> Result<Vec<Image>, Error> {
        let driver = ready()?;
        Ok(match self.kind {
            ARRAY => vec![driver.arrays.get(self.what)?.image()?],
            MIPMAPPED => {
                let levels = driver.mipmapped.get(self.what)?;
                let images = levels.iter().map(|l| driver.arrays.get(*l)?.image());
                images.collect::<Result<_, Error>>()?
            }
            LINE => {
                let format = Format::of(self.format).ok_or(Error::INVALID_VALUE)?;
                let element = format.bytes() as usize * self.channels as usize;
                vec![self.memory(self.size / element.max(1), 0, 0)?]
            }
            ROWS => vec![self.memory(self.size, self.height, self.pitch)?],
            _ => return Err(Error::INVALID_VALUE),
        })
    }
}

fn beyond(number: c_uint) -> Result<Beyond, Error> {
    Ok(match number {
        0 => Beyond::Wrap,
        1 => Beyond::Clamp,
        2 => Beyond::Mirror,
        3 => Beyond::Border,
        _ => return Err(Error::INVALID_VALUE),
    })
}

impl Sampling {
    fn texture(&self, what: &Resource) -> Result<Texture, Error> {
        if self.flags & REFUSED != 0 {
            return Err(refused::say("cuTexObjectCreate for sRGB or seamless cubes"));
        }
        let [a, b, c] = self.beyond;
        Ok(Texture {
            levels: what.levels()?,
            beyond: [beyond(a)?, beyond(b)?, beyond(c)?],
            linear: self.filter == 1,
            linear_levels: self.level_filter == 1,
            normalized: self.flags & NORMALIZED != 0,
            as_they_are: self.flags & AS_THEY_ARE != 0,
            levels_from: [self.bias, self.least, self.most.max(self.least)],
            border: self.border,
        })
    }
}

impl Driver {
    fn add_texture(&self, texture: Texture) -> Handle {
        let mut all = lock(&self.textures);
        let number = (1..).find(|n| !all.contains_key(n)).unwrap_or(0);
        all.insert(number, Arc::new(texture));
        number
    }

    fn end_texture(&self, number: Handle) -> Result<(), Error> {
        self.wait_all();
        let gone = lock(&self.textures).remove(&number);
        gone.map(|_| ()).ok_or(Error::INVALID_VALUE)
    }

    /// A texture or a surface.
    pub fn texture_of(&self, number: Handle) -> Option<Arc<Texture>> {
        lock(&self.textures).get(&number).cloned()
    }
}

api! {
    /// A texture.
    fn cuTexObjectCreate(out: *mut Handle, what: *const Resource, how: *const Sampling, view: *const c_void) {
        get(out)?;
        if !view.is_null() {
            return Err(refused::say("cuTexObjectCreate with a view"));
        }
        let texture = get(how)?.texture(get(what)?)?;
        put(out, ready()?.add_texture(texture))
    }

    /// Its end.
    fn cuTexObjectDestroy(texture: Handle) {
        ready()?.end_texture(texture)
    }

    /// A surface: an array.
    fn cuSurfObjectCreate(out: *mut Handle, what: *const Resource) {
        get(out)?;
        let what = get(what)?;
        if what.kind != ARRAY {
            return Err(Error::INVALID_VALUE);
        }
        let surface = Texture {
            levels: what.levels()?,
            beyond: [Beyond::Clamp; 3],
            linear: false,
            linear_levels: false,
            normalized: false,
            as_they_are: true,
            levels_from: [0.0; 3],
            border: [0.0; 4],
        };
        put(out, ready()?.add_texture(surface))
    }

    /// Its end.
    fn cuSurfObjectDestroy(surface: Handle) {
        ready()?.end_texture(surface)
    }
}
