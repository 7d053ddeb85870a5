//! Instructions that move values: loads, stores, atomics, addresses, packing.

use super::build::{Builder, Built};
use super::lanes::{one, two, One, Two};
use super::*;
use crate::ptx::{Operand, Space, Type};

/// An atomic operation's meaning.
pub fn update(name: &str) -> Option<Update> {
    Some(match name {
        "exch" => Update::Exchange,
        "cas" => Update::Compare,
        "add" => Update::Add,
        "min" => Update::Min,
        "max" => Update::Max,
        "and" => Update::And,
        "or" => Update::Or,
        "xor" => Update::Xor,
        "inc" => Update::Inc,
        "dec" => Update::Dec,
        _ => return None,
    })
}

/// The state space that an instruction names.
fn space(name: &[&str]) -> Space {
    let named = |part: &&str| {
        Some(match part.split("::").next()? {
            "global" => Space::Global,
            "const" => Space::Const,
            "shared" => Space::Shared,
            "local" => Space::Local,
            "param" => Space::Param,
            _ => return None,
        })
    };
    name.iter().find_map(named).unwrap_or(Space::Generic)
}

fn type_of(name: &[&str]) -> Built<Type> {
    let ty = name.last().and_then(|t| Type::named(t));
    ty.ok_or_else(|| "its type is not known".into())
}

