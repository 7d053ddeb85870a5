//! Textures and surfaces: elements of rows, read by coordinates that need not be whole, or inside.

use super::data::Memory;
use super::Cause;
use crate::code::{Geometry, Outside};
use half::f16;

/// Rows of elements in memory: an array, a level of one, or memory that somebody calls that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The first element.
    pub at: u64,
    /// Elements of a row, rows, slices (or layers).
    pub size: [u32; 3],
    /// Bytes from row to row, and from slice to slice.
    pub pitch: u64,
    /// See `pitch`.
    pub slice: u64,
    /// What an element's channels are.
    pub format: Format,
    /// How many there are.
    pub channels: u32,
}

/// `CUarray_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Unsigned, of so many bytes.
    Unsigned(u8),
    /// Signed.
    Signed(u8),
    /// A float of 16 bits.
    Half,
    /// A float of 32 bits.
    Float,
}

/// `CUaddress_mode`: what a coordinate outside means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beyond {
    /// It begins anew.
    Wrap,
    /// The nearest element.
    #[default]
    Clamp,
    /// It goes back.
    Mirror,
    /// The colour of the border.
    Border,
}

/// A texture.
#[derive(Clone, Debug)]
pub struct Texture {
    /// Its levels; the first is the largest.
    pub levels: Vec<Image>,
    /// What is outside, by axis.
    pub beyond: [Beyond; 3],
    /// Elements are mixed with their neighbours.
    pub linear: bool,
    /// Levels are.
    pub linear_levels: bool,
    /// Coordinates go from 0 to 1.
    pub normalized: bool,
    /// Integers are read as they are, not as fractions.
    pub as_they_are: bool,
    /// What is added to the level of detail, its least and its most.
    pub levels_from: [f32; 3],
    /// The colour of the border.
    pub border: [f32; 4],
}

impl Format {
    /// From its number.
    pub fn of(number: u32) -> Option<Format> {
        Some(match number {
            0x01 => Format::Unsigned(1),
            0x02 => Format::Unsigned(2),
            0x03 => Format::Unsigned(4),
            0x08 => Format::Signed(1),
            0x09 => Format::Signed(2),
            0x0a => Format::Signed(4),
            0x10 => Format::Half,
            0x20 => Format::Float,
            _ => return None,
        })
    }

    /// Bytes of a channel.
    pub fn bytes(self) -> u64 {
        match self {
            Format::Unsigned(n) | Format::Signed(n) => n.into(),
            Format::Half => 2,
            Format::Float => 4,
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Format::Unsigned(_) | Format::Signed(_))
    }

    /// A channel as 32 bits: a whole number, or a float.
    fn value(self, raw: u64, as_it_is: bool) -> u32 {
        let float = |f: f32| f.to_bits();
        match self {
            Format::Float => raw as u32,
            Format::Half => float(f16::from_bits(raw as u16).to_f32()),
            Format::Unsigned(_) if as_it_is => raw as u32,
            Format::Signed(n) if as_it_is => signed(raw, n) as u32,
            // Of 32 bits there are no fractions.
            Format::Unsigned(4) | Format::Signed(4) => raw as u32,
            Format::Unsigned(n) => float((raw as f64 / f64::from((1u32 << (8 * n)) - 1)) as f32),
            Format::Signed(n) => {
                let most = f64::from((1u32 << (8 * n - 1)) - 1);
                float((f64::from(signed(raw, n)) / most).max(-1.0) as f32)
            }
        }
    }
}

fn signed(raw: u64, bytes: u8) -> i32 {
    let unused = 32 - 8 * u32::from(bytes);
    (raw as u32 as i32) << unused >> unused
}

impl Image {
    /// Bytes of an element.
    pub fn element(&self) -> u64 {
        self.format.bytes() * u64::from(self.channels)
    }

    fn place(&self, [x, y, z]: [u32; 3]) -> u64 {
        self.at
            + u64::from(z) * self.slice
            + u64::from(y) * self.pitch
            + u64::from(x) * self.element()
    }

    fn texel(&self, at: [u32; 3], as_it_is: bool, memory: &mut Memory) -> Result<[u32; 4], Cause> {
        let mut values = [0; 4];
        let bytes = self.format.bytes();
        for (i, value) in values.iter_mut().enumerate().take(self.channels as usize) {
            let raw = memory.load(self.place(at) + i as u64 * bytes, bytes, false)?;
            *value = self.format.value(raw, as_it_is);
        }
        Ok(values)
    }
}

impl Beyond {
    /// The element that a place along an axis means; `None`: the border's.
    fn element(self, i: i64, size: u32) -> Option<u32> {
        let n = i64::from(size.max(1));
        Some(match self {
            Beyond::Wrap => i.rem_euclid(n),
            Beyond::Clamp => i.clamp(0, n - 1),
            Beyond::Mirror => {
                let there = i.rem_euclid(2 * n);
                there.min(2 * n - 1 - there)
            }
            Beyond::Border => Some(i).filter(|i| (0..n).contains(i))?,
        } as u32)
    }
}

/// A fraction as the device has it: 8 bits.
fn fraction(x: f32) -> f32 {
    (x * 256.0).round() / 256.0
}

impl Texture {
    /// Whole numbers can't be mixed, nor can they be fractions.
    fn raw(&self) -> bool {
        self.as_they_are && self.levels[0].format.is_whole()
    }

