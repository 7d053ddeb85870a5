//! Arithmetic that is rounded down, up or towards zero.
//!
//! The result to the nearest is a neighbour of the right one at the most, and the sign of what is left over tells which it is.
//! For single precision that is exact in double precision; for double precision it is computed in whole numbers.

use super::float::{flush, Mode};
use super::lanes::*;
use crate::ptx::Type;

const DOWN: u8 = 0;
const UP: u8 = 1;
const ZERO: u8 = 2;

/// Where an instruction rounds to, by its parts, if not to the nearest.
pub fn way(name: &[&str]) -> Option<u8> {
    name.iter().find_map(|part| match *part {
        "rm" => Some(DOWN),
        "rp" => Some(UP),
        "rz" => Some(ZERO),
        _ => None,
    })
}

/// A sum, and what rounding has left over.
fn sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let part = s - a;
    (s, (a - (s - part)) + (b - part))
}

/// A number with the sign of a sum of products of single precision, of which the first two nearly cancel each other.
fn of_singles(products: [[f64; 2]; 3]) -> f64 {
    let [a, b, c] = products.map(|[x, y]| x * y);
    let (x, y) = sum(a, b);
    let (high, low) = sum(x, c);
    if high == 0.0 || !high.is_finite() {
        high + (low + y)
    } else {
        high
    }
}

/// The sign of a sum of products of double precision, as one whole number of digits of 64 bits.
fn of_doubles(products: [[f64; 2]; 3]) -> f64 {
    // A whole number and a power of two.
    let whole = |x: f64| {
        let (fraction, exponent) = (x.to_bits() & u64::MAX >> 12, x.to_bits() >> 52 & 0x7ff);
        let one = u64::from(exponent > 0) << 52;
        (u128::from(fraction | one), exponent.max(1) as usize)
    };
    if !products.as_flattened().iter().all(|x| x.is_finite()) {
        return 0.0;
    }
    // The powers lie between 2 and 4092.
    let mut digits = [0_i128; 4092 / 64 + 3];
    for [x, y] in products {
        let ((m, e), (n, f)) = (whole(x), whole(y));
        let (product, digit, shift) = (m * n, (e + f) / 64, (e + f) % 64);
        let low = u128::from(product as u64) << shift;
        let high = product >> 64 << shift;
        let three = [low as u64, (low >> 64 | high) as u64, (high >> 64) as u64];
        for (to, part) in digits[digit..].iter_mut().zip(three) {
            let negative = x.is_sign_negative() != y.is_sign_negative();
            *to += if negative { -1 } else { 1 } * i128::from(part);
        }
    }
    let (mut carry, mut any) = (0, false);
    for digit in digits {
        let all = digit + carry;
        (carry, any) = (all >> 64, any | (all as u64 != 0));
    }
    match carry {
        ..0 => -1.0,
        _ => f64::from(u8::from(any)),
    }
}

/// A type that can be rounded in all ways. `over` is what the exact result is more than the one to the nearest, by its sign.
trait Number: Lane + PartialOrd {
    const NOTHING: Self;
    const ONE: Self;
    /// What `.ftz` makes of it.
    fn flushed(self) -> Self;
    /// What `.sat` makes of it.
    fn clamped(self) -> Self;
    fn negative(self) -> bool;
    fn minus(self) -> Self;
    fn rounded(self, way: u8, over: f64) -> Self;
    fn fma(a: Self, b: Self, c: Self) -> (Self, f64);
    fn quotient(a: Self, b: Self) -> (Self, f64);
    fn root(a: Self) -> (Self, f64);
}

