//! `cvt`: from any type to any other.

use super::lanes::*;
use super::small::Half as _;
use crate::ptx::Type;
use half::{bf16, f16};

/// A number on the way from one type to another.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

/// How to round.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Round {
    Nearest,
    Zero,
    Down,
    Up,
}

/// A conversion.
#[derive(Clone, Copy, Debug)]
pub struct Convert {
    to: Type,
    from: Type,
    /// To an integral value, which a float may stay.
    integral: bool,
    round: Round,
    saturate: bool,
    flush: bool,
    relu: bool,
    /// Bits of the register: a signed result is extended to them.
    register: u32,
}

impl Convert {
    /// The conversion that an instruction's parts (`cvt` left out) name.
    pub fn named(parts: &[&str]) -> Option<Convert> {
        let types: Vec<Type> = parts.iter().filter_map(|p| Type::named(p)).collect();
        let [to, from] = types[..] else { return None };
        let mut c = Convert {
            to,
            from,
            integral: false,
            round: Round::Nearest,
            saturate: false,
            flush: false,
            relu: false,
            register: 0,
        };
        for part in parts.iter().filter(|p| Type::named(p).is_none()) {
            (c.integral, c.round) = match *part {
                "rn" => (false, Round::Nearest),
                "rz" => (false, Round::Zero),
                "rm" => (false, Round::Down),
                "rp" => (false, Round::Up),
                "rni" => (true, Round::Nearest),
                "rzi" => (true, Round::Zero),
                "rmi" => (true, Round::Down),
                "rpi" => (true, Round::Up),
                _ => {
                    match *part {
                        "sat" => c.saturate = true,
                        "ftz" => c.flush = true,
                        "relu" => c.relu = true,
                        _ => return None,
                    }
                    (c.integral, c.round)
                }
            };
        }
        let known = |t| {
            matches!(
                t,
                Type::U(_) | Type::S(_) | Type::B(_) | Type::F(_) | Type::Bf16
            )
        };
        (known(to) && known(from)).then_some(c)
    }

    /// The same, into a register of so many bits.
    pub fn into_register(self, bits: u32) -> Convert {
        Convert {
            register: bits,
            ..self
        }
    }

    fn is_float(ty: Type) -> bool {
        matches!(ty, Type::F(_) | Type::Bf16)
    }

    fn read(&self, bits: u64) -> Number {
        let n = self.from.bits();
        match self.from {
            Type::F(16) => Number::Float(f16::get(bits).into()),
            Type::Bf16 => Number::Float(bf16::get(bits).into()),
            Type::F(32) => {
                let x = f32::get(bits);
                let x = if self.flush && x.is_subnormal() {
                    0f32.copysign(x)
                } else {
                    x
                };
                Number::Float(x.into())
            }
            Type::F(64) => Number::Float(f64::get(bits)),
            Type::S(_) => Number::Int((bits << (64 - n)) as i64 as i128 >> (64 - n)),
            _ => Number::Int((bits << (64 - n) >> (64 - n)) as i128),
        }
    }

    fn integral_of(&self, x: f64) -> f64 {
        match self.round {
            Round::Nearest => x.round_ties_even(),
            Round::Zero => x.trunc(),
            Round::Down => x.floor(),
            Round::Up => x.ceil(),
        }
    }

    /// To a narrower float, rounded as asked.
    fn narrow(&self, x: f64, nearest: f64, next: impl Fn(f64, bool) -> f64) -> f64 {
        let wrong = match self.round {
            Round::Nearest => false,
            Round::Zero => nearest.abs() > x.abs(),
            Round::Down => nearest > x,
            Round::Up => nearest < x,
        };
        if wrong {
            next(nearest, nearest < x)
        } else {
            nearest
        }
    }

    fn write_float(&self, x: f64) -> u64 {
        let x = if self.saturate {
            if x > 0.0 {
                x.min(1.0)
            } else {
                0.0
            }
        } else {
            x
        };
        let x = if self.relu && !x.is_nan() {
            x.max(0.0)
        } else {
            x
        };
        match self.to {
            Type::F(64) => x.put(),
            Type::F(32) => {
                let next = |y: f64, up: bool| {
                    f64::from(if up {
                        (y as f32).next_up()
                    } else {
                        (y as f32).next_down()
                    })
                };
                let y = self.narrow(x, f64::from(x as f32), next) as f32;
                if self.flush && y.is_subnormal() {
                    0f32.copysign(y).put()
                } else {
                    y.put()
                }
            }
            Type::Bf16 => {
                let next =
                    |y: f64, up| bf16::from_bits(step(bf16::nearest(y).to_bits(), up)).into();
                bf16::nearest(self.narrow(x, bf16::nearest(x).into(), next)).put()
            }
            _ => {
                let next = |y: f64, up| f16::from_bits(step(f16::nearest(y).to_bits(), up)).into();
                f16::nearest(self.narrow(x, f16::nearest(x).into(), next)).put()
            }
        }
    }

