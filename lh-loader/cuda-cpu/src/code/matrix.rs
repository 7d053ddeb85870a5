//! Instructions for matrices that a warp has together, some elements in each thread's registers.
//!
//! Where an element of `wmma`'s matrices is nobody is told: it is where it suits us. Where those of `mma` are is written down.

use super::build::{Builder, Built};
use super::*;
use crate::ptx::Operand;

/// What a matrix is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Half precision.
    F16,
    /// Half precision with the range of single.
    Bf16,
    /// Single precision without its last 13 bits.
    Tf32,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// A byte with a sign.
    S8,
    /// A byte.
    U8,
    /// An integer.
    S32,
}

impl Element {
    fn named(name: &str) -> Option<Element> {
        Some(match name {
            "f16" => Element::F16,
            "bf16" => Element::Bf16,
            "tf32" => Element::Tf32,
            "f32" => Element::F32,
            "f64" => Element::F64,
            "s8" => Element::S8,
            "u8" => Element::U8,
            "s32" => Element::S32,
            _ => return None,
        })
    }

    /// Its bytes.
    pub fn bytes(self) -> usize {
        match self {
            Element::S8 | Element::U8 => 1,
            Element::F16 | Element::Bf16 => 2,
            Element::Tf32 | Element::F32 | Element::S32 => 4,
            Element::F64 => 8,
        }
    }

    /// How many a register has.
    pub fn in_register(self) -> usize {
        (4 / self.bytes()).max(1)
    }
}

/// Which matrix of a product it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// The left one.
    A,
    /// The right one.
    B,
    /// What is added, and the result.
    C,
}

/// A matrix in the registers of a warp.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Which it is.
    pub factor: Factor,
    /// Its rows and columns.
    pub size: [usize; 2],
    /// What it is made of.
    pub element: Element,
    /// Its elements are where `mma` says.
    pub known: bool,
    /// The registers.
    pub slots: Vec<Slot>,
}

/// A product.
#[derive(Clone, Debug)]
pub struct Product {
    /// The factors.
    pub a: Fragment,
    /// As above.
    pub b: Fragment,
    /// What is added.
    pub c: Fragment,
    /// The result.
    pub d: Fragment,
    /// Integers stop at their ends.
    pub saturate: bool,
}

/// `m16n8k16`
pub fn shape(name: &str) -> Option<[usize; 3]> {
    let (m, rest) = name.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some([m.parse().ok()?, n.parse().ok()?, k.parse().ok()?])
}

/// Shapes of `wmma`, and of `mma` by elements.
const WMMA: &[[usize; 3]] = &[
    [16, 16, 16],
    [32, 8, 16],
    [8, 32, 16],
    [16, 16, 8],
    [8, 8, 4],
];

fn is_there(shape: [usize; 3], a: Element) -> bool {
    use Element::*;
    match a {
        F16 | Bf16 => matches!(shape, [16, 8, 8 | 16]),
        Tf32 => matches!(shape, [16, 8, 4 | 8]),
        F64 => shape == [8, 8, 4],
        S8 | U8 => matches!(shape, [16, 8, 16 | 32] | [8, 8, 16]),
        F32 | S32 => false,
    }
}

fn slots_of<'o, 'a>(operand: &'o Operand<'a>) -> &'o [Operand<'a>] {
    match operand {
        Operand::Vector(all) => all,
        one => std::slice::from_ref(one),
    }
}

impl Fragment {
    /// As many elements as the matrix has are in the registers of 32 threads, some perhaps twice.
    fn checked(self) -> Built<Fragment> {
        let there = self.slots.len() * self.element.in_register() * lanes::WARP;
        let all = self.size[0] * self.size[1];
        let fits = match self.known || self.factor == Factor::C {
            true => there == all,
            false => there.is_multiple_of(all) && there > 0,
        };
        match fits {
            true => Ok(self),
            false => Err("it has another number of registers".into()),
        }
    }
}

