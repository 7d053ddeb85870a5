//! Floating-point arithmetic, by instruction and type.
//!
//! `.approx` instructions give the correctly rounded result of double precision: within the bounds that PTX names, and not
//! what another device gives to the last bit. `rounding` has arithmetic that is not rounded to the nearest.

use super::lanes::*;
use super::small::Half as _;
use crate::ptx::Type;
use half::{bf16, f16};

/// What `.ftz` makes of a number.
#[inline(always)]
pub fn flush(a: f32) -> f32 {
    if a.is_subnormal() {
        0f32.copysign(a)
    } else {
        a
    }
}

/// What `.sat` makes of a number: NaN is 0.
macro_rules! clamp {
    ($x:expr) => {{
        let x = $x;
        if x > 0.0 {
            if x < 1.0 {
                x
            } else {
                1.0
            }
        } else {
            0.0
        }
    }};
}

/// How an instruction is modified.
#[derive(Clone, Copy, Default)]
pub struct Mode {
    /// `.ftz`
    pub flush: bool,
    /// `.sat`
    pub saturate: bool,
}

/// An expression over `f32`, for each mode.
macro_rules! singles {
    ($mode:expr, $macro:ident, |$($x:ident),*| $e:expr) => {
        match ($mode.flush, $mode.saturate) {
            (false, false) => $macro!(f32, |$($x),*| $e),
            (true, false) => $macro!(f32, |$($x),*| { $(let $x = flush($x);)* flush($e) }),
            (false, true) => $macro!(f32, |$($x),*| clamp!($e)),
            (true, true) => $macro!(f32, |$($x),*| { $(let $x = flush($x);)* clamp!(flush($e)) }),
        }
    };
}

/// The same of 16 bits, which is computed in double precision: `$how` is `half` or `packed`.
macro_rules! halves {
    ($how:ident, $t:ty, $mode:expr, $macro:ident, |$($x:ident),*| $e:expr) => {
        match ($mode.flush, $mode.saturate) {
            (false, false) => $how!($t, false, false, $macro, |$($x),*| $e),
            (true, false) => $how!($t, true, false, $macro, |$($x),*| $e),
            (false, true) => $how!($t, false, true, $macro, |$($x),*| $e),
            (true, true) => $how!($t, true, true, $macro, |$($x),*| $e),
        }
    };
}

/// An expression over numbers of 16 bits.
macro_rules! half {
    ($t:ty, $flush:expr, $saturate:expr, $macro:ident, |$($x:ident),*| $e:expr) => {
        $macro!($t, |$($x),*| {
            <$t>::given::<$flush, $saturate>({ $(let $x = $x.taken::<$flush>();)* $e })
        })
    };
}

/// An expression over the halves of two packed numbers.
macro_rules! packed {
    ($t:ty, $flush:expr, $saturate:expr, $macro:ident, |$($x:ident),*| $e:expr) => {
        $macro!(u32, |$($x),*| {
            let f = |$($x: $t),*| -> $t {
                <$t>::given::<$flush, $saturate>({ $(let $x = $x.taken::<$flush>();)* $e })
            };
            let low = f($(<$t>::from_bits($x as u16)),*).to_bits() as u32;
            let high = f($(<$t>::from_bits(($x >> 16) as u16)),*).to_bits() as u32;
            high << 16 | low
        })
    };
}

/// An expression for each type; small ones are computed in double precision, which rounds once for sums and products.
macro_rules! for_floats {
    ($ty:expr, $mode:expr, $macro:ident, |$($x:ident),*| $e:expr) => {
        match $ty {
            Type::F(32) => singles!($mode, $macro, |$($x),*| $e),
            Type::F(64) => $macro!(f64, |$($x),*| $e),
            Type::F(16) => halves!(half, f16, $mode, $macro, |$($x),*| $e),
            Type::Bf16 => halves!(half, bf16, $mode, $macro, |$($x),*| $e),
            Type::F16x2 => halves!(packed, f16, $mode, $macro, |$($x),*| $e),
            Type::Bf16x2 => halves!(packed, bf16, $mode, $macro, |$($x),*| $e),
            _ => return None,
        }
    };
}