macro_rules! number {
    ($t:ty, $flush:expr, $sign:expr) => {
        impl Number for $t {
            const NOTHING: $t = 0.0;
            const ONE: $t = 1.0;

            fn flushed(self) -> $t {
                $flush(self)
            }

            fn clamped(self) -> $t {
                self.max(0.0).min(1.0)
            }

            fn negative(self) -> bool {
                self.is_sign_negative()
            }

            fn minus(self) -> $t {
                -self
            }

            fn rounded(self, way: u8, over: f64) -> $t {
                let down = way == DOWN || way == ZERO && self > 0.0;
                let up = way == UP || way == ZERO && self < 0.0;
                if self.is_infinite() {
                    // Too great a number; else it is exact.
                    let finite = over.is_finite() && over != 0.0;
                    return match self > 0.0 {
                        true if finite && down => <$t>::MAX,
                        false if finite && up => <$t>::MIN,
                        _ => self,
                    };
                }
                if down && over < 0.0 {
                    self.next_down()
                } else if up && over > 0.0 {
                    self.next_up()
                } else {
                    self
                }
            }

            fn fma(a: $t, b: $t, c: $t) -> ($t, f64) {
                let r = a.mul_add(b, c);
                let finite = a.is_finite() && b.is_finite() && c.is_finite();
                let over = match r.is_infinite() {
                    true => f64::from(u8::from(finite)),
                    false => $sign([[a, b], [c, 1.0], [-r, 1.0]].map(|p| p.map(f64::from))),
                };
                (r, over)
            }

            fn quotient(a: $t, b: $t) -> ($t, f64) {
                let r = a / b;
                let finite = a.is_finite() && b != 0.0;
                let over = match r.is_infinite() {
                    true => f64::from(u8::from(finite)),
                    false => {
                        let left = [[a, b.signum()], [-r, b.abs()], [0.0, 0.0]];
                        $sign(left.map(|p| p.map(f64::from)))
                    }
                };
                (r, over)
            }

            fn root(a: $t) -> ($t, f64) {
                let r = a.sqrt();
                let left = [[a, 1.0], [-r, r], [0.0, 0.0]];
                (r, $sign(left.map(|p| p.map(f64::from))))
            }
        }
    };
}
number!(f32, flush, of_singles);
number!(f64, |a| a, of_doubles);

/// The steps before and after an operation.
fn done<T: Number, const N: usize, const WAY: u8, const MODE: u8>(
    given: [T; N],
    operation: impl Fn([T; N]) -> (T, f64),
) -> T {
    let ready = match MODE & 1 {
        0 => given,
        _ => given.map(T::flushed),
    };
    let (nearest, over) = operation(ready);
    let mut result = nearest.rounded(WAY, over);
    if MODE & 1 != 0 {
        result = result.flushed();
    }
    if MODE & 2 != 0 {
        result = result.clamped();
    }
    result
}

/// A product and a sum. A sum that is zero because its parts cancel is negative when it is rounded down.
fn fused<T: Number, const WAY: u8>(a: T, b: T, c: T) -> (T, f64) {
    let (r, over) = T::fma(a, b, c);
    let apart = (a.negative() != b.negative()) != c.negative();
    if WAY == DOWN && apart && r == T::NOTHING && over == 0.0 {
        return (T::NOTHING.minus(), 0.0);
    }
    (r, over)
}

/// Functions for each way and mode, as the names of operations have them.
macro_rules! operations {
    ($($of:ident: $map:ident($($x:ident),*) = $e:expr;)*) => {$(
        fn $of<T: Number, const WAY: u8, const MODE: u8>(d: &mut Lanes, $($x: &Lanes),*) {
            $map(d, $($x,)* |$($x: T),*| {
                done::<T, { [$(stringify!($x)),*].len() }, WAY, MODE>([$($x),*], |[$($x),*]| $e)
            })
        }
    )*};
}

operations! {
    add: map2(a, b) = fused::<T, WAY>(a, T::ONE, b);
    sub: map2(a, b) = fused::<T, WAY>(a, T::ONE, b.minus());
    mul: map2(a, b) = {
        // Nothing of the product's own sign.
        let nothing = if a.negative() == b.negative() { T::NOTHING } else { T::NOTHING.minus() };
        T::fma(a, b, nothing)
    };
    div: map2(a, b) = T::quotient(a, b);
    mad: map3(a, b, c) = fused::<T, WAY>(a, b, c);
    sqrt: map(a) = T::root(a);
    rcp: map(a) = T::quotient(T::ONE, a);
}

