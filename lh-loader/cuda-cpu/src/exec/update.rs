//! What atomic instructions make of a value.

use crate::code::Half as _;
use crate::code::Update;
use crate::ptx::Type;
use half::{bf16, f16};

/// The new value of an atomic update.
pub fn updated(ty: Type, how: Update, a: u64, b: u64, c: u64) -> u64 {
    use Update::*;
    let signed = |x: u64| (x << (64 - ty.bits())) as i64 >> (64 - ty.bits());
    let is_signed = matches!(ty, Type::S(_));
    let less = if is_signed {
        signed(b) < signed(a)
    } else {
        b < a
    };
    let mask = u64::MAX >> (64 - ty.bits());
    match (how, ty) {
        (Exchange, _) => b,
        (Compare, _) => {
            if a == b {
                c
            } else {
                a
            }
        }
        (Add, Type::F(32)) => (f32::from_bits(a as u32) + f32::from_bits(b as u32))
            .to_bits()
            .into(),
        (Add, Type::F(64)) => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
        (Add, Type::F(_)) => half_sum(a, b),
        (Add, Type::F16x2) => half_sum(a & 0xffff, b & 0xffff) | half_sum(a >> 16, b >> 16) << 16,
        (Add, Type::Bf16) => bf16_sum(a, b),
        (Add, Type::Bf16x2) => bf16_sum(a & 0xffff, b & 0xffff) | bf16_sum(a >> 16, b >> 16) << 16,
        (Add, _) => a.wrapping_add(b) & mask,
        (Min, _) => {
            if less {
                b
            } else {
                a
            }
        }
        (Max, _) => {
            if less {
                a
            } else {
                b
            }
        }
        (And, _) => a & b,
        (Or, _) => a | b,
        (Xor, _) => a ^ b,
        (Inc, _) => {
            if a >= b {
                0
            } else {
                a + 1
            }
        }
        (Dec, _) => {
            if a == 0 || a > b {
                b
            } else {
                a - 1
            }
        }
    }
}

fn half_sum(a: u64, b: u64) -> u64 {
    let sum = f16::from_bits(a as u16).to_f64() + f16::from_bits(b as u16).to_f64();
    f16::nearest(sum).to_bits().into()
}

fn bf16_sum(a: u64, b: u64) -> u64 {
    let sum = bf16::from_bits(a as u16).to_f64() + bf16::from_bits(b as u16).to_f64();
    bf16::nearest(sum).to_bits().into()
}
