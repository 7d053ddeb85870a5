//! Matrices that the threads of a warp have together.

use super::block::Around;
use super::data::address;
use super::warp::{Frame, Warp};
use super::Cause;
use crate::code::lanes::WARP;
use crate::code::Half as _;
use crate::code::*;
use half::{bf16, f16};

/// Matrices that `ldmatrix` moves: rows, and bytes of a row.
const ROWS: usize = 8;
const ROW: u64 = 16;

/// The row and the column of a part of a register of a thread.
fn place(f: &Fragment, lane: usize, register: usize, part: usize) -> [usize; 2] {
    let parts = f.element.in_register();
    let [rows, columns] = f.size;
    if !f.known {
        let i = (lane * f.slots.len() + register) * parts + part;
        let i = i % (rows * columns);
        return [i / columns, i % columns];
    }
    let (group, thread) = (lane / 4, lane % 4);
    // As the PTX ISA's figures have it: four threads share a row of the left, a column of the right.
    let along = |register: usize| thread * parts + part + 4 * parts * register;
    match f.factor {
        Factor::A if rows == 16 => [group + 8 * (register % 2), along(register / 2)],
        Factor::A => [group, along(register)],
        Factor::B => [along(register), group],
        Factor::C => {
            let i = register * parts + part;
            [group + 8 * (i / 2), 2 * thread + i % 2]
        }
    }
}

/// All elements of a fragment, by place: lane, register, part.
fn each(f: &Fragment) -> impl Iterator<Item = (usize, usize, usize, [usize; 2])> + '_ {
    let parts = f.element.in_register();
    let all = (0..WARP).flat_map(move |lane| (0..f.slots.len()).map(move |r| (lane, r)));
    all.flat_map(move |(lane, r)| (0..parts).map(move |p| (lane, r, p, place(f, lane, r, p))))
}

/// A part of a register.
fn part_of(word: u64, element: Element, part: usize) -> u64 {
    let bits = 8 * element.bytes() as u32;
    word >> (bits * part as u32) & u64::MAX >> (64 - bits)
}

/// An element as a number.
trait Number: std::marker::Copy + Default {
    fn from(bits: u64, element: Element) -> Self;
    fn bits(self, element: Element, saturate: bool) -> u64;
    fn plus(self, a: Self, b: Self) -> Self;
}

impl Number for f64 {
    fn from(bits: u64, element: Element) -> f64 {
        match element {
            Element::F16 => f16::from_bits(bits as u16).to_f64(),
            Element::Bf16 => bf16::from_bits(bits as u16).to_f64(),
            Element::Tf32 => f32::from_bits(bits as u32 & !0x1fff).into(),
            Element::F64 => f64::from_bits(bits),
            _ => f32::from_bits(bits as u32).into(),
        }
    }

    fn bits(self, element: Element, _: bool) -> u64 {
        match element {
            Element::F16 => f16::nearest(self).to_bits().into(),
            Element::Bf16 => bf16::nearest(self).to_bits().into(),
            Element::F64 => self.to_bits(),
            _ => (self as f32).to_bits().into(),
        }
    }

    fn plus(self, a: f64, b: f64) -> f64 {
        a.mul_add(b, self)
    }
}

impl Number for i64 {
    fn from(bits: u64, element: Element) -> i64 {
        match element {
            Element::S8 => (bits as i8).into(),
            Element::U8 => (bits as u8).into(),
            _ => (bits as i32).into(),
        }
    }

    fn bits(self, _: Element, saturate: bool) -> u64 {
        let value = match saturate {
            true => self.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            false => self as i32,
        };
        (value as u32).into()
    }

    fn plus(self, a: i64, b: i64) -> i64 {
        self + a * b
    }
}

/// A fragment's matrix, by rows.
fn matrix<N: Number>(f: &Fragment, frame: &Frame, code: &Code) -> Vec<N> {
    let mut all = vec![N::default(); f.size[0] * f.size[1]];
    for (lane, register, part, [row, column]) in each(f) {
        let word = frame.get(code, f.slots[register]).0[lane];
        let bits = part_of(word, f.element, part);
        all[row * f.size[1] + column] = N::from(bits, f.element);
    }
    all
}