macro_rules! pick {
    ($f:ident, $ty:expr, $mode:expr, $way:expr) => {{
        macro_rules! of_mode {
            ($t:ty, $w:expr) => {
                match ($mode.flush, $mode.saturate) {
                    (false, false) => $f::<$t, $w, 0>,
                    (true, false) => $f::<$t, $w, 1>,
                    (false, true) => $f::<$t, $w, 2>,
                    (true, true) => $f::<$t, $w, 3>,
                }
            };
        }
        macro_rules! of_way {
            ($t:ty) => {
                match $way {
                    DOWN => of_mode!($t, DOWN),
                    UP => of_mode!($t, UP),
                    _ => of_mode!($t, ZERO),
                }
            };
        }
        match $ty {
            Type::F(32) => of_way!(f32),
            Type::F(64) => of_way!(f64),
            _ => return None,
        }
    }};
}

/// Functions of one operand.
pub fn one(name: &str, ty: Type, mode: Mode, way: u8) -> Option<One> {
    Some(match name {
        "sqrt" => pick!(sqrt, ty, mode, way),
        "rcp" => pick!(rcp, ty, mode, way),
        _ => return None,
    })
}

/// Functions of two operands.
pub fn two(name: &str, ty: Type, mode: Mode, way: u8) -> Option<Two> {
    Some(match name {
        "add" => pick!(add, ty, mode, way),
        "sub" => pick!(sub, ty, mode, way),
        "mul" => pick!(mul, ty, mode, way),
        "div" => pick!(div, ty, mode, way),
        _ => return None,
    })
}

