//! Instructions that compute.

use super::build::{Builder, Built};
use super::float::Mode;
use super::lanes::{Compare, Three};
use super::*;
use super::{convert, float, integer, rounding};
use crate::ptx::{Operand, Type};

/// Parts of names that say nothing to us: rounding to nearest, how exact an approximation may be.
const SILENT: &[&str] = &["rn", "approx", "full", "uni", "relaxed"];

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F(_) | Type::Bf16 | Type::F16x2 | Type::Bf16x2)
}

fn bool_named(name: &str) -> Option<Bool> {
    Some(match name {
        "and" => Bool::And,
        "or" => Bool::Or,
        "xor" => Bool::Xor,
        _ => return None,
    })
}

/// A name without its types and modifiers: the key of the tables, and the mode.
fn key(name: &[&str]) -> (String, Mode) {
    let mut mode = Mode::default();
    let last = name.iter().filter(|p| Type::named(p).is_some()).count();
    let mut kept = Vec::new();
    let float = name
        .iter()
        .filter_map(|p| Type::named(p))
        .next_back()
        .is_some_and(is_float);
    for part in name {
        match *part {
            "ftz" => mode.flush = true,
            "sat" if float => mode.saturate = true,
            _ if SILENT.contains(part) => (),
            _ if float && rounding::way(&[*part]).is_some() => (),
            _ if last > 0 && Type::named(part).is_some() => (),
            _ => kept.push(*part),
        }
    }
    (kept.join("."), mode)
}

