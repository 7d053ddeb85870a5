//! Floats of 16 and 8 bits, rounded once. (The crate's `from_f64` drops bits before it rounds, or rounds twice.)

use half::{bf16, f16};

/// A small float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Small {
    /// Its bits, and how many of them are behind the point.
    pub bits: u32,
    mantissa: u32,
    /// The exponent of its smallest normal number.
    lowest: i32,
    /// Its largest number.
    largest: f64,
    /// Infinity, where there is one; what is no number.
    infinity: Option<u64>,
    nan: u64,
}

const F16: Small = Small {
    bits: 16,
    mantissa: 10,
    lowest: -14,
    largest: 65504.0,
    infinity: Some(0x7c00),
    nan: 0x7fff,
};
const BF16: Small = Small {
    bits: 16,
    mantissa: 7,
    lowest: -126,
    largest: 3.3895313892515355e38,
    infinity: Some(0x7f80),
    nan: 0x7fff,
};
const E4M3: Small = Small {
    bits: 8,
    mantissa: 3,
    lowest: -6,
    largest: 448.0,
    infinity: None,
    nan: 0x7f,
};
const E5M2: Small = Small {
    bits: 8,
    mantissa: 2,
    lowest: -14,
    largest: 57344.0,
    infinity: Some(0x7c),
    nan: 0x7f,
};

impl Small {
    /// The one that a type's name names, of which there are two in a register.
    pub fn named(part: &str) -> Option<Small> {
        Some(match part {
            "f16x2" => F16,
            "bf16x2" => BF16,
            "e4m3x2" => E4M3,
            "e5m2x2" => E5M2,
            _ => return None,
        })
    }

    /// Its value, which is exact.
    pub fn value(self, bits: u64) -> f64 {
        let sign = if bits >> (self.bits - 1) & 1 == 1 {
            -1.0
        } else {
            1.0
        };
        let size = bits & ((1 << (self.bits - 1)) - 1);
        if self.infinity == Some(size) {
            return sign * f64::INFINITY;
        }
        if size >= self.infinity.map_or(self.nan, |i| i + 1) {
            return f64::NAN;
        }
        let (exponent, rest) = (size >> self.mantissa, size & ((1 << self.mantissa) - 1));
        let ones = rest | (u64::from(exponent > 0) << self.mantissa);
        let place = self.lowest - self.mantissa as i32 + exponent.max(1) as i32 - 1;
        sign * ones as f64 * power(place)
    }

    /// A value's bits: rounded to nearest or to zero; what is too large is the largest, or infinity.
    pub fn of(self, x: f64, how: How) -> u64 {
        let x = if how.relu && x < 0.0 { 0.0 } else { x };
        if x.is_nan() {
            return self.nan;
        }
        let sign = u64::from(x.is_sign_negative() && !how.relu) << (self.bits - 1);
        let size = x.abs();
        // f64's own exponent; what has none here is far below the smallest.
        let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(self.lowest);
        let unit = power(exponent - self.mantissa as i32);
        let places = size / unit;
        let places = if how.to_zero {
            places.trunc()
        } else {
            places.round_ties_even()
        };
        let beyond = places * unit > self.largest;
        match self.infinity {
            Some(infinity) if beyond && !how.finite && !(how.to_zero && size.is_finite()) => {
                return sign | infinity
            }
            _ if beyond => return sign | self.of(self.largest, How::default()),
            _ => {}
        }
        // A place more than there is goes into the exponent by itself.
        let normal = (exponent - self.lowest) as u64;
        sign | ((normal << self.mantissa) + places as u64)
    }
}

/// How values become smaller.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// What is below zero is zero.
    pub relu: bool,
    /// To zero, not to the nearest.
    pub to_zero: bool,
    /// What is too large is the largest number, not infinity.
    pub finite: bool,
}

/// A power of two that is a normal number.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// A float of 16 bits.
pub trait Half: Copy + Into<f64> {
    /// The nearest to a number.
    fn nearest(x: f64) -> Self;
    /// What `.ftz` makes of it.
    fn flushed(self) -> Self;

    /// As an instruction takes it: with `.ftz` if `FLUSH`.
    #[inline(always)]
    fn taken<const FLUSH: bool>(self) -> f64 {
        match FLUSH {
            true => self.flushed().into(),
            false => self.into(),
        }
    }

    /// As an instruction gives it: with `.ftz` if `FLUSH`, with `.sat` if `SATURATE`.
    #[inline(always)]
    fn given<const FLUSH: bool, const SATURATE: bool>(x: f64) -> Self {
        let x = match SATURATE {
            true if x > 0.0 => x.min(1.0),
            // NaN too.
            true => 0.0,
            false => x,
        };
        match FLUSH {
            true => Self::nearest(x).flushed(),
            false => Self::nearest(x),
        }
    }
}

/// A subnormal number is nothing, of its sign.
macro_rules! flush {
    () => {
        fn flushed(self) -> Self {
            let subnormal = self.classify() == std::num::FpCategory::Subnormal;
            match subnormal {
                true => Self::from_bits(self.to_bits() & 0x8000),
                false => self,
            }
        }
    };
}

impl Half for f16 {
    fn nearest(x: f64) -> Self {
        f16::from_bits(F16.of(x, How::default()) as u16)
    }

    flush!();
}

impl Half for bf16 {
    fn nearest(x: f64) -> Self {
        bf16::from_bits(BF16.of(x, How::default()) as u16)
    }

    flush!();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number stays; between two neighbours the nearer one is taken, and the even one in the middle.
    #[test]
    fn numbers_of_16_bits_are_rounded_once() {
        fn check(small: Small, bits: u64) {
            let of = |x| small.of(x, How::default());
            let (x, next) = (small.value(bits), small.value(bits + 1));
            assert_eq!((of(x), of(-x)), (bits, bits | 0x8000));
            let middle = (x + next) / 2.0;
            let even = bits + (bits & 1);
            assert_eq!(
                (of(middle.next_down()), of(middle), of(middle.next_up())),
                (bits, even, bits + 1),
                "{x}"
            );
        }
        for bits in 0..0x7bff {
            assert_eq!(F16.value(bits), f64::from(f16::from_bits(bits as u16)));
            check(F16, bits);
        }
        for bits in 0..0x7f7f {
            assert_eq!(BF16.value(bits), f64::from(bf16::from_bits(bits as u16)));
            check(BF16, bits);
        }
        for (small, infinity) in [(F16, 0x7c00), (BF16, 0x7f80)] {
            assert_eq!(small.of(f64::INFINITY, How::default()), infinity);
            assert_eq!(small.of(-1e300, How::default()), infinity | 0x8000);
            assert_eq!(small.of(f64::NAN, How::default()), 0x7fff);
        }
    }
}
