//! Integer arithmetic and logic, by instruction and type.

use super::lanes::*;
use crate::ptx::Type;

/// The same expression for each integer type; `None` for others.
macro_rules! for_integers {
    ($ty:expr, $m:ident, $($f:tt)*) => {
        match $ty {
            Type::U(16) | Type::B(16) => $m!(u16, $($f)*),
            Type::U(32) | Type::B(32) => $m!(u32, $($f)*),
            Type::U(64) | Type::B(64) => $m!(u64, $($f)*),
            Type::S(16) => $m!(i16, $($f)*),
            Type::S(32) => $m!(i32, $($f)*),
            Type::S(64) => $m!(i64, $($f)*),
            _ => return None,
        }
    };
}

/// The same expression for unsigned types of a type's size.
macro_rules! for_bits {
    ($ty:expr, $m:ident, $($f:tt)*) => {
        match $ty.bits() {
            16 => $m!(u16, $($f)*),
            32 => $m!(u32, $($f)*),
            64 => $m!(u64, $($f)*),
            _ => return None,
        }
    };
}

macro_rules! same {
    ($t:ty, |$x:ident| $e:expr) => {
        one!($t => $t, |$x| $e)
    };
}
macro_rules! count {
    ($t:ty, |$x:ident| $e:expr) => {
        one!($t => u32, |$x| $e)
    };
}

