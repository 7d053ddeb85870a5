//! A register of a warp: one value for each of its 32 threads, and functions over them.

use half::{bf16, f16};

/// Threads of a warp.
pub const WARP: usize = 32;

/// One register of all threads of a warp. Narrower values lie in the low bits; the bits above them are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Lanes(pub [u64; WARP]);

impl Lanes {
    /// The same value for all.
    pub const fn all(value: u64) -> Lanes {
        Lanes([value; WARP])
    }

    /// Takes another register's values where the mask says so.
    #[inline(always)]
    pub fn blend(&mut self, other: &Lanes, mask: u32) {
        if mask == u32::MAX {
            *self = *other;
            return;
        }
        for i in 0..WARP {
            let take = 0u64.wrapping_sub((mask >> i & 1) as u64);
            self.0[i] = self.0[i] & !take | other.0[i] & take;
        }
    }
}

/// A type that a lane's bits can be taken for.
pub trait Lane: Copy {
    /// From a lane.
    fn get(bits: u64) -> Self;
    /// To a lane.
    fn put(self) -> u64;
}

macro_rules! integers {
    ($($t:ty as $u:ty),*) => {$(
        impl Lane for $t {
            #[inline(always)]
            fn get(bits: u64) -> Self {
                bits as $t
            }
            #[inline(always)]
            fn put(self) -> u64 {
                self as $u as u64
            }
        }
    )*};
}
integers!(
    u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64
);

macro_rules! floats {
    ($($t:ty as $u:ty),*) => {$(
        impl Lane for $t {
            #[inline(always)]
            fn get(bits: u64) -> Self {
                <$t>::from_bits(bits as $u)
            }
            #[inline(always)]
            fn put(self) -> u64 {
                self.to_bits() as u64
            }
        }
    )*};
}
floats!(f16 as u16, bf16 as u16, f32 as u32, f64 as u64);

/// A value of a function of one register.
pub type One = fn(&mut Lanes, &Lanes);
/// Of two.
pub type Two = fn(&mut Lanes, &Lanes, &Lanes);
/// Of three.
pub type Three = fn(&mut Lanes, &Lanes, &Lanes, &Lanes);
/// A comparison: a bit for each thread.
pub type Compare = fn(&Lanes, &Lanes) -> u32;

/// Does something with each lane of one register.
#[inline(always)]
pub fn map<A: Lane, D: Lane>(d: &mut Lanes, a: &Lanes, f: impl Fn(A) -> D) {
    for i in 0..WARP {
        d.0[i] = f(A::get(a.0[i])).put();
    }
}

/// Of two registers.
#[inline(always)]
pub fn map2<A: Lane, B: Lane, D: Lane>(d: &mut Lanes, a: &Lanes, b: &Lanes, f: impl Fn(A, B) -> D) {
    for i in 0..WARP {
        d.0[i] = f(A::get(a.0[i]), B::get(b.0[i])).put();
    }
}

/// Of three registers.
#[inline(always)]
pub fn map3<A: Lane, B: Lane, C: Lane, D: Lane>(
    d: &mut Lanes,
    a: &Lanes,
    b: &Lanes,
    c: &Lanes,
    f: impl Fn(A, B, C) -> D,
) {
    for i in 0..WARP {
        d.0[i] = f(A::get(a.0[i]), B::get(b.0[i]), C::get(c.0[i])).put();
    }
}

/// Compares two registers.
#[inline(always)]
pub fn mask_where<A: Lane>(a: &Lanes, b: &Lanes, f: impl Fn(A, A) -> bool) -> u32 {
    (0..WARP).fold(0, |mask, i| {
        mask | (f(A::get(a.0[i]), A::get(b.0[i])) as u32) << i
    })
}

/// A function pointer of one register: `one!(u32 => u32, |a| !a)`.
macro_rules! one {
    ($a:ty => $d:ty, |$x:ident| $e:expr) => {{
        fn f(d: &mut Lanes, a: &Lanes) {
            $crate::code::lanes::map::<$a, $d>(d, a, |$x| $e)
        }
        f as One
    }};
}

/// Of two registers of one type: `two!(u32, |a, b| a + b)`; `=> T` where the result has another.
macro_rules! two {
    ($a:ty, |$x:ident, $y:ident| $e:expr) => {
        two!($a, $a => $a, |$x, $y| $e)
    };
    ($a:ty, $b:ty => $d:ty, |$x:ident, $y:ident| $e:expr) => {{
        fn f(d: &mut Lanes, a: &Lanes, b: &Lanes) {
            $crate::code::lanes::map2::<$a, $b, $d>(d, a, b, |$x, $y| $e)
        }
        f as Two
    }};
}

/// Of three.
macro_rules! three {
    ($a:ty, |$x:ident, $y:ident, $z:ident| $e:expr) => {
        three!($a, $a, $a => $a, |$x, $y, $z| $e)
    };
    ($a:ty, $b:ty, $c:ty => $d:ty, |$x:ident, $y:ident, $z:ident| $e:expr) => {{
        fn f(d: &mut Lanes, a: &Lanes, b: &Lanes, c: &Lanes) {
            $crate::code::lanes::map3::<$a, $b, $c, $d>(d, a, b, c, |$x, $y, $z| $e)
        }
        f as Three
    }};
}

/// A comparison.
macro_rules! cmp {
    ($a:ty, |$x:ident, $y:ident| $e:expr) => {{
        fn f(a: &Lanes, b: &Lanes) -> u32 {
            $crate::code::lanes::mask_where::<$a>(a, b, |$x, $y| $e)
        }
        f as Compare
    }};
}

pub(crate) use {cmp, one, three, two};