impl<'a> Builder<'_, 'a> {
    /// Makes such an instruction; false: it is none.
    pub(super) fn memory(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<bool> {
        match (name[0], operands) {
            ("ld" | "ldu", [d, at, ..]) => self.load(name, d, at)?,
            ("st", [at, values, ..]) => self.store(name, at, values)?,
            ("atom", [d, at, values @ ..]) => self.atomic(name, Some(d), at, values)?,
            ("red", [at, values @ ..]) => self.atomic(name, None, at, values)?,
            ("cvta", [d, a]) => self.change_space(name, d, a)?,
            ("isspacep", [p, a]) => {
                let (p, a) = (self.test(p)?.pred, self.source(a, Type::U(64))?);
                self.step(Op::Within(p, a, space(name)));
            }
            ("mov", [d, a]) => self.move_value(name, d, a)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn place_of(&mut self, name: &[&str], at: &Operand<'a>) -> Built<Address> {
        match at {
            Operand::Address(base, offset) => self.address(base, *offset, space(name)),
            _ => Err("an address is expected".into()),
        }
    }

    fn load(&mut self, name: &[&str], d: &Operand<'a>, at: &Operand<'a>) -> Built<()> {
        let ty = type_of(name)?;
        let at = self.place_of(name, at)?;
        let all = match d {
            Operand::Vector(all) => &all[..],
            one => std::slice::from_ref(one),
        };
        let targets = all
            .iter()
            .map(|d| self.target(d))
            .collect::<Built<Vec<_>>>()?;
        let extend = match (ty, targets.iter().flatten().next()) {
            (Type::S(n), Some((_, bits))) if *bits > n.into() => *bits as u8,
            _ => 0,
        };
        if ty.bits() > 64 {
            return Err("values of 128 bits are not there".into());
        }
        let d = targets.into_iter().map(|t| t.map(|t| t.0)).collect();
        self.step(Op::Load {
            at,
            bytes: ty.bytes() as u8,
            extend,
            d,
        });
        Ok(())
    }

    fn store(&mut self, name: &[&str], at: &Operand<'a>, values: &Operand<'a>) -> Built<()> {
        let ty = type_of(name)?;
        let at = self.place_of(name, at)?;
        if ty.bits() > 64 {
            return Err("values of 128 bits are not there".into());
        }
        let all = match values {
            Operand::Vector(all) => &all[..],
            one => std::slice::from_ref(one),
        };
        let values = all
            .iter()
            .map(|v| self.source(v, ty))
            .collect::<Built<_>>()?;
        self.step(Op::Store {
            at,
            bytes: ty.bytes() as u8,
            values,
        });
        Ok(())
    }

    fn atomic(
        &mut self,
        name: &[&str],
        result: Option<&Operand<'a>>,
        at: &Operand<'a>,
        values: &[Operand<'a>],
    ) -> Built<()> {
        let ty = type_of(name)?;
        let update = name
            .iter()
            .skip(1)
            .find_map(|n| update(n))
            .ok_or("its operation is not known")?;
        let at = self.place_of(name, at)?;
        let known = match ty {
            Type::B(n) | Type::U(n) | Type::S(n) => {
                n == 32 || n == 64 || (n == 16 && update == Update::Compare)
            }
            Type::F(_) | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => update == Update::Add,
            Type::Pred => false,
        };
        if !known {
            return Err("it is not there for this type".into());
        }
        if let [Operand::Vector(values)] = values {
            return self.atomic_vector(at, ty, update, result, values);
        }
        let d = result
            .map(|d| self.target(d))
            .transpose()?
            .flatten()
            .map(|t| t.0);
        let (b, c) = match values {
            [b] => (self.source(b, ty)?, self.constant(0)),
            [b, c] => (self.source(b, ty)?, self.source(c, ty)?),
            _ => return Err("operands are missing".into()),
        };
        self.step(Op::Atomic {
            at,
            ty,
            update,
            d,
            b,
            c,
        });
        Ok(())
    }

    /// Of a vector each part is updated by itself.
    fn atomic_vector(
        &mut self,
        at: Address,
        ty: Type,
        update: Update,
        result: Option<&Operand<'a>>,
        values: &[Operand<'a>],
    ) -> Built<()> {
        let results = match result {
            Some(Operand::Vector(all)) if all.len() == values.len() => &all[..],
            None => &[],
            _ => return Err("there are not as many results as values".into()),
        };
        // A result may be the register of an address or of a value that is still wanted.
        let mut old = Vec::new();
        for (i, b) in values.iter().enumerate() {
            let at = Address {
                offset: at.offset + (i * ty.bytes()) as i64,
                ..at
            };
            old.push(self.fresh());
            let (d, b, c) = (old.last().copied(), self.source(b, ty)?, self.constant(0));
            self.step(Op::Atomic {
                at,
                ty,
                update,
                d,
                b,
                c,
            });
        }
        for (result, old) in results.iter().zip(old) {
            let d = self.register(result)?;
            self.copy(d, old);
        }
        Ok(())
    }

    /// Only shared memory has addresses of its own: see `code`.
    fn change_space(&mut self, name: &[&str], d: &Operand<'a>, a: &Operand<'a>) -> Built<()> {
        let back = name.contains(&"to");
        let a = self.source(a, Type::U(64))?;
        let d = self.register(d)?;
        if space(name) == Space::Shared {
            let base = self.fresh();
            self.step(Op::Ask(base, Special::SharedBase));
            let f: Two = match back {
                true => two!(u64, |a, base| a.wrapping_sub(base)),
                false => two!(u64, |a, base| a.wrapping_add(base)),
            };
            self.step(Op::Two(f, d, [a, base]));
        } else {
            self.copy(d, a);
        }
        Ok(())
    }

    fn copy(&mut self, d: Slot, a: Slot) {
        let f: One = one!(u64 => u64, |a| a);
        self.step(Op::One(f, d, a));
    }

    /// `mov` of a value, of an address, of a predicate; packing and unpacking.
    fn move_value(&mut self, name: &[&str], d: &Operand<'a>, a: &Operand<'a>) -> Built<()> {
        let ty = type_of(name)?;
        match (d, a) {
            (d, Operand::Int(value)) if ty == Type::Pred => {
                let p = self.test(d)?.pred;
                let [is, not] = [false, true].map(|not| Test { pred: p, not });
                let how = if *value == 0 { Bool::And } else { Bool::Or };
                self.step(Op::Logic(how, p, is, not));
            }
            (_, _) if ty == Type::Pred => {
                let (p, a) = (self.test(d)?.pred, self.test(a)?);
                self.step(Op::Copy(p, a));
            }
            (Operand::Vector(parts), _) => {
                let bits = ty.bits() / parts.len() as u32;
                let a = self.source(a, ty)?;
                let parts = parts
                    .iter()
                    .map(|d| Ok(self.target(d)?.map(|t| t.0)))
                    .collect::<Built<_>>()?;
                self.step(Op::Unpack(bits, parts, a));
            }
            (_, Operand::Vector(parts)) if ty.bits() <= 64 => {
                let bits = ty.bits() / parts.len() as u32;
                let parts = parts
                    .iter()
                    .map(|a| self.source(a, Type::B(bits as u8)))
                    .collect::<Built<_>>()?;
                let d = self.register(d)?;
                self.step(Op::Pack(bits, d, parts));
            }
            _ if ty.bits() > 64 => return Err("values of 128 bits are not there".into()),
            _ => {
                let a = self.source(a, ty)?;
                let d = self.register(d)?;
                self.copy(d, a);
            }
        }
        Ok(())
    }
}