macro_rules! same {
    ($t:ty, |$x:ident| $e:expr) => {
        one!($t => $t, |$x| $e)
    };
}

/// A function of `f32` computed in double precision.
macro_rules! wide {
    ($ty:expr, $mode:expr, |$x:ident| $e:expr) => {
        match $ty {
            Type::F(32) => singles!($mode, same, |a| { let $x = a as f64; ($e) as f32 }),
            Type::F(64) => one!(f64 => f64, |$x| $e),
            Type::F(16) => halves!(half, f16, $mode, same, |$x| $e),
            Type::Bf16 => halves!(half, bf16, $mode, same, |$x| $e),
            Type::F16x2 => halves!(packed, f16, $mode, same, |$x| $e),
            Type::Bf16x2 => halves!(packed, bf16, $mode, same, |$x| $e),
            _ => return None,
        }
    };
}

/// Functions of one operand.
pub fn one(name: &str, ty: Type, mode: Mode) -> Option<One> {
    Some(match name {
        "neg" => match ty {
            Type::F(16) | Type::Bf16 if !mode.flush => one!(u16 => u16, |a| a ^ 0x8000),
            Type::F16x2 | Type::Bf16x2 if !mode.flush => one!(u32 => u32, |a| a ^ 0x8000_8000),
            _ => for_floats!(ty, mode, same, |a| -a),
        },
        "abs" => match ty {
            Type::F(16) | Type::Bf16 if !mode.flush => one!(u16 => u16, |a| a & 0x7fff),
            Type::F16x2 | Type::Bf16x2 if !mode.flush => one!(u32 => u32, |a| a & 0x7fff_7fff),
            _ => for_floats!(ty, mode, same, |a| a.abs()),
        },
        "sqrt" => match ty {
            Type::F(32) => singles!(mode, same, |a| a.sqrt()),
            _ => wide!(ty, mode, |a| a.sqrt()),
        },
        "rcp" => match ty {
            Type::F(32) => singles!(mode, same, |a| 1.0 / a),
            _ => wide!(ty, mode, |a| 1.0 / a),
        },
        "rsqrt" => wide!(ty, mode, |a| 1.0 / a.sqrt()),
        "sin" => wide!(ty, mode, |a| a.sin()),
        "cos" => wide!(ty, mode, |a| a.cos()),
        "ex2" => wide!(ty, mode, |a| a.exp2()),
        "lg2" => wide!(ty, mode, |a| a.log2()),
        "tanh" => wide!(ty, mode, |a| a.tanh()),
        _ => return None,
    })
}

/// The smaller: the number, if the other is NaN; and -0 is less than +0.
macro_rules! lesser {
    ($a:expr, $b:expr) => {
        if $a.is_nan() || $b < $a || ($b == $a && $b.is_sign_negative()) {
            $b
        } else {
            $a
        }
    };
}
macro_rules! greater {
    ($a:expr, $b:expr) => {
        if $a.is_nan() || $b > $a || ($b == $a && $b.is_sign_positive()) {
            $b
        } else {
            $a
        }
    };
}

/// Functions of two operands.
pub fn two(name: &str, ty: Type, mode: Mode) -> Option<Two> {
    Some(match name {
        "add" => for_floats!(ty, mode, two, |a, b| a + b),
        "sub" => for_floats!(ty, mode, two, |a, b| a - b),
        "mul" => for_floats!(ty, mode, two, |a, b| a * b),
        "div" => for_floats!(ty, mode, two, |a, b| a / b),
        "min" => for_floats!(ty, mode, two, |a, b| lesser!(a, b)),
        "max" => for_floats!(ty, mode, two, |a, b| greater!(a, b)),
        "min.NaN" => for_floats!(ty, mode, two, |a, b| if a.is_nan() || b.is_nan() {
            a + b
        } else {
            lesser!(a, b)
        }),
        "max.NaN" => for_floats!(ty, mode, two, |a, b| if a.is_nan() || b.is_nan() {
            a + b
        } else {
            greater!(a, b)
        }),
        // The sign of the first, on the second.
        "copysign" => for_floats!(ty, mode, two, |a, b| b.copysign(a)),
        _ => return None,
    })
}

