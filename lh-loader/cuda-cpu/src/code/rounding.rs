//! Arithmetic that is rounded down, up or towards zero.
//!
//! The result to the nearest is a neighbour of the right one at the most, and the sign of what is left over tells which it is.
//! For single precision that is exact in double precision; for double precision it is computed from sums of two numbers, which
//! are exact but where a part is less than the least normal number.

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

/// A number with the sign of a sum, of which the first two nearly cancel each other.
fn sign(a: f64, b: f64, c: f64, d: f64) -> f64 {
    let (x, y) = sum(a, b);
    let (u, v) = sum(c, d);
    let (high, low) = sum(x, u);
    if high == 0.0 || !high.is_finite() {
        high + (low + y + v)
    } else {
        high
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
    ($t:ty, $flush:expr, $fma:expr) => {
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
                    false => $fma(a.into(), b.into(), c.into(), r.into()),
                };
                (r, over)
            }

            fn quotient(a: $t, b: $t) -> ($t, f64) {
                let r = a / b;
                let finite = a.is_finite() && b != 0.0;
                let over = match r.is_infinite() {
                    true => f64::from(u8::from(finite)),
                    false => (-f64::from(r)).mul_add(b.into(), a.into()) * f64::from(b.signum()),
                };
                (r, over)
            }

            fn root(a: $t) -> ($t, f64) {
                let r = a.sqrt();
                (r, (-f64::from(r)).mul_add(r.into(), a.into()))
            }
        }
    };
}
number!(f32, flush, |a: f64, b: f64, c, r: f64| sign(
    a * b,
    c,
    -r,
    0.0
));
number!(f64, |a| a, |a: f64, b: f64, c, r: f64| {
    let product = a * b;
    let (s, t) = sum(product, c);
    sign(s, -r, t, a.mul_add(b, -product))
});

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

    #[test]
    fn nothing_has_a_sign() {
        let [down, up, zero] = around::<f32>(Type::F(32), "add", 1.0, -1.0, 0.0);
        assert!(down.is_sign_negative() && up.is_sign_positive() && zero.is_sign_positive());
        let [down, ..] = around::<f32>(Type::F(32), "mul", 0.0, 5.0, 0.0);
        assert!(down.is_sign_positive());
    }
}
