//! Steps that read textures, and read and write surfaces.

use super::block::Around;
use super::texture::{place, Texture};
use super::warp::{lanes_of, Frame};
use super::Cause;
use crate::code::{Access, Code, Op, Sample, Slot};
use std::sync::Arc;

/// The objects that lanes name: mostly it is one.
#[derive(Default)]
struct Found(Option<(u64, Arc<Texture>)>);

impl Found {
    fn get(&mut self, number: u64, around: &Around) -> Result<Arc<Texture>, Cause> {
        match &self.0 {
            Some((known, texture)) if *known == number => Ok(texture.clone()),
            _ => {
                let texture = around.device.texture(number);
                let texture = texture.ok_or(Cause::Address(number))?;
                self.0 = Some((number, texture.clone()));
                Ok(texture)
            }
        }
    }
}

impl Frame {
    /// Does such a step.
    pub fn picture(
        &mut self,
        op: &Op,
        code: &Code,
        doing: u32,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let mut found = Found::default();
        for lane in lanes_of(doing) {
            match op {
                Op::Texture(s) => {
                    let texture = found.get(self.get(code, s.texture).0[lane], around)?;
                    self.sample(s, &texture, code, lane, around)?;
                }
                Op::SurfaceLoad(a, d) => {
                    let surface = found.get(self.get(code, a.surface).0[lane], around)?;
                    self.load_surface((a, &surface), d, code, lane, around)?;
                }
                Op::SurfaceStore(a, values) => {
                    let surface = found.get(self.get(code, a.surface).0[lane], around)?;
                    self.store_surface((a, &surface), values, code, lane, around)?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn numbers(&self, all: &[Slot], code: &Code, lane: usize) -> Vec<u32> {
        let each = all.iter().map(|s| self.get(code, *s).0[lane] as u32);
        each.collect()
    }

    fn set_lane(&mut self, d: Option<Slot>, lane: usize, value: u64) {
        if let Some(d) = d {
            self.registers[d as usize].0[lane] = value;
        }
    }

    fn sample(
        &mut self,
        s: &Sample,
        texture: &Texture,
        code: &Code,
        lane: usize,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let at = self.numbers(&s.at, code, lane);
        let level = s.level.map_or(0, |l| self.get(code, l).0[lane] as u32);
        let level = f32::from_bits(level);
        let values = texture.read(s.geometry, s.whole, &at, level, &mut around.memory)?;
        for (d, value) in s.d.iter().zip(values) {
            self.set_lane(*d, lane, value.into());
        }
        Ok(())
    }

    fn load_surface(
        &mut self,
        (a, surface): (&Access, &Texture),
        d: &[Option<Slot>],
        code: &Code,
        lane: usize,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let (bytes, at) = (u64::from(a.bytes), self.numbers(&a.at, code, lane));
        let all = bytes * d.len() as u64;
        let from = place(&surface.levels[0], a.geometry, &at, all, a.outside)?;
        for (i, d) in d.iter().enumerate() {
            let value = match from {
                Some(from) => around.memory.load(from + i as u64 * bytes, bytes, false)?,
                None => 0,
            };
            self.set_lane(*d, lane, value);
        }
        Ok(())
    }

    fn store_surface(
        &self,
        (a, surface): (&Access, &Texture),
        values: &[Slot],
        code: &Code,
        lane: usize,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let (bytes, at) = (u64::from(a.bytes), self.numbers(&a.at, code, lane));
        let all = bytes * values.len() as u64;
        if let Some(to) = place(&surface.levels[0], a.geometry, &at, all, a.outside)? {
            for (i, value) in values.iter().enumerate() {
                let value = self.get(code, *value).0[lane];
                let to = to + i as u64 * bytes;
                around.memory.store(to, bytes, false, value)?;
            }
        }
        Ok(())
    }
}