/// `fma`: one rounding.
pub fn fma(ty: Type, mode: Mode) -> Option<Three> {
    let plain = !mode.flush && !mode.saturate;
    if plain
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("avx2")
    {
        match ty {
            Type::F(32) => return Some(fast::f32),
            Type::F(64) => return Some(fast::f64),
            _ => (),
        }
    }
    Some(match ty {
        // The product is exact in double precision, and so the sum is rounded twice at most: to odd would be right, and a
        // sum of two such is too rare in 16 bits to matter for the first rounding.
        Type::F(16) | Type::Bf16 | Type::F16x2 | Type::Bf16x2 => {
            for_floats!(ty, mode, three, |a, b, c| a.mul_add(b, c))
        }
        _ => for_floats!(ty, mode, three, |a, b, c| a.mul_add(b, c)),
    })
}

/// `fma` by the processor's instruction.
mod fast {
    use super::super::lanes::*;

    macro_rules! fma {
        ($name:ident, $t:ty) => {
            pub fn $name(d: &mut Lanes, a: &Lanes, b: &Lanes, c: &Lanes) {
                #[target_feature(enable = "avx2,fma")]
                fn run(d: &mut Lanes, a: &Lanes, b: &Lanes, c: &Lanes) {
                    map3::<$t, $t, $t, $t>(d, a, b, c, |a, b, c| a.mul_add(b, c))
                }
                // SAFETY: this function is only handed out where the processor has both features.
                unsafe { run(d, a, b, c) }
            }
        };
    }
    fma!(f32, f32);
    fma!(f64, f64);
}

/// `testp`.
pub fn test(name: &str, ty: Type) -> Option<Compare> {
    macro_rules! for_both {
        (|$x:ident| $e:expr) => {
            match ty {
                Type::F(32) => cmp!(f32, |$x, _b| $e),
                Type::F(64) => cmp!(f64, |$x, _b| $e),
                _ => return None,
            }
        };
    }
    Some(match name {
        "finite" => for_both!(|a| a.is_finite()),
        "infinite" => for_both!(|a| a.is_infinite()),
        "number" => for_both!(|a| !a.is_nan()),
        "notanumber" => for_both!(|a| a.is_nan()),
        "normal" => for_both!(|a| a.is_normal()),
        "subnormal" => for_both!(|a| a.is_subnormal()),
        _ => return None,
    })
}