    fn write_int(&self, value: i128, limit: bool) -> u64 {
        let n = self.to.bits();
        let (low, high) = match self.to {
            Type::S(_) => (-(1i128 << (n - 1)), (1i128 << (n - 1)) - 1),
            _ => (0, (1i128 << n) - 1),
        };
        let value = if limit { value.clamp(low, high) } else { value };
        match self.to {
            Type::S(_) if self.register > n => {
                ((value as i64) << (64 - n) >> (64 - n)) as u64 & (u64::MAX >> (64 - self.register))
            }
            _ => value as u64 & (u64::MAX >> (64 - n)),
        }
    }

    /// One value. Integers become narrower by losing bits, unless they are to saturate; a float that is too large for an
    /// integer gives its limit, and NaN 0 (from or to 64 bits: the highest bit alone).
    fn one(&self, bits: u64) -> u64 {
        match (self.read(bits), Convert::is_float(self.to)) {
            (Number::Int(value), false) => self.write_int(value, self.saturate),
            (Number::Int(value), true) => self.int_to_float(value),
            (Number::Float(x), false) if x.is_nan() => match (self.from, self.to.bits()) {
                (Type::F(64), n) | (_, n @ 64) => self.write_int(-1 << (n - 1), false),
                _ => 0,
            },
            (Number::Float(x), false) => self.write_int(self.integral_of(x) as i128, true),
            (Number::Float(x), true) if self.integral => self.write_float(self.integral_of(x)),
            (Number::Float(x), true) => self.write_float(x),
        }
    }

    /// An integer of 64 bits does not fit `f64`: rounding twice would be wrong.
    fn int_to_float(&self, value: i128) -> u64 {
        match (self.to, self.round) {
            (Type::F(32), Round::Nearest) => (value as f32).put(),
            (Type::F(64), Round::Nearest) => (value as f64).put(),
            (Type::F(64), _) => {
                let nearest = value as f64;
                let back = nearest as i128;
                let wrong = match self.round {
                    Round::Zero => back.abs() > value.abs(),
                    Round::Down => back > value,
                    _ => back < value,
                };
                match (wrong, back < value) {
                    (false, _) => nearest.put(),
                    (true, true) => nearest.next_up().put(),
                    (true, false) => nearest.next_down().put(),
                }
            }
            _ => {
                // On the way to fewer bits: what does not fit is kept as an odd last one, so that it is rounded once.
                let nearest = value as f64;
                let beyond = (nearest as i128).abs() > value.abs();
                let cut = nearest.to_bits() - u64::from(beyond);
                let odd = u64::from(nearest as i128 != value);
                self.write_float(f64::from_bits(cut | odd))
            }
        }
    }

    /// All lanes.
    pub fn run(&self, d: &mut Lanes, a: &Lanes) {
        for (d, a) in d.0.iter_mut().zip(a.0) {
            *d = self.one(a);
        }
    }
}

/// The next number in 16 bits, up or down.
fn step(bits: u16, up: bool) -> u16 {
    let away = up != (bits >> 15 == 1);
    if away {
        bits + 1
    } else {
        bits.wrapping_sub(1)
    }
}

/// `rna.tf32.f32`: half of the last place that stays is added, to the size; what is no number has no places.
pub fn to_tf32() -> One {
    one!(u32 => u32, |a| match a & 0x7f80_0000 {
        0x7f80_0000 => a,
        _ => (a + 0x1000) & !0x1fff,
    })
}