impl<'a> Builder<'_, 'a> {
    /// Makes such an instruction; false: it is none.
    pub(super) fn arithmetic(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<bool> {
        if let ([d, a, b], Some(f)) = (operands, integer::two_of_halves(&name.join("."))) {
            let int = Type::B(32);
            let (a, b) = (self.source(a, int)?, self.source(b, int)?);
            let d = self.register(d)?;
            self.step(Op::Two(f, d, [a, b]));
            return Ok(true);
        }
        let types: Vec<Type> = name.iter().filter_map(|p| Type::named(p)).collect();
        let Some(ty) = types.first().copied() else {
            return Ok(false);
        };
        match (name[0], operands) {
            ("setp", _) => self.compare(name, ty, operands)?,
            ("set", _) => self.set(name, &types, operands)?,
            ("selp", [d, a, b, p]) => {
                let (a, b, p) = (self.source(a, ty)?, self.source(b, ty)?, self.test(p)?);
                let d = self.register(d)?;
                self.step(Op::Select(d, [a, b], p));
            }
            ("cvt", _) => self.convert(&name[1..], &types, operands)?,
            ("and" | "or" | "xor" | "not", _) if ty == Type::Pred => {
                self.logic(name[0], operands)?
            }
            ("testp", [p, a]) => {
                let f = float::test(name[1], ty).ok_or("it is not there for this type")?;
                let (p, a) = (self.test(p)?.pred, self.source(a, ty)?);
                self.step(Op::Compare {
                    f,
                    p: Some(p),
                    q: None,
                    a: [a, a],
                    with: None,
                });
            }
            ("add" | "addc" | "sub" | "subc", [d, a, b])
                if name.contains(&"cc") || name[0].ends_with('c') =>
            {
                let a = [self.source(a, ty)?, self.source(b, ty)?];
                let (subtract, take, give) = (
                    name[0].starts_with("sub"),
                    name[0].ends_with('c'),
                    name.contains(&"cc"),
                );
                let d = self.register(d)?;
                self.step(Op::AddCarry {
                    bits: ty.bits(),
                    subtract,
                    take,
                    give,
                    d,
                    a,
                });
            }
            ("mad" | "madc", [d, a, b, c]) if name.contains(&"cc") || name[0] == "madc" => {
                let a = [
                    self.source(a, ty)?,
                    self.source(b, ty)?,
                    self.source(c, ty)?,
                ];
                let (take, give, high) = (
                    name[0] == "madc",
                    name.contains(&"cc"),
                    name.contains(&"hi"),
                );
                let signed = matches!(ty, Type::S(_));
                let d = self.register(d)?;
                self.step(Op::MadCarry {
                    bits: ty.bits(),
                    high,
                    signed,
                    take,
                    give,
                    d,
                    a,
                });
            }
            ("bfi", [d, a, b, at, n]) => {
                let int = Type::U(32);
                let a = [
                    self.source(a, ty)?,
                    self.source(b, ty)?,
                    self.source(at, int)?,
                    self.source(n, int)?,
                ];
                let d = self.register(d)?;
                self.step(Op::Insert(ty.bits(), d, a));
            }
            ("lop3", [d, a, b, c, table]) if name == ["lop3", "b32"] => {
                let all = [
                    self.source(a, ty)?,
                    self.source(b, ty)?,
                    self.source(c, ty)?,
                    self.source(table, ty)?,
                ];
                let d = self.register(d)?;
                self.step(Op::Lookup(d, all));
            }
            _ => return self.by_table(name, &types, operands),
        }
        Ok(true)
    }

    /// The instructions that are one function of lanes.
    fn by_table(&mut self, name: &[&str], types: &[Type], operands: &[Operand<'a>]) -> Built<bool> {
        let (key, mode) = key(name);
        let ty = types[0];
        let way = rounding::way(name).filter(|_| is_float(ty));
        match operands {
            [d, a] => {
                let ty = if name[0] == "bfind" {
                    types[types.len() - 1]
                } else {
                    ty
                };
                let f = match way {
                    Some(way) => rounding::one(&key, ty, mode, way),
                    None if is_float(ty) => float::one(&key, ty, mode),
                    None => integer::one(&key, ty),
                };
                let Some(f) = f else { return Ok(false) };
                let a = self.source(a, ty)?;
                let d = self.register(d)?;
                self.step(Op::One(f, d, a));
            }
            [d, a, b] => {
                let f = match way {
                    Some(way) => rounding::two(&key, ty, mode, way),
                    None if is_float(ty) => float::two(&key, ty, mode),
                    None => integer::two(&key, ty),
                };
                let Some(f) = f else { return Ok(false) };
                let second = if matches!(name[0], "shl" | "shr") {
                    Type::U(32)
                } else {
                    ty
                };
                let (a, b) = (self.source(a, ty)?, self.source(b, second)?);
                let d = self.register(d)?;
                self.step(Op::Two(f, d, [a, b]));
            }
            [d, a, b, c] => {
                let found = match (way, &key[..]) {
                    (Some(way), "fma" | "mad") => {
                        rounding::three(ty, mode, way).map(|f| (f, [ty; 3]))
                    }
                    (Some(_), _) => None,
                    (None, _) => three_named(&key, types, mode),
                };
                let Some((f, kinds)) = found else {
                    return Ok(false);
                };
                let a = [
                    self.source(a, kinds[0])?,
                    self.source(b, kinds[1])?,
                    self.source(c, kinds[2])?,
                ];
                let d = self.register(d)?;
                self.step(Op::Three(f, d, a));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `and.pred p, a, b`, `not.pred p, a`
    fn logic(&mut self, name: &str, operands: &[Operand<'a>]) -> Built<()> {
        match operands {
            [p, a] => {
                let (p, a) = (self.test(p)?.pred, self.test(a)?);
                self.step(Op::Copy(p, Test { not: !a.not, ..a }));
            }
            [p, a, b] => {
                let (p, a, b) = (self.test(p)?.pred, self.test(a)?, self.test(b)?);
                let how = bool_named(name).ok_or("operands are missing")?;
                self.step(Op::Logic(how, p, a, b));
            }
            _ => return Err("operands are missing".into()),
        }
        Ok(())
    }

    /// The comparison that a name asks for.
    fn comparison(&self, name: &[&str], ty: Type) -> Built<Compare> {
        let mode = key(name).1;
        let f = match is_float(ty) {
            true => float::compare(name[1], ty, mode),
            false => integer::compare(name[1], ty),
        };
        f.ok_or_else(|| "this comparison is not there for this type".into())
    }

    /// `setp.lt.s32 p|q, a, b`, `setp.lt.and.s32 p, a, b, c`
    fn compare(&mut self, name: &[&str], ty: Type, operands: &[Operand<'a>]) -> Built<()> {
        let [targets, a, b, rest @ ..] = operands else {
            return Err("operands are missing".into());
        };
        let a = [self.source(a, ty)?, self.source(b, ty)?];
        let named = |b: &Self, name: &str| match name {
            "_" => Ok(None),
            _ => b.predicate(name).map(Some),
        };
        let (p, q) = match targets {
            Operand::Both(p, q) => (named(self, p)?, named(self, q)?),
            Operand::Name(p, "") => (named(self, p)?, None),
            _ => return Err("a predicate is expected".into()),
        };
        let with = self.combined(name, rest)?;
        let half = match ty {
            Type::F16x2 => Type::F(16),
            Type::Bf16x2 => Type::Bf16,
            _ => {
                let f = self.comparison(name, ty)?;
                self.step(Op::Compare { f, p, q, a, with });
                return Ok(());
            }
        };
        // One predicate is for the lower half, the other for the upper one.
        let f = self.comparison(name, half)?;
        let [a, b] = a.map(|whole| self.halves(whole));
        for (i, p) in [p, q].into_iter().enumerate() {
            let (q, a) = (None, [a[i], b[i]]);
            self.step(Op::Compare { f, p, q, a, with });
        }
        Ok(())
    }

    fn combined(&self, name: &[&str], rest: &[Operand]) -> Built<Option<(Bool, Test)>> {
        match (name.get(2).and_then(|n| bool_named(n)), rest) {
            (Some(how), [with]) => Ok(Some((how, self.test(with)?))),
            (None, []) => Ok(None),
            _ => Err("a predicate is missing".into()),
        }
    }

    /// `set.lt.u32.f32 d, a, b`
    fn set(&mut self, name: &[&str], types: &[Type], operands: &[Operand<'a>]) -> Built<()> {
        let ([d, a, b, rest @ ..], [to, ty]) = (operands, types) else {
            return Err("operands are missing".into());
        };
        let with = self.combined(name, rest)?;
        let half = match ty {
            Type::F16x2 => Type::F(16),
            Type::Bf16x2 => Type::Bf16,
            other => *other,
        };
        let f = self.comparison(name, half)?;
        let a = [self.source(a, *ty)?, self.source(b, *ty)?];
        let d = self.register(d)?;
        let one = match to {
            Type::F(32) => 1f32.to_bits().into(),
            Type::F(16) | Type::F16x2 => 0x3c00,
            Type::Bf16 | Type::Bf16x2 => 0x3f80,
            _ => u64::MAX >> (64 - to.bits()),
        };
        if half == *ty {
            self.step(Op::Set { f, d, one, a, with });
            return Ok(());
        }
        // Each half for itself.
        let [a, b] = a.map(|whole| self.halves(whole));
        let parts = [0, 1].map(|i| {
            let (d, a, one) = (self.fresh(), [a[i], b[i]], one & 0xffff);
            self.step(Op::Set { f, d, one, a, with });
            d
        });
        self.step(Op::Pack(16, d, parts.into()));
        Ok(())
    }

    /// The halves of a register, the lower first.
    fn halves(&mut self, whole: Slot) -> [Slot; 2] {
        let parts = [self.fresh(), self.fresh()];
        self.step(Op::Unpack(16, parts.map(Some).into(), whole));
        parts
    }

    fn convert(&mut self, name: &[&str], types: &[Type], operands: &[Operand<'a>]) -> Built<()> {
        if let (["rna", "tf32", "f32"], [d, a]) = (name, operands) {
            let (a, d) = (self.source(a, Type::B(32))?, self.register(d)?);
            self.step(Op::One(convert::to_tf32(), d, a));
            return Ok(());
        }
        if self.convert_packed(name, operands)? {
            return Ok(());
        }
        let ([d, a], [to, from]) = (operands, types) else {
            return Err("this conversion is not there yet".into());
        };
        let a = self.source(a, *from)?;
        let Some((d, bits)) = self.target(d)? else {
            return Ok(());
        };
        match convert::quick(name) {
            Some(f) if bits == to.bits() => self.step(Op::One(f, d, a)),
            _ => {
                let convert = Convert::named(name).ok_or("this conversion is not there yet")?;
                self.step(Op::Convert(convert.into_register(bits), d, a));
            }
        }
        Ok(())
    }
}

/// A function of three operands, and the operands' types.
fn three_named(key: &str, types: &[Type], mode: Mode) -> Option<(Three, [Type; 3])> {
    let ty = types[0];
    let int = Type::U(32);
    let all = [ty; 3];
    Some(match key {
        "fma" | "mad" if is_float(ty) => (float::fma(ty, mode)?, all),
        "fma.relu" => return None,
        "mad.wide" => {
            let wide = match ty {
                Type::S(n) => Type::S(n * 2),
                _ => Type::U(ty.bits() as u8 * 2),
            };
            (integer::three(key, ty)?, [ty, ty, wide])
        }
        "bfe" => (integer::three(key, ty)?, [ty, int, int]),
        "slct" => {
            let by = types[1];
            let key = if by == Type::F(32) {
                "slct.f32"
            } else {
                "slct.s32"
            };
            (integer::three(key, ty)?, [ty, ty, by])
        }
        "fns" => (integer::three(key, int)?, all),
        "dp4a" | "dp2a.lo" | "dp2a.hi" => {
            let named = |t: &Type| {
                if matches!(t, Type::S(_)) {
                    "s32"
                } else {
                    "u32"
                }
            };
            let key = format!("{key}.{}.{}", named(&types[0]), named(types.get(1)?));
            (integer::three(&key, int)?, [int; 3])
        }
        _ => (integer::three(key, ty)?, all),
    })
}