/// Functions of one operand.
pub fn one(name: &str, ty: Type) -> Option<One> {
    Some(match name {
        "not" => for_bits!(ty, same, |a| !a),
        "cnot" => for_bits!(ty, same, |a| (a == 0) as _),
        "neg" => for_bits!(ty, same, |a| a.wrapping_neg()),
        "abs" => match ty {
            Type::S(16) => one!(i16 => i16, |a| a.wrapping_abs()),
            Type::S(32) => one!(i32 => i32, |a| a.wrapping_abs()),
            Type::S(64) => one!(i64 => i64, |a| a.wrapping_abs()),
            _ => return None,
        },
        "popc" => for_bits!(ty, count, |a| a.count_ones()),
        "clz" => for_bits!(ty, count, |a| a.leading_zeros()),
        "brev" => for_bits!(ty, same, |a| a.reverse_bits()),
        "bfind" => match ty {
            Type::U(32) => one!(u32 => u32, |a| 31u32.wrapping_sub(a.leading_zeros())),
            Type::U(64) => one!(u64 => u32, |a| 63u32.wrapping_sub(a.leading_zeros())),
            // The highest bit that differs from the sign.
            Type::S(32) => {
                one!(i32 => u32, |a| 31u32.wrapping_sub((a ^ (a >> 31)).leading_zeros()))
            }
            Type::S(64) => {
                one!(i64 => u32, |a| 63u32.wrapping_sub((a ^ (a >> 63)).leading_zeros()))
            }
            _ => return None,
        },
        "bfind.shiftamt" => match ty {
            Type::U(32) => one!(u32 => u32, |a| if a == 0 { u32::MAX } else { a.leading_zeros() }),
            Type::U(64) => one!(u64 => u32, |a| if a == 0 { u32::MAX } else { a.leading_zeros() }),
            Type::S(32) => {
                one!(i32 => u32, |a| match a ^ (a >> 31) { 0 => u32::MAX, b => b.leading_zeros() })
            }
            Type::S(64) => {
                one!(i64 => u32, |a| match a ^ (a >> 63) { 0 => u32::MAX, b => b.leading_zeros() })
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// The product's upper half.
macro_rules! high {
    ($ty:expr) => {
        match $ty {
            Type::U(16) => two!(u16, |a, b| ((a as u32 * b as u32) >> 16) as u16),
            Type::S(16) => two!(i16, |a, b| ((a as i32 * b as i32) >> 16) as i16),
            Type::U(32) => two!(u32, |a, b| ((a as u64 * b as u64) >> 32) as u32),
            Type::S(32) => two!(i32, |a, b| ((a as i64 * b as i64) >> 32) as i32),
            Type::U(64) => two!(u64, |a, b| ((a as u128 * b as u128) >> 64) as u64),
            Type::S(64) => two!(i64, |a, b| ((a as i128 * b as i128) >> 64) as i64),
            _ => return None,
        }
    };
}

/// Functions of two operands; a name's relevant parts are joined by dots.
pub fn two(name: &str, ty: Type) -> Option<Two> {
    Some(match name {
        "add" => for_bits!(ty, two, |a, b| a.wrapping_add(b)),
        "sub" => for_bits!(ty, two, |a, b| a.wrapping_sub(b)),
        "add.sat" if ty == Type::S(32) => two!(i32, |a, b| a.saturating_add(b)),
        "sub.sat" if ty == Type::S(32) => two!(i32, |a, b| a.saturating_sub(b)),
        "mul.lo" => for_bits!(ty, two, |a, b| a.wrapping_mul(b)),
        "mul.hi" => high!(ty),
        "mul.wide" => match ty {
            Type::U(16) => two!(u16, u16 => u32, |a, b| a as u32 * b as u32),
            Type::S(16) => two!(i16, i16 => i32, |a, b| a as i32 * b as i32),
            Type::U(32) => two!(u32, u32 => u64, |a, b| a as u64 * b as u64),
            Type::S(32) => two!(i32, i32 => i64, |a, b| a as i64 * b as i64),
            _ => return None,
        },
        "mul24.lo" => match ty {
            Type::U(32) => two!(u32, |a, b| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)),
            Type::S(32) => two!(i32, |a, b| (a << 8 >> 8).wrapping_mul(b << 8 >> 8)),
            _ => return None,
        },
        // A division by zero has no trap; the device's result is all ones.
        "div" => for_integers!(ty, two, |a, b| if b == 0 { !0 } else { a.wrapping_div(b) }),
        "rem" => for_integers!(ty, two, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }),
        "min" => for_integers!(ty, two, |a, b| a.min(b)),
        "max" => for_integers!(ty, two, |a, b| a.max(b)),
        "and" => for_bits!(ty, two, |a, b| a & b),
        "or" => for_bits!(ty, two, |a, b| a | b),
        "xor" => for_bits!(ty, two, |a, b| a ^ b),
        // More than the width shifts everything out.
        "shl" => match ty.bits() {
            16 => two!(u16, u32 => u16, |a, n| if n > 15 { 0 } else { a << n }),
            32 => two!(u32, |a, n| if n > 31 { 0 } else { a << n }),
            64 => two!(u64, u32 => u64, |a, n| if n > 63 { 0 } else { a << n }),
            _ => return None,
        },
        "shr" => match ty {
            Type::S(16) => two!(i16, u32 => i16, |a, n| a >> n.min(15)),
            Type::S(32) => two!(i32, u32 => i32, |a, n| a >> n.min(31)),
            Type::S(64) => two!(i64, u32 => i64, |a, n| a >> n.min(63)),
            Type::U(16) | Type::B(16) => {
                two!(u16, u32 => u16, |a, n| if n > 15 { 0 } else { a >> n })
            }
            Type::U(32) | Type::B(32) => two!(u32, |a, n| if n > 31 { 0 } else { a >> n }),
            Type::U(64) | Type::B(64) => {
                two!(u64, u32 => u64, |a, n| if n > 63 { 0 } else { a >> n })
            }
            _ => return None,
        },
        "bmsk.clamp" => two!(u32, |at, n| mask_of(at, n)),
        "szext.wrap" if ty == Type::U(32) => two!(u32, |a, n| a & mask_of(0, n & 31)),
        "szext.clamp" if ty == Type::U(32) => two!(u32, |a, n| a & mask_of(0, n)),
        _ => return None,
    })
}

/// `n` ones from bit `at` on.
fn mask_of(at: u32, n: u32) -> u32 {
    let ones = if n > 31 { u64::MAX } else { (1 << n) - 1 };
    (ones << at.min(32)) as u32
}

macro_rules! mad {
    ($t:ty, $wide:ty, |$p:ident| $e:expr) => {
        three!($t, |a, b, c| {
            let $p = (a as $wide).wrapping_mul(b as $wide);
            ($e as $t).wrapping_add(c)
        })
    };
}

/// Functions of three operands.
pub fn three(name: &str, ty: Type) -> Option<Three> {
    Some(match name {
        "mad.lo" => for_bits!(ty, three, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        "mad.hi" => match ty {
            Type::U(16) => mad!(u16, u32, |p| p >> 16),
            Type::S(16) => mad!(i16, i32, |p| p >> 16),
            Type::U(32) => mad!(u32, u64, |p| p >> 32),
            Type::S(32) => mad!(i32, i64, |p| p >> 32),
            Type::U(64) => mad!(u64, u128, |p| p >> 64),
            Type::S(64) => mad!(i64, i128, |p| p >> 64),
            _ => return None,
        },
        "mad.wide" => match ty {
            Type::U(16) => {
                three!(u16, u16, u32 => u32, |a, b, c| (a as u32 * b as u32).wrapping_add(c))
            }
            Type::S(16) => {
                three!(i16, i16, i32 => i32, |a, b, c| (a as i32 * b as i32).wrapping_add(c))
            }
            Type::U(32) => {
                three!(u32, u32, u64 => u64, |a, b, c| (a as u64 * b as u64).wrapping_add(c))
            }
            Type::S(32) => {
                three!(i32, i32, i64 => i64, |a, b, c| (a as i64 * b as i64).wrapping_add(c))
            }
            _ => return None,
        },
        "mad24.lo" => match ty {
            Type::U(32) => three!(u32, |a, b, c| (a & 0xff_ffff)
                .wrapping_mul(b & 0xff_ffff)
                .wrapping_add(c)),
            Type::S(32) => three!(i32, |a, b, c| (a << 8 >> 8)
                .wrapping_mul(b << 8 >> 8)
                .wrapping_add(c)),
            _ => return None,
        },
        "sad" => match ty {
            Type::U(32) => three!(u32, |a, b, c| c.wrapping_add(a.abs_diff(b))),
            Type::S(32) => three!(i32, |a, b, c| c.wrapping_add(a.abs_diff(b) as i32)),
            _ => return None,
        },
        "bfe" => match ty {
            Type::U(32) => three!(u32, |a, at, n| extract(a as u64, 32, at, n, false) as u32),
            Type::S(32) => three!(u32, |a, at, n| extract(a as u64, 32, at, n, true) as u32),
            Type::U(64) => three!(u64, u32, u32 => u64, |a, at, n| extract(a, 64, at, n, false)),
            Type::S(64) => three!(u64, u32, u32 => u64, |a, at, n| extract(a, 64, at, n, true)),
            _ => return None,
        },
        "shf.l.wrap" => three!(u32, |a, b, n| (pair(a, b) << (n & 31) >> 32) as u32),
        "shf.r.wrap" => three!(u32, |a, b, n| (pair(a, b) >> (n & 31)) as u32),
        "shf.l.clamp" => three!(u32, |a, b, n| (pair(a, b) << n.min(32) >> 32) as u32),
        "shf.r.clamp" => three!(u32, |a, b, n| (pair(a, b) >> n.min(32)) as u32),
        "prmt" => three!(u32, |a, b, select| permute(a, b, select)),
        "slct.s32" => match ty.bits() {
            32 => three!(u32, u32, i32 => u32, |a, b, c| if c >= 0 { a } else { b }),
            64 => three!(u64, u64, i32 => u64, |a, b, c| if c >= 0 { a } else { b }),
            _ => return None,
        },
        "slct.f32" => match ty.bits() {
            32 => three!(u32, u32, f32 => u32, |a, b, c| if c >= 0.0 { a } else { b }),
            64 => three!(u64, u64, f32 => u64, |a, b, c| if c >= 0.0 { a } else { b }),
            _ => return None,
        },
        "dp4a.u32.u32" => three!(u32, |a, b, c| dot(a, b, c, |x, y| x as i64 * y as i64)),
        "dp4a.u32.s32" => three!(u32, |a, b, c| dot(a, b, c, |x, y| x as i64
            * y as i8 as i64)),
        "dp4a.s32.u32" => three!(u32, |a, b, c| dot(a, b, c, |x, y| x as i8 as i64
            * y as i64)),
        "dp4a.s32.s32" => three!(u32, |a, b, c| dot(a, b, c, |x, y| x as i8 as i64
            * y as i8 as i64)),
        "dp2a.lo.u32.u32" => three!(u32, |a, b, c| dot2(a, b, c, |x, y| x as i64 * y as i64)),
        "dp2a.lo.u32.s32" => three!(u32, |a, b, c| dot2(a, b, c, |x, y| x as i64
            * y as i8 as i64)),
        "dp2a.lo.s32.u32" => three!(u32, |a, b, c| dot2(a, b, c, |x, y| x as i16 as i64
            * y as i64)),
        "dp2a.lo.s32.s32" => three!(u32, |a, b, c| dot2(a, b, c, |x, y| x as i16 as i64
            * y as i8 as i64)),
        "dp2a.hi.u32.u32" => three!(u32, |a, b, c| dot2(a, b >> 16, c, |x, y| x as i64
            * y as i64)),
        "dp2a.hi.u32.s32" => three!(u32, |a, b, c| dot2(a, b >> 16, c, |x, y| x as i64
            * y as i8 as i64)),
        "dp2a.hi.s32.u32" => three!(u32, |a, b, c| dot2(a, b >> 16, c, |x, y| x as i16 as i64
            * y as i64)),
        "dp2a.hi.s32.s32" => three!(u32, |a, b, c| dot2(a, b >> 16, c, |x, y| x as i16 as i64
            * y as i8 as i64)),
        "fns" => three!(u32, |mask, base, n| nth_set(mask, base, n as i32)),
        _ => return None,
    })
}

/// Functions of two registers that each hold two integers of 16 bits.
pub fn two_of_halves(name: &str) -> Option<Two> {
    Some(match name {
        "add.u16x2" | "add.s16x2" => two!(u32, |a, b| of_halves(a, b, |x, y| x.wrapping_add(y))),
        "min.u16x2" => two!(u32, |a, b| of_halves(a, b, |x, y| x.min(y))),
        "max.u16x2" => two!(u32, |a, b| of_halves(a, b, |x, y| x.max(y))),
        "min.s16x2" => two!(u32, |a, b| of_halves(a, b, |x, y| (x as i16).min(y as i16)
            as u16)),
        "max.s16x2" => two!(u32, |a, b| of_halves(a, b, |x, y| (x as i16).max(y as i16)
            as u16)),
        "min.relu.s16x2" | "min.s16x2.relu" => two!(u32, |a, b| of_halves(a, b, |x, y| (x as i16)
            .min(y as i16)
            .max(0)
            as u16)),
        "max.relu.s16x2" | "max.s16x2.relu" => two!(u32, |a, b| of_halves(a, b, |x, y| (x as i16)
            .max(y as i16)
            .max(0)
            as u16)),
        _ => return None,
    })
}

fn of_halves(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

/// Two words as one, the first the lower.
fn pair(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// The sum of the products of the halves of `a` and the lower two bytes of `b`.
fn dot2(a: u32, b: u32, c: u32, product: impl Fn(u16, u8) -> i64) -> u32 {
    let sum = product(a as u16, b as u8) + product((a >> 16) as u16, (b >> 8) as u8);
    c.wrapping_add(sum as u32)
}

/// Where the n-th bit that is set is, counted from `base` on, upwards or (n < 0) downwards, that one with it; n = 0: the bit there.
fn nth_set(mask: u32, base: u32, n: i32) -> u32 {
    let set = |i: &u32| mask >> i & 1 == 1;
    let found = match n {
        0 => Some(base).filter(|i| *i < 32 && set(i)),
        1.. => (base..32).filter(set).nth(n as usize - 1),
        _ if base > 31 => None,
        _ => (0..=base)
            .rev()
            .filter(set)
            .nth(n.unsigned_abs() as usize - 1),
    };
    found.unwrap_or(u32::MAX)
}

/// The sum of the products of four bytes.
fn dot(a: u32, b: u32, c: u32, product: impl Fn(u8, u8) -> i64) -> u32 {
    let sum: i64 = a
        .to_le_bytes()
        .into_iter()
        .zip(b.to_le_bytes())
        .map(|(x, y)| product(x, y))
        .sum();
    c.wrapping_add(sum as u32)
}

/// A bit field, zero- or sign-extended. Beyond the register all bits are its sign.
fn extract(a: u64, width: u32, at: u32, n: u32, signed: bool) -> u64 {
    let (at, n) = (at & 0xff, n & 0xff);
    let top = width - 1;
    let sign_at = if n == 0 { 0 } else { (at + n - 1).min(top) };
    let sign = signed && n > 0 && a >> sign_at & 1 == 1;
    let bit = |i: u32| match i < n && at + i <= top {
        true => a >> (at + i) & 1 == 1,
        false => sign,
    };
    (0..width).fold(0, |value, i| value | (bit(i) as u64) << i)
}

/// `bfi`: the low `n` bits of `a` in place of those from `at` on of `b`.
pub fn insert(a: u64, b: u64, at: u32, n: u32, width: u32) -> u64 {
    let (at, n) = (at & 0xff, n & 0xff);
    (0..n)
        .map(|i| (i, at + i))
        .take_while(|(_, to)| *to < width)
        .fold(b, |value, (i, to)| value & !(1 << to) | (a >> i & 1) << to)
}

/// `prmt` in its default mode: each byte of the result is one of the eight, or its sign.
fn permute(a: u32, b: u32, select: u32) -> u32 {
    let bytes = pair(a, b).to_le_bytes();
    let one = |i: u32| {
        let s = select >> (4 * i);
        let byte = bytes[(s & 7) as usize];
        if s & 8 == 0 {
            byte
        } else {
            0u8.wrapping_sub(byte >> 7)
        }
    };
    u32::from_le_bytes([0, 1, 2, 3].map(one))
}

/// `lop3`: any function of three bits, by its truth table.
pub fn lookup(a: u32, b: u32, c: u32, table: u32) -> u32 {
    (0..8)
        .filter(|row| table >> row & 1 == 1)
        .fold(0, |out, row| {
            let pick = |value: u32, bit: u32| if row >> bit & 1 == 1 { value } else { !value };
            out | pick(a, 2) & pick(b, 1) & pick(c, 0)
        })
}

/// Comparisons.
pub fn compare(op: &str, ty: Type) -> Option<Compare> {
    let ty = match (op, ty) {
        ("lo" | "ls" | "hi" | "hs", Type::S(n)) => Type::U(n),
        _ => ty,
    };
    Some(match op {
        "eq" => for_bits!(ty, cmp, |a, b| a == b),
        "ne" => for_bits!(ty, cmp, |a, b| a != b),
        "lt" | "lo" => for_integers!(ty, cmp, |a, b| a < b),
        "le" | "ls" => for_integers!(ty, cmp, |a, b| a <= b),
        "gt" | "hi" => for_integers!(ty, cmp, |a, b| a > b),
        "ge" | "hs" => for_integers!(ty, cmp, |a, b| a >= b),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run2(name: &str, ty: Type, a: u64, b: u64) -> u64 {
        let mut d = Lanes::all(0);
        two(name, ty).unwrap()(&mut d, &Lanes::all(a), &Lanes::all(b));
        d.0[7]
    }

    #[test]
    fn shifts_divisions_and_high_products() {
        assert_eq!(run2("shl", Type::B(32), 1, 32), 0);
        assert_eq!(run2("shr", Type::S(32), 0x8000_0000, 99), 0xffff_ffff);
        assert_eq!(
            run2("div", Type::S(32), (-7i32) as u32 as u64, 2),
            (-3i32) as u32 as u64
        );
        assert_eq!(run2("div", Type::U(32), 7, 0), 0xffff_ffff);
        assert_eq!(
            run2("mul.hi", Type::S(32), (-2i32) as u32 as u64, 3),
            0xffff_ffff
        );
        assert_eq!(
            run2("mul.wide", Type::S(32), (-2i32) as u32 as u64, 3),
            (-6i64) as u64
        );
    }

    #[test]
    fn products_of_parts_and_bits_by_number() {
        let run = |name: &str, a, b, c| {
            let mut d = Lanes::all(0);
            three(name, Type::U(32)).unwrap()(
                &mut d,
                &Lanes::all(a),
                &Lanes::all(b),
                &Lanes::all(c),
            );
            d.0[3]
        };
        assert_eq!(
            run("dp2a.lo.u32.u32", 0x0002_0003, 0x0706_0504, 1),
            3 * 4 + 2 * 5 + 1
        );
        assert_eq!(
            run("dp2a.hi.u32.u32", 0x0002_0003, 0x0706_0504, 1),
            3 * 6 + 2 * 7 + 1
        );
        assert_eq!(
            run("dp2a.lo.s32.s32", 0xffff_0003, 0x0000_ff04, 0),
            3 * 4 + 1
        );
        assert_eq!(
            run("dp2a.hi.s32.u32", 0xfffe_0000, 0xff00_0000, 9) as u32,
            (9 - 2 * 255) as u32
        );
        let halves = |name, a, b| {
            let mut d = Lanes::all(0);
            two_of_halves(name).unwrap()(&mut d, &Lanes::all(a), &Lanes::all(b));
            d.0[9]
        };
        assert_eq!(halves("add.s16x2", 0xffff_0001, 0x0002_ffff), 0x0001_0000);
        assert_eq!(halves("max.s16x2", 0xffff_0001, 0x0002_ffff), 0x0002_0001);
        assert_eq!(halves("min.u16x2", 0xffff_0001, 0x0002_ffff), 0x0002_0001);
        assert_eq!(
            halves("min.relu.s16x2", 0xffff_0007, 0x0002_0008),
            0x0000_0007
        );
        // As in PTX's own examples: forward, backward, the bit itself, none.
        for (base, n, found) in [
            (0, 1, 1),
            (3, 1, 3),
            (3, 2, 15),
            (4, 1, 15),
            (4, -1, 3),
            (4, -3, u32::MAX),
            (15, 0, 15),
            (2, 0, u32::MAX),
            (40, 1, u32::MAX),
            (40, -1, u32::MAX),
        ] {
            assert_eq!(
                run("fns", 0x800a, base, n as u32 as u64),
                u64::from(found),
                "{base} {n}"
            );
        }
    }

    #[test]
    fn fields_and_bytes() {
        assert_eq!(extract(0xabcd, 32, 4, 8, false), 0xbc);
        assert_eq!(extract(0xabcd, 32, 4, 8, true), 0xffff_ffbc);
        assert_eq!(extract(0x8000_0000, 32, 28, 16, true), 0xffff_fff8);
        assert_eq!(insert(0xf, 0, 30, 4, 32), 0xc000_0000);
        assert_eq!(permute(0x8033_2211, 0x7766_5544, 0x0123), 0x1122_3380);
        assert_eq!(permute(0x8033_2211, 0, 0xb000), 0xff11_1111);
        assert_eq!(lookup(0b1100, 0b1010, 0b1111, 0xc0) & 0xf, 0b1000);
        assert_eq!(mask_of(4, 8), 0xff0);
        assert_eq!(mask_of(30, 99), 0xc000_0000);
    }
}