    /// Reads elements around a place. `at`: coordinates, as floats or whole numbers.
    pub(crate) fn read(
        &self,
        geometry: Geometry,
        whole: bool,
        at: &[u32],
        level: f32,
        memory: &mut Memory,
    ) -> Result<[u32; 4], Cause> {
        let (layer, at) = match geometry.layered {
            true => (at[0], &at[1..]),
            false => (0, at),
        };
        if whole {
            return self.fetch(layer, at, geometry, memory);
        }
        let last = (self.levels.len() - 1) as f32;
        let [bias, least, most] = self.levels_from;
        let level = (level + bias).clamp(least.min(most), most).clamp(0.0, last);
        if !self.linear_levels || level == level.floor() {
            let nearest = &self.levels[level.round() as usize];
            return self.sample(nearest, geometry, layer, at, memory);
        }
        let lower = &self.levels[level as usize];
        let a = self.sample(lower, geometry, layer, at, memory)?;
        let b = self.sample(
            &self.levels[level as usize + 1],
            geometry,
            layer,
            at,
            memory,
        )?;
        Ok(mixed(&[(a, 1.0 - level.fract()), (b, level.fract())]))
    }

    /// An element by number; there is none outside.
    fn fetch(
        &self,
        layer: u32,
        at: &[u32],
        geometry: Geometry,
        memory: &mut Memory,
    ) -> Result<[u32; 4], Cause> {
        let image = &self.levels[0];
        let mut place = [0, 0, layer];
        place[..at.len()].copy_from_slice(at);
        if geometry.layered {
            place[2] = layer.min(image.size[2].max(1) - 1);
        }
        let inside = place.iter().zip(image.size).all(|(i, n)| *i < n.max(1));
        match inside {
            true => image.texel(place, self.as_they_are, memory),
            false => Ok([0; 4]),
        }
    }

    fn sample(
        &self,
        image: &Image,
        geometry: Geometry,
        layer: u32,
        at: &[u32],
        memory: &mut Memory,
    ) -> Result<[u32; 4], Cause> {
        let axes = geometry.axes;
        // The two elements along each axis, and how much of the second.
        let mut around = [([0_i64; 2], 0.0_f32); 3];
        for axis in 0..axes {
            let given = f32::from_bits(at[axis]);
            let size = image.size[axis].max(1) as f32;
            let x = if self.normalized { given * size } else { given };
            around[axis] = match self.linear && !self.raw() {
                true => {
                    let x = x - 0.5;
                    let first = x.floor();
                    let first_place = first as i64;
                    ([first_place, first_place + 1], fraction(x - first))
                }
                false => ([x.floor() as i64; 2], 0.0),
            };
        }
        let mut parts = Vec::with_capacity(8);
        for corner in 0..1_usize << axes {
            let mut weight = 1.0;
            let mut place = [Some(0), Some(0), Some(0)];
            for axis in 0..axes {
                let second = corner >> axis & 1;
                let (places, part) = around[axis];
                weight *= if second == 1 { part } else { 1.0 - part };
                place[axis] = self.beyond(axis).element(places[second], image.size[axis]);
            }
            if weight == 0.0 {
                continue;
            }
            if geometry.layered {
                place[2] = Some(layer.min(image.size[2].max(1) - 1));
            }
            let value = match place {
                [Some(x), Some(y), Some(z)] => image.texel([x, y, z], self.as_they_are, memory)?,
                _ => self.border.map(f32::to_bits),
            };
            if weight == 1.0 {
                return Ok(value);
            }
            parts.push((value, weight));
        }
        Ok(mixed(&parts))
    }

    /// Without fractions of the whole nothing can begin anew.
    fn beyond(&self, axis: usize) -> Beyond {
        match self.beyond[axis] {
            Beyond::Wrap | Beyond::Mirror if !self.normalized => Beyond::Clamp,
            other => other,
        }
    }
}

/// Floats mixed by their weights.
fn mixed(parts: &[([u32; 4], f32)]) -> [u32; 4] {
    let mut sum = [0_f32; 4];
    for (values, weight) in parts {
        for (s, v) in sum.iter_mut().zip(values) {
            *s += f32::from_bits(*v) * weight;
        }
    }
    sum.map(f32::to_bits)
}

/// Where so many bytes of a surface are; `None`: outside, and it does not matter.
pub fn place(
    image: &Image,
    geometry: Geometry,
    at: &[u32],
    bytes: u64,
    outside: Outside,
) -> Result<Option<u64>, Cause> {
    let (layer, at) = match geometry.layered {
        true => (at[0], &at[1..]),
        false => (0, at),
    };
    let mut place = [0, 0, layer];
    place[..at.len()].copy_from_slice(at);
    // The first coordinate is in bytes.
    let row = u64::from(image.size[0]) * image.element();
    let limits = [
        row.saturating_sub(bytes) as u32,
        image.size[1].max(1) - 1,
        image.size[2].max(1) - 1,
    ];
    if place.iter().zip(limits).any(|(p, most)| *p > most) {
        match outside {
            Outside::Zero => return Ok(None),
            Outside::Trap => return Err(Cause::Address(image.at)),
            Outside::Clamp => {
                for (p, most) in place.iter_mut().zip(limits) {
                    *p = (*p as i32).clamp(0, most as i32) as u32;
                }
            }
        }
    }
    let [x, y, z] = place.map(u64::from);
    Ok(Some(image.at + z * image.slice + y * image.pitch + x))
}