/// `fma` and `mad`.
pub fn three(ty: Type, mode: Mode, way: u8) -> Option<Three> {
    Some(pick!(mad, ty, mode, way))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits<T: Number>(x: T) -> Lanes {
        Lanes::all(x.put())
    }

    /// The three results of an operation, which lie around the exact one: what `exact` says of it by its sign.
    fn around<T: Number + std::fmt::Debug>(ty: Type, name: &str, a: T, b: T, c: T) -> [T; 3] {
        [DOWN, UP, ZERO].map(|way| {
            let mut d = Lanes::all(0);
            let mode = Mode::default();
            match name {
                "fma" => three(ty, mode, way).unwrap()(&mut d, &bits(a), &bits(b), &bits(c)),
                "sqrt" | "rcp" => one(name, ty, mode, way).unwrap()(&mut d, &bits(a)),
                _ => two(name, ty, mode, way).unwrap()(&mut d, &bits(a), &bits(b)),
            }
            T::get(d.0[5])
        })
    }

    #[test]
    fn singles_lie_around_what_doubles_say() {
        let mut seed = 12345_u64;
        let mut number = || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let small = ((seed >> 40) as i32 - (1 << 23)) as f32;
            small * 2f32.powi((seed >> 33 & 15) as i32 - 8)
        };
        for _ in 0..2000 {
            let (a, b) = (number(), number());
            let [x, y] = [a, b].map(f64::from);
            // Exact, or so near that no single-precision number lies between.
            for (name, exact) in [
                ("add", x + y),
                ("sub", x - y),
                ("mul", x * y),
                ("div", x / y),
            ] {
                let [down, up, zero] = around(Type::F(32), name, a, b, 0.0);
                assert!(f64::from(down) <= exact && f64::from(up) >= exact);
                assert!(down == up || down.next_up() == up, "{name} {a} {b}");
                assert_eq!(zero, if exact > 0.0 { down } else { up });
            }
            let [down, up, _] = around(Type::F(32), "sqrt", a.abs(), b, 0.0);
            assert!(f64::from(down) <= x.abs().sqrt() && f64::from(up) >= x.abs().sqrt());
        }
    }

    #[test]
    fn doubles_are_neighbours_on_the_right_sides() {
        let eps = f64::EPSILON;
        let ty = Type::F(64);
        assert_eq!(
            around(ty, "add", 1.0, eps / 8.0, 0.0),
            [1.0, 1.0 + eps, 1.0]
        );
        assert_eq!(
            around(ty, "add", -1.0, -eps / 8.0, 0.0),
            [-1.0 - eps, -1.0, -1.0]
        );
        assert_eq!(
            around(ty, "fma", 1.0 + eps, 1.0 + eps, 0.0)[0],
            1.0 + 2.0 * eps
        );
        assert_eq!(
            around(ty, "fma", 1.0 + eps, 1.0 + eps, 0.0)[1],
            1.0 + 3.0 * eps
        );
        assert_eq!(
            around(ty, "rcp", 3.0, 0.0, 0.0),
            [1.0 / 3.0, (1.0_f64 / 3.0).next_up(), 1.0 / 3.0]
        );
        assert_eq!(
            around(ty, "mul", f64::MAX, 2.0, 0.0),
            [f64::MAX, f64::INFINITY, f64::MAX]
        );
        assert_eq!(around(ty, "div", 1.0, 0.0, 0.0), [f64::INFINITY; 3]);
    }

    /// Of numbers so small that double precision has no room for what is left over.
    #[test]
    fn small_doubles_lie_around_the_exact_result_too() {
        let ty = Type::F(64);
        let least = f64::from_bits(1);
        let of = |k: u64| f64::from_bits(k);
        for (name, a, b, c, [down, up]) in [
            ("mul", least, 0.5, 0.0, [0, 1]),
            (
                "mul",
                of(0x0010_0000_0000_0001),
                0.5,
                0.0,
                [1 << 51, (1 << 51) + 1],
            ),
            ("mul", 1e-200, 1e-200, 0.0, [0, 1]),
            ("mul", of(1000), 0.25, 0.0, [250, 250]),
            ("div", least, 1e300, 0.0, [0, 1]),
            ("div", of(1000), 3.0, 0.0, [333, 334]),
            ("div", of(1001), -7.0, 0.0, [1 << 63 | 143, 1 << 63 | 143]),
            ("div", of(1000), -7.0, 0.0, [1 << 63 | 143, 1 << 63 | 142]),
            ("fma", 1e-200, 1e-200, of(77), [77, 78]),
            ("fma", 1e-200, -1e-200, of(77), [76, 77]),
            ("fma", 0.5, of(7), of(77), [80, 81]),
            (
                "fma",
                of(0x65f0_0000_0000_0000),
                of(0x19f0_0000_0000_0000),
                least,
                [0x3ff0_0000_0000_0000, 0x3ff0_0000_0000_0001],
            ),
            ("sqrt", of(4), 0.0, 0.0, [0x1e70_0000_0000_0000; 2]),
            (
                "sqrt",
                of(5),
                0.0,
                0.0,
                [0x1e71_e377_9b97_f4a7, 0x1e71_e377_9b97_f4a8],
            ),
        ] {
            let [x, y, zero] = around(ty, name, a, b, c).map(f64::to_bits);
            assert_eq!([x, y], [down, up], "{name} {a} {b} {c}");
            let towards = if f64::from_bits(up) > 0.0 { down } else { up };
            assert_eq!(zero, towards, "{name} {a} {b} {c}");
        }
    }

    #[test]
    fn nothing_has_a_sign() {
        let [down, up, zero] = around::<f32>(Type::F(32), "add", 1.0, -1.0, 0.0);
        assert!(down.is_sign_negative() && up.is_sign_positive() && zero.is_sign_positive());
        let [down, ..] = around::<f32>(Type::F(32), "mul", 0.0, 5.0, 0.0);
        assert!(down.is_sign_positive());
    }
}
