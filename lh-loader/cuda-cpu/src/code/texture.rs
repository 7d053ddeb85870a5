//! Instructions that read textures, and read and write surfaces, into steps.

use super::build::{Builder, Built};
use super::*;
use crate::ptx::{Operand, Type};

/// What a texture or surface is addressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many coordinates there are.
    pub axes: usize,
    /// A layer comes first.
    pub layered: bool,
}

/// A read of a texture.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The texture's object.
    pub texture: Slot,
    /// How it is addressed.
    pub geometry: Geometry,
    /// Coordinates are whole numbers.
    pub whole: bool,
    /// The layer, then the coordinates.
    pub at: Vec<Slot>,
    /// The level of detail.
    pub level: Option<Slot>,
    /// The channels.
    pub d: Vec<Option<Slot>>,
}

/// What becomes of an access outside a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// The kernel is stopped.
    Trap,
    /// The nearest element is meant.
    Clamp,
    /// It is read as zero, and not written.
    Zero,
}

/// An access to a surface: of values of so many bytes, at a place counted in bytes along the row.
#[derive(Clone, Debug)]
pub struct Access {
    /// The surface's object.
    pub surface: Slot,
    /// How it is addressed.
    pub geometry: Geometry,
    /// The layer, then the coordinates.
    pub at: Vec<Slot>,
    /// Bytes of a value.
    pub bytes: u8,
    /// What is outside.
    pub outside: Outside,
}

fn geometry(name: &[&str]) -> Built<Geometry> {
    let found = name.iter().find_map(|part| {
        let (axes, layered) = match *part {
            "1d" => (1, false),
            "2d" => (2, false),
            "3d" => (3, false),
            "a1d" => (1, true),
            "a2d" => (2, true),
            _ => return None,
        };
        Some(Geometry { axes, layered })
    });
    found.ok_or_else(|| "textures of this geometry are not there".into())
}

impl<'a> Builder<'_, 'a> {
    /// Makes such an instruction; false: it is none.
    pub(super) fn texture(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<bool> {
        match (name[0], operands) {
            ("tex", [d, at, more @ ..]) => self.sample(name, d, at, more)?,
            ("suld", [d, at]) => {
                let access = self.access(name, at)?;
                let d = self.parts(d)?;
                self.step(Op::SurfaceLoad(Box::new(access), d));
            }
            ("sust", [at, values]) => {
                let access = self.access(name, at)?;
                let values = list(values);
                let values = values.iter().map(|v| self.source(v, Type::B(64)));
                let values = values.collect::<Built<_>>()?;
                self.step(Op::SurfaceStore(Box::new(access), values));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn parts(&mut self, d: &Operand<'a>) -> Built<Vec<Option<Slot>>> {
        let parts = list(d).iter().map(|d| Ok(self.target(d)?.map(|t| t.0)));
        parts.collect()
    }

    /// The object and the coordinates.
    fn place_in(&mut self, at: &Operand<'a>, geometry: Geometry) -> Built<(Slot, Vec<Slot>)> {
        let Operand::List(both) = at else {
            return Err("an object and coordinates are expected".into());
        };
        let (object, coordinates) = match &both[..] {
            [Operand::Address(name, 0), coordinates] => (*name, coordinates),
            _ => return Err("an object and coordinates are expected".into()),
        };
        let object = self.source(&Operand::Name(object, ""), Type::B(64))?;
        let wanted = geometry.axes + usize::from(geometry.layered);
        let all = list(coordinates).iter().take(wanted);
        let all: Vec<Slot> = all
            .map(|c| self.source(c, Type::B(32)))
            .collect::<Built<_>>()?;
        if all.len() < wanted {
            return Err("coordinates are missing".into());
        }
        Ok((object, all))
    }

    fn sample(
        &mut self,
        name: &[&str],
        d: &Operand<'a>,
        at: &Operand<'a>,
        more: &[Operand<'a>],
    ) -> Built<()> {
        let geometry = geometry(name)?;
        let level = match (name.contains(&"level"), more) {
            (true, [level]) => Some(self.source(level, Type::F(32))?),
            (false, []) => None,
            _ => return Err("gradients and offsets are not there".into()),
        };
        if !name.contains(&"v4") {
            return Err("this form is not there".into());
        }
        let (texture, at) = self.place_in(at, geometry)?;
        let d = self.parts(d)?;
        self.step(Op::Texture(Box::new(Sample {
            texture,
            geometry,
            whole: name.last() == Some(&"s32"),
            at,
            level,
            d,
        })));
        Ok(())
    }

    fn access(&mut self, name: &[&str], at: &Operand<'a>) -> Built<Access> {
        if name.get(1) != Some(&"b") {
            return Err("formatted stores are not there".into());
        }
        let geometry = geometry(name)?;
        let bytes = name.iter().find_map(|part| match Type::named(part) {
            Some(Type::B(bits)) => Some(bits / 8),
            _ => None,
        });
        let outside = match name.last() {
            Some(&"clamp") => Outside::Clamp,
            Some(&"zero") => Outside::Zero,
            _ => Outside::Trap,
        };
        let (surface, at) = self.place_in(at, geometry)?;
        Ok(Access {
            surface,
            geometry,
            at,
            bytes: bytes.ok_or("its type is not known")?,
            outside,
        })
    }
}

/// A vector's elements, or the one value that there is.
fn list<'b, 'a>(operand: &'b Operand<'a>) -> &'b [Operand<'a>] {
    match operand {
        Operand::Vector(all) => all,
        one => std::slice::from_ref(one),
    }
}