impl<'a> Builder<'_, 'a> {
    /// Makes such an instruction; false: it is none.
    pub(super) fn matrix(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<bool> {
        match (name, operands) {
            (["wmma", "load", which, ..], [d, at, stride @ ..]) => {
                self.matrix_moved(name, which, false, d, at, stride)?;
            }
            (["wmma", "store", which, ..], [at, values, stride @ ..]) => {
                self.matrix_moved(name, which, true, values, at, stride)?;
            }
            (["wmma" | "mma", ..], [d, a, b, c]) => self.product(name, [d, a, b, c])?,
            (["ldmatrix", "sync", "aligned", "m8n8", rest @ ..], [d, at]) => {
                self.rows(rest, d, at, false)?;
            }
            (["stmatrix", "sync", "aligned", "m8n8", rest @ ..], [at, values]) => {
                self.rows(rest, values, at, true)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn fragment(
        &mut self,
        operand: &Operand<'a>,
        factor: Factor,
        [m, n, k]: [usize; 3],
        element: Element,
        written: bool,
    ) -> Built<Fragment> {
        let size = match factor {
            Factor::A => [m, k],
            Factor::B => [k, n],
            Factor::C => [m, n],
        };
        let ty = crate::ptx::Type::B(if element == Element::F64 { 64 } else { 32 });
        let each = slots_of(operand).iter().map(|o| match written {
            true => self.register(o),
            false => self.source(o, ty),
        });
        Ok(Fragment {
            factor,
            size,
            element,
            known: false,
            slots: each.collect::<Built<_>>()?,
        })
    }

    /// `wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {…}, [at], stride`, and `wmma.store.d`.
    fn matrix_moved(
        &mut self,
        name: &[&str],
        which: &str,
        store: bool,
        fragment: &Operand<'a>,
        at: &Operand<'a>,
        stride: &[Operand<'a>],
    ) -> Built<()> {
        let factor = match which {
            "a" => Factor::A,
            "b" => Factor::B,
            _ => Factor::C,
        };
        let shape = name.iter().find_map(|n| shape(n));
        let shape = shape.filter(|s| WMMA.contains(s));
        let element = name.last().and_then(|n| Element::named(n));
        let (Some(shape), Some(element)) = (shape, element) else {
            return Err("it is not there for this shape or type".into());
        };
        let fragment = self.fragment(fragment, factor, shape, element, !store)?;
        let by_columns = name.contains(&"col");
        let stride = match stride {
            [stride] => self.source(stride, crate::ptx::Type::U(32))?,
            _ => self.constant(fragment.size[usize::from(!by_columns)] as u64),
        };
        let at = self.place_of(name, at)?;
        self.step(Op::MatrixMove {
            at,
            fragment: Box::new(fragment.checked()?),
            stride,
            by_columns,
            store,
        });
        Ok(())
    }

    /// `wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32`, `mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32`
    fn product(&mut self, name: &[&str], operands: [&Operand<'a>; 4]) -> Built<()> {
        let known = name[0] == "mma";
        let shape = name
            .iter()
            .find_map(|n| shape(n))
            .ok_or("it has no shape")?;
        let types: Vec<Element> = name.iter().filter_map(|n| Element::named(n)).collect();
        let [d, a, b, c] = match types[..] {
            [d, c] if !known => [d, Element::F16, Element::F16, c],
            [d, a, b, c] => [d, a, b, c],
            _ => return Err("it is not there for these types".into()),
        };
        let there = match known {
            true => is_there(shape, a) && name[1..].contains(&"row") && name.contains(&"col"),
            false => WMMA.contains(&shape),
        };
        let odd = ["xor", "and", "popc", "sp", "block_scale", "kind::f8f6f4"];
        if !there || a.bytes() != b.bytes() || name.iter().any(|n| odd.contains(n)) {
            return Err("it is not there for this shape or type".into());
        }
        let [to, left, right, more] = operands;
        let mut of = |operand, factor, element, written| {
            let fragment = self.fragment(operand, factor, shape, element, written)?;
            Fragment { known, ..fragment }.checked()
        };
        let product = Product {
            a: of(left, Factor::A, a, false)?,
            b: of(right, Factor::B, b, false)?,
            c: of(more, Factor::C, c, false)?,
            d: of(to, Factor::C, d, true)?,
            saturate: name.contains(&"satfinite"),
        };
        self.step(Op::MatrixProduct(Box::new(product)));
        Ok(())
    }

    /// `ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {…}, [at]`, and `stmatrix`.
    fn rows(
        &mut self,
        name: &[&str],
        registers: &Operand<'a>,
        at: &Operand<'a>,
        store: bool,
    ) -> Built<()> {
        if name.last() != Some(&"b16") {
            return Err("it is not there for this type".into());
        }
        let each = slots_of(registers).iter().map(|o| match store {
            true => self.source(o, crate::ptx::Type::B(32)),
            false => self.register(o),
        });
        let slots = each.collect::<Built<_>>()?;
        let at = self.place_of(name, at)?;
        self.step(Op::MatrixRows {
            at,
            slots,
            transposed: name.contains(&"trans"),
            store,
        });
        Ok(())
    }
}
