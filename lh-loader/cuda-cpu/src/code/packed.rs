//! `cvt` of two values at once, which lie in one register: `f16x2`, `bf16x2`, and bytes that are floats (`e4m3x2`, `e5m2x2`).

use super::build::{Builder, Built};
use super::lanes::Lanes;
use super::small::{How, Small};
use super::Op;
use crate::ptx::{Operand, Type};

/// Such a conversion.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    to: Small,
    /// `None`: of two `f32`.
    from: Option<Small>,
    how: How,
}

impl Packed {
    /// The conversion that an instruction's parts (`cvt` left out) name.
    fn named(parts: &[&str]) -> Option<Packed> {
        let [modifiers @ .., to, from] = parts else {
            return None;
        };
        let mut how = How::default();
        for part in modifiers {
            match *part {
                "rn" => {}
                "rz" => how.to_zero = true,
                "relu" => how.relu = true,
                "satfinite" => how.finite = true,
                _ => return None,
            }
        }
        let from = match *from {
            "f32" => None,
            other => Some(Small::named(other)?),
        };
        Some(Packed {
            to: Small::named(to)?,
            from,
            how,
        })
    }

    /// All lanes: of two `f32` the first becomes the upper half.
    pub fn run(&self, d: &mut Lanes, a: &Lanes, b: &Lanes) {
        for (d, (a, b)) in d.0.iter_mut().zip(a.0.iter().zip(b.0)) {
            let [high, low] = match self.from {
                None => [*a, b].map(|bits| f32::from_bits(bits as u32).into()),
                Some(from) => {
                    [a >> from.bits, *a].map(|bits| from.value(bits & ((1 << from.bits) - 1)))
                }
            };
            *d = self.to.of(high, self.how) << self.to.bits | self.to.of(low, self.how);
        }
    }
}

impl<'a> Builder<'_, 'a> {
    /// Makes such a conversion; false: it is none.
    pub(super) fn convert_packed(
        &mut self,
        name: &[&str],
        operands: &[Operand<'a>],
    ) -> Built<bool> {
        let Some(packed) = Packed::named(name) else {
            return Ok(false);
        };
        let (d, a, b) = match (operands, packed.from) {
            ([d, a, b], None) => (
                d,
                self.source(a, Type::F(32))?,
                self.source(b, Type::F(32))?,
            ),
            ([d, a], Some(_)) => (d, self.source(a, Type::B(32))?, self.constant(0)),
            _ => return Err("operands are missing".into()),
        };
        let d = self.register(d)?;
        self.step(Op::ConvertPacked(packed, d, [a, b]));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cvt(name: &str, a: u64, b: u64) -> u64 {
        let parts: Vec<_> = name.split('.').collect();
        let mut d = Lanes::all(0);
        Packed::named(&parts)
            .unwrap()
            .run(&mut d, &Lanes::all(a), &Lanes::all(b));
        d.0[31]
    }

    fn f(x: f32) -> u64 {
        x.to_bits().into()
    }

    /// NVIDIA's tables of the two formats of bytes.
    #[test]
    fn bytes_are_floats() {
        for (name, bytes) in [
            (
                "rn.satfinite.e4m3x2.f32",
                [
                    (1.0, 0x38),
                    (448.0, 0x7e),
                    (1e9, 0x7e),
                    (f32::INFINITY, 0x7e),
                    (0.001953125, 0x01),
                    (0.0009765625, 0x00),
                    (17.0, 0x58),
                    (19.0, 0x5a),
                    (-0.015625, 0x88),
                ],
            ),
            (
                "rn.satfinite.e5m2x2.f32",
                [
                    (1.0, 0x3c),
                    (57344.0, 0x7b),
                    (1e9, 0x7b),
                    (f32::INFINITY, 0x7b),
                    (1.525_878_9e-5, 0x01),
                    (7.629_394_5e-6, 0x00),
                    (9.0, 0x48),
                    (11.0, 0x4a),
                    (-6.103_515_6e-5, 0x84),
                ],
            ),
        ] {
            for (x, byte) in bytes {
                assert_eq!(
                    cvt(name, f(x), f(1.0)),
                    byte << 8 | cvt(name, 0, f(1.0)),
                    "{name} of {x}"
                );
            }
            assert_eq!(cvt(name, f(f32::NAN), 0), 0x7f00);
            let relu = name.replace("satfinite", "satfinite.relu");
            assert_eq!(cvt(&relu, f(-3.0), f(-0.0)), 0);
        }
        // Back, and back again.
        for byte in 0..=255u64 {
            for (small, back) in [("e4m3x2", "rn.f16x2.e4m3x2"), ("e5m2x2", "rn.f16x2.e5m2x2")] {
                let both = cvt(back, byte << 8 | 0x38, 0);
                let again = cvt(&format!("rn.satfinite.{small}.f16x2"), both, 0) >> 8;
                let size = byte & 0x7f;
                let is_nan = size == 0x7f || small == "e5m2x2" && size > 0x7c;
                match (is_nan, small, size) {
                    (true, ..) => assert_eq!(again, 0x7f, "{small} {byte:#x}"),
                    (_, "e5m2x2", 0x7c) => assert_eq!(again, byte - 1),
                    _ => assert_eq!(again, byte, "{small}"),
                }
            }
        }
    }

    #[test]
    fn two_become_one() {
        assert_eq!(cvt("rn.f16x2.f32", f(2.0), f(1.0)), 0x4000_3c00);
        assert_eq!(cvt("rn.bf16x2.f32", f(2.0), f(-1.0)), 0x4000_bf80);
        assert_eq!(cvt("rn.relu.bf16x2.f32", f(2.0), f(-1.0)), 0x4000_0000);
        assert_eq!(cvt("rn.f16x2.f32", f(1e6), f(-1e6)), 0x7c00_fc00);
        assert_eq!(cvt("rz.f16x2.f32", f(1e6), f(-1.0009)), 0x7bff_bc00);
        assert_eq!(cvt("rn.satfinite.f16x2.f32", f(1e6), f(0.0)), 0x7bff_0000);
    }
}