fn product<N: Number>(p: &Product, frame: &mut Frame, code: &Code) {
    let (a, b) = (
        matrix::<N>(&p.a, frame, code),
        matrix::<N>(&p.b, frame, code),
    );
    let mut sums = matrix::<N>(&p.c, frame, code);
    let [[_, inner], [_, columns]] = [p.a.size, p.b.size];
    for (i, sum) in sums.iter_mut().enumerate() {
        let (row, column) = (i / columns, i % columns);
        for k in 0..inner {
            *sum = sum.plus(a[row * inner + k], b[k * columns + column]);
        }
    }
    let bits = |i: usize| sums[i].bits(p.d.element, p.saturate);
    write(&p.d, frame, |[row, column]| bits(row * columns + column));
}

/// Gives a fragment's elements their bits.
fn write(f: &Fragment, frame: &mut Frame, bits: impl Fn([usize; 2]) -> u64) {
    for slot in &f.slots {
        frame.registers[*slot as usize].0.fill(0);
    }
    let width = 8 * f.element.bytes();
    for (lane, register, part, at) in each(f) {
        frame.registers[f.slots[register] as usize].0[lane] |= bits(at) << (width * part);
    }
}

impl Warp {
    /// Does such a step, once all threads are here.
    pub fn matrices(&mut self, op: &Op, code: &Code, around: &mut Around) -> Result<(), Cause> {
        let frame = &mut self.frames[self.groups[0].frame];
        let memory = &mut around.memory;
        match op {
            Op::MatrixProduct(p) => match p.a.element {
                Element::S8 | Element::U8 => product::<i64>(p, frame, code),
                _ => product::<f64>(p, frame, code),
            },
            Op::MatrixMove {
                at,
                fragment: f,
                stride,
                by_columns,
                store,
            } => {
                let bytes = f.element.bytes() as u64;
                let places: Vec<_> = each(f).collect();
                let mut found = vec![0; f.size[0] * f.size[1]];
                for (lane, register, part, [row, column]) in places {
                    let stride = frame.get(code, *stride).0[lane];
                    let (line, within) = match by_columns {
                        true => (column, row),
                        false => (row, column),
                    };
                    let offset = (line as u64 * stride + within as u64) * bytes;
                    let base = frame.get(code, at.base);
                    let place = address(base, lane, at.offset + offset as i64, at.shared);
                    if *store {
                        let word = frame.get(code, f.slots[register]).0[lane];
                        let bits = part_of(word, f.element, part);
                        memory.store(place, bytes, at.shared, bits)?;
                    } else {
                        found[row * f.size[1] + column] = memory.load(place, bytes, at.shared)?;
                    }
                }
                if !store {
                    let columns = f.size[1];
                    write(f, frame, |[row, column]| found[row * columns + column]);
                }
            }
            Op::MatrixRows {
                at,
                slots,
                transposed,
                store,
            } => {
                // It may be one of the registers that are loaded.
                let base = &frame.get(code, at.base).clone();
                for (i, slot) in slots.iter().enumerate() {
                    // Eight threads have the addresses of a matrix's rows.
                    let mut rows = [0; ROWS];
                    for (r, row) in rows.iter_mut().enumerate() {
                        *row = address(base, ROWS * i + r, at.offset, at.shared);
                        memory.at(*row, ROW, at.shared)?;
                    }
                    let mut words = match store {
                        true => *frame.get(code, *slot),
                        false => Default::default(),
                    };
                    for (lane, word) in words.0.iter_mut().enumerate() {
                        for part in 0..2 {
                            let (across, along) = (lane / 4, 2 * (lane % 4) + part);
                            let (row, column) = match transposed {
                                true => (along, across),
                                false => (across, along),
                            };
                            let place = rows[row] + 2 * column as u64;
                            if *store {
                                let bits = *word >> (16 * part) & 0xffff;
                                memory.store(place, 2, at.shared, bits)?;
                            } else {
                                *word |= memory.load(place, 2, at.shared)? << (16 * part);
                            }
                        }
                    }
                    if !store {
                        frame.registers[*slot as usize] = words;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