/// Comparisons.
pub fn compare(op: &str, ty: Type, mode: Mode) -> Option<Compare> {
    macro_rules! for_all {
        (|$x:ident, $y:ident| $e:expr) => {
            match ty {
                Type::F(32) if mode.flush => cmp!(f32, |$x, $y| {
                    let ($x, $y) = (flush($x), flush($y));
                    $e
                }),
                Type::F(32) => cmp!(f32, |$x, $y| $e),
                Type::F(64) => cmp!(f64, |$x, $y| $e),
                Type::F(16) if mode.flush => cmp!(f16, |$x, $y| {
                    let ($x, $y) = ($x.flushed(), $y.flushed());
                    $e
                }),
                Type::F(16) => cmp!(f16, |$x, $y| $e),
                Type::Bf16 => cmp!(bf16, |$x, $y| $e),
                _ => return None,
            }
        };
    }
    Some(match op {
        "eq" => for_all!(|a, b| a == b),
        "ne" => for_all!(|a, b| a != b && a.partial_cmp(&b).is_some()),
        "lt" => for_all!(|a, b| a < b),
        "le" => for_all!(|a, b| a <= b),
        "gt" => for_all!(|a, b| a > b),
        "ge" => for_all!(|a, b| a >= b),
        // With a NaN these are true.
        "equ" => for_all!(|a, b| a == b || a.partial_cmp(&b).is_none()),
        "neu" => for_all!(|a, b| a != b),
        "ltu" => for_all!(|a, b| a.partial_cmp(&b) != Some(std::cmp::Ordering::Greater) && a != b),
        "leu" => for_all!(|a, b| a.partial_cmp(&b) != Some(std::cmp::Ordering::Greater)),
        "gtu" => for_all!(|a, b| a.partial_cmp(&b) != Some(std::cmp::Ordering::Less) && a != b),
        "geu" => for_all!(|a, b| a.partial_cmp(&b) != Some(std::cmp::Ordering::Less)),
        "num" => for_all!(|a, b| !a.is_nan() && !b.is_nan()),
        "nan" => for_all!(|a, b| a.is_nan() || b.is_nan()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(f: Two, a: f32, b: f32) -> f32 {
        let mut d = Lanes::all(0);
        f(
            &mut d,
            &Lanes::all(a.to_bits().into()),
            &Lanes::all(b.to_bits().into()),
        );
        f32::from_bits(d.0[3] as u32)
    }

    #[test]
    fn flushing_clamping_and_the_smaller_number() {
        let tiny = 1e-40f32;
        let mode = |flush, saturate| Mode { flush, saturate };
        let add = |m| two("add", Type::F(32), m).unwrap();
        assert_eq!(f32s(add(mode(false, false)), tiny, 0.0), tiny);
        assert_eq!(f32s(add(mode(true, false)), tiny, 0.0), 0.0);
        assert_eq!(f32s(add(mode(false, true)), 3.0, 2.0), 1.0);
        assert_eq!(f32s(add(mode(false, true)), f32::NAN, 2.0), 0.0);
        let min = two("min", Type::F(32), Mode::default()).unwrap();
        assert_eq!(f32s(min, f32::NAN, 2.0), 2.0);
        assert_eq!(f32s(min, 2.0, f32::NAN), 2.0);
        assert!(f32s(min, 0.0, -0.0).is_sign_negative());
        assert!(f32s(min, -0.0, 0.0).is_sign_negative());
    }

    #[test]
    fn fma_rounds_once() {
        let (a, c) = (1.0 + f32::EPSILON, -1.0 - 2.0 * f32::EPSILON);
        let mut d = Lanes::all(0);
        let l = |x: f32| Lanes::all(x.to_bits().into());
        for mode in [
            Mode::default(),
            Mode {
                flush: true,
                saturate: false,
            },
        ] {
            fma(Type::F(32), mode).unwrap()(&mut d, &l(a), &l(a), &l(c));
            assert_eq!(f32::from_bits(d.0[0] as u32), f32::EPSILON * f32::EPSILON);
        }
    }

    #[test]
    fn unordered_comparisons_are_true_with_nan() {
        let l = |x: f64| Lanes::all(x.to_bits());
        for (op, less, equal, nan) in [
            ("lt", 1, 0, 0),
            ("ltu", 1, 0, 1),
            ("leu", 1, 1, 1),
            ("gtu", 0, 0, 1),
            ("geu", 0, 1, 1),
            ("ne", 1, 0, 0),
            ("neu", 1, 0, 1),
            ("equ", 0, 1, 1),
            ("nan", 0, 0, 1),
            ("num", 1, 1, 0),
        ] {
            let f = compare(op, Type::F(64), Mode::default()).unwrap();
            let got = [
                f(&l(1.0), &l(2.0)),
                f(&l(2.0), &l(2.0)),
                f(&l(f64::NAN), &l(2.0)),
            ]
            .map(|m| m & 1);
            assert_eq!(got, [less, equal, nan], "{op}");
        }
    }

    #[test]
    fn packed_halves() {
        let pack = |a: f32, b: f32| {
            (f16::from_f32(b).to_bits() as u64) << 16 | f16::from_f32(a).to_bits() as u64
        };
        let mut d = Lanes::all(0);
        two("add", Type::F16x2, Mode::default()).unwrap()(
            &mut d,
            &Lanes::all(pack(1.5, -2.0)),
            &Lanes::all(pack(0.25, 8.0)),
        );
        assert_eq!(d.0[31], pack(1.75, 6.0));
    }
}