/// The conversions that programs do most, as functions of their own.
pub fn quick(parts: &[&str]) -> Option<One> {
    Some(match parts {
        ["u64", "u32"] | ["u32", "u64"] | ["u32", "u32"] | ["s64", "u32"] => {
            one!(u32 => u32, |a| a)
        }
        ["s64", "s32"] | ["u64", "s32"] => one!(i32 => i64, |a| a as i64),
        ["rn", "f32", "s32"] => one!(i32 => f32, |a| a as f32),
        ["rn", "f32", "u32"] => one!(u32 => f32, |a| a as f32),
        ["rn", "f64", "s32"] => one!(i32 => f64, |a| a as f64),
        ["rn", "f64", "u32"] => one!(u32 => f64, |a| a as f64),
        ["f64", "f32"] => one!(f32 => f64, |a| a as f64),
        ["rn", "f32", "f64"] => one!(f64 => f32, |a| a as f32),
        ["rzi", "s32", "f32"] => one!(f32 => i32, |a| a as i32),
        ["rzi", "s32", "f64"] => {
            one!(f64 => i32, |a| if a.is_nan() { i32::MIN } else { a as i32 })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cvt(name: &str, bits: u64) -> u64 {
        let parts: Vec<_> = name.split('.').collect();
        let slow = Convert::named(&parts).unwrap().one(bits);
        if let Some(f) = quick(&parts) {
            let mut d = Lanes::all(0);
            f(&mut d, &Lanes::all(bits));
            assert_eq!(d.0[0], slow, "{name} of {bits:#x}");
        }
        slow
    }

    #[test]
    fn integers() {
        assert_eq!(cvt("u8.u32", 0x1ff), 0xff);
        assert_eq!(cvt("s32.s8", 0xff), 0xffff_ffff);
        assert_eq!(cvt("s64.s32", 0xffff_ffff), u64::MAX);
        assert_eq!(cvt("sat.u8.s32", 0xffff_ffff), 0);
        assert_eq!(cvt("sat.s8.s32", 300), 127);
        assert_eq!(cvt("u32.u64", u64::MAX), 0xffff_ffff);
    }

    #[test]
    fn floats_to_integers() {
        let f = |x: f32| x.to_bits() as u64;
        assert_eq!(cvt("rzi.s32.f32", f(-2.7)), (-2i32) as u32 as u64);
        assert_eq!(cvt("rni.s32.f32", f(2.5)), 2);
        assert_eq!(cvt("rmi.s32.f32", f(-2.5)), (-3i32) as u32 as u64);
        assert_eq!(cvt("rzi.s32.f32", f(3e9)), i32::MAX as u64);
        assert_eq!(cvt("rzi.u32.f32", f(-3.0)), 0);
        assert_eq!(cvt("rzi.s32.f32", f(f32::NAN)), 0);
        assert_eq!(cvt("rzi.s64.f32", f(f32::NAN)), 1 << 63);
        let nan = f64::NAN.to_bits();
        assert_eq!(cvt("rzi.s32.f64", nan), 1 << 31);
        assert_eq!(cvt("rni.u32.f64", nan), 1 << 31);
        assert_eq!(cvt("rzi.s16.f64", nan), 1 << 15);
        assert_eq!(cvt("rni.f64.f64", 3.5f64.to_bits()), 4f64.to_bits());
    }

    #[test]
    fn rounding() {
        let third = (1f64 / 3.0).to_bits();
        let [down, up] = ["rm.f32.f64", "rp.f32.f64"].map(|n| f32::from_bits(cvt(n, third) as u32));
        assert!(f64::from(down) < 1.0 / 3.0 && f64::from(up) > 1.0 / 3.0 && down.next_up() == up);
        assert_eq!(
            cvt("rn.f32.u64", u64::MAX),
            (u64::MAX as f32).to_bits().into()
        );
        for (name, bits, exact) in [
            ("rm.f32.u64", u64::MAX, 0x5f7f_ffff),
            ("rz.f32.u64", u64::MAX, 0x5f7f_ffff),
            ("rp.f32.u64", u64::MAX, 0x5f80_0000),
            ("rm.f32.s64", i64::MAX as u64, 0x5eff_ffff),
            ("rp.f32.s64", -i64::MAX as u64, 0xdeff_ffff),
            ("rm.f32.s64", -i64::MAX as u64, 0xdf00_0000),
            // Hardly more than the middle between two, and hardly less.
            ("rn.bf16.u64", (1 << 62) + (1 << 54) + 1, 0x5e81),
            ("rn.bf16.u64", (1 << 62) + (3 << 54) - 1, 0x5e81),
        ] {
            assert_eq!(cvt(name, bits), exact, "{name} of {bits:#x}");
        }
        assert_eq!(
            cvt("rn.f32.f64", 1e300f64.to_bits()),
            f32::INFINITY.to_bits().into()
        );
        assert_eq!(cvt("rn.f16.f32", 1.0f32.to_bits().into()), 0x3c00);
        // Hardly more than the middle between two.
        assert_eq!(cvt("rn.f16.f32", 0x3f80_1001), 0x3c01);
        assert_eq!(cvt("rn.bf16.f32", 0x3f80_8001), 0x3f81);
        assert_eq!(cvt("f32.f16", 0x3c00), 1.0f32.to_bits().into());
        let below = f16::from_bits(cvt("rz.f16.f32", 0.1f32.to_bits().into()) as u16);
        assert!(
            f64::from(below) <= 0.1f32.into()
                && f64::from(f16::from_bits(below.to_bits() + 1)) > 0.1f32.into()
        );
        assert_eq!(
            cvt("sat.f32.f32", 7f32.to_bits().into()),
            1f32.to_bits().into()
        );
    }
}
