//! A function's statements into steps.

use super::lanes::{one, two, Lanes, One, Two};
use super::scope::{Label, Scopes, Symbol};
use super::*;
use crate::ptx::{Function, Instruction, Operand, Space, Statement, Type, Variable};
use std::collections::HashMap;

/// What an instruction that can't be made into steps is: the text of its error. It only matters if it is run.
pub type Built<T> = Result<T, String>;

/// A function's layout in its frame: parameters, then results.
#[derive(Clone, Debug, Default)]
pub struct Signature {
    /// Offsets and sizes of parameters.
    pub params: Vec<(usize, usize)>,
    /// Of results.
    pub returns: Vec<(usize, usize)>,
    /// Where local variables begin.
    pub end: usize,
}

impl Signature {
    /// The layout of these parameters and results.
    pub fn of(params: &[Variable], returns: &[Variable]) -> Signature {
        let mut end = 0;
        let mut both = |v: &Variable| (place(&mut end, v), v.size());
        let params = params.iter().map(&mut both).collect();
        let returns = returns.iter().map(both).collect();
        Signature {
            params,
            returns,
            end,
        }
    }
}

/// The next multiple of an alignment.
pub fn align(at: usize, to: usize) -> usize {
    at.next_multiple_of(to.max(1))
}

/// Puts a variable behind others that end at `end`, which moves.
pub fn place(end: &mut usize, v: &Variable) -> usize {
    let at = align(*end, v.align);
    *end = at + v.size();
    at
}

/// What a function sees of its module.
pub struct Outside<'a> {
    /// Its variables and functions.
    pub symbols: HashMap<&'a str, Symbol>,
    /// Functions' layouts.
    pub signatures: Vec<Signature>,
    /// Functions of the device's own.
    pub built_in: HashMap<&'a str, BuiltIn>,
}

/// A function being made.
pub struct Builder<'m, 'a> {
    pub(super) outside: &'m Outside<'a>,
    pub(super) scopes: Scopes<'a>,
    pub(super) code: Code,
    pub(super) prototypes: HashMap<&'a str, Signature>,
    pub(super) targets: HashMap<&'a str, Vec<Label>>,
    /// Where shared variables of this function go.
    shared: usize,
    guard: Option<Test>,
    line: u32,
    constants: HashMap<u64, Slot>,
}

/// Makes a function, whose own shared variables begin at `shared`.
pub fn build<'a>(f: &Function<'a>, outside: &Outside<'a>, shared: usize) -> Code {
    let body = f.body.as_deref().unwrap_or_default();
    let mut b = Builder {
        outside,
        scopes: Scopes::new(body),
        code: Code {
            name: f.name.into(),
            entry: f.entry,
            registers: 2,
            max_threads: f.max_threads,
            block: f.block,
            lacks: f.lacks.clone(),
            ..Code::default()
        },
        prototypes: HashMap::new(),
        targets: HashMap::new(),
        shared,
        guard: None,
        line: f.line,
        constants: HashMap::new(),
    };
    b.interface(f);
    let mut positions = vec![0; b.scopes.labels()];
    let mut blocks = 0;
    for statement in body {
        match statement {
            Statement::Begin => {
                blocks += 1;
                b.scopes.begin(blocks);
            }
            Statement::End => b.scopes.end(),
            Statement::Label(name) => {
                if let Some(label) = b.scopes.label(name) {
                    positions[label] = b.code.steps.len() as u32;
                }
            }
            Statement::Registers(ty, name, count) => b.registers(*ty, name, *count),
            Statement::Variable(v) => b.variable(v),
            Statement::Targets(name, labels) => {
                let labels = labels.iter().filter_map(|l| b.scopes.label(l)).collect();
                b.targets.insert(name, labels);
            }
            Statement::Prototype(name, returns, params) => {
                b.prototypes.insert(name, Signature::of(params, returns));
            }
            Statement::Instruction(i) => b.instruction(i),
        }
    }
    b.guard = None;
    b.step(match f.body {
        Some(_) => Op::Return,
        // As those are that kernels start others by.
        None => Op::Unknown(format!("{} is defined nowhere", f.name)),
    });
    for step in &mut b.code.steps {
        match &mut step.op {
            Op::Branch(to) => *to = positions[*to as usize],
            Op::Table(_, all) => all.iter_mut().for_each(|to| *to = positions[*to as usize]),
            _ => (),
        }
    }
    b.code.frame = align(b.code.frame, 16);
    b.code
}

impl<'a> Builder<'_, 'a> {
    /// Places parameters and results.
    fn interface(&mut self, f: &Function<'a>) {
        let signature = Signature::of(&f.params, &f.returns);
        for (v, (at, _)) in f.params.iter().zip(&signature.params) {
            let symbol = if f.entry {
                Symbol::Parameter(*at)
            } else {
                Symbol::Frame(*at)
            };
            self.scopes.define(v.name, symbol);
        }
        for (v, (at, _)) in f.returns.iter().zip(&signature.returns) {
            self.scopes.define(v.name, Symbol::Frame(*at));
        }
        self.code.parameters = if f.entry { signature.end } else { 0 };
        self.code.frame = if f.entry { 0 } else { signature.end };
        self.code.layout = signature.params;
    }

    fn registers(&mut self, ty: Type, name: &'a str, count: Option<u32>) {
        let first = match ty {
            Type::Pred => self.code.predicates,
            _ => self.code.registers,
        } as Slot;
        let n = count.unwrap_or(1) as usize;
        match (ty, count) {
            (_, Some(count)) => self.scopes.define_family(name, first, count, ty),
            (Type::Pred, None) => self.scopes.define(name, Symbol::Predicate(first as Pred)),
            (_, None) => self.scopes.define(name, Symbol::Register(first, ty.bits())),
        }
        match ty {
            Type::Pred => self.code.predicates += n,
            _ => self.code.registers += n,
        }
    }

    fn variable(&mut self, v: &Variable<'a>) {
        let symbol = match v.space {
            Space::Shared => Symbol::Shared(place(&mut self.shared, v)),
            _ => Symbol::Frame(place(&mut self.code.frame, v)),
        };
        self.scopes.define(v.name, symbol);
    }

    fn instruction(&mut self, i: &Instruction<'a>) {
        self.line = i.line;
        let before = self.code.steps.len();
        self.guard = None;
        if let Err(why) = self.guarded(i) {
            self.code.steps.truncate(before);
            let name = i.name.join(".");
            self.step(Op::Unknown(format!("{name}: {why}")));
        }
    }

    fn guarded(&mut self, i: &Instruction<'a>) -> Built<()> {
        if let Some((name, not)) = i.guard {
            let pred = self.predicate(name)?;
            self.guard = Some(Test { pred, not });
        }
        let parts = &i.name[..];
        if let Some(part) = parts::unknown(parts) {
            return Err(format!(".{part} is not there"));
        }
        let found = self.control(parts, &i.operands)?
            || self.memory(parts, &i.operands)?
            || self.asynchronous(parts, &i.operands)?
            || self.matrix(parts, &i.operands)?
            || self.texture(parts, &i.operands)?
            || self.arithmetic(parts, &i.operands)?;
        match found {
            true => Ok(()),
            false => Err("this instruction is not there yet".into()),
        }
    }

    /// Adds a step.
    pub(super) fn step(&mut self, op: Op) {
        let (guard, line) = (self.guard, self.line);
        self.code.steps.push(Step { guard, op, line });
    }

    /// A register of nobody else's.
    pub(super) fn fresh(&mut self) -> Slot {
        self.code.registers += 1;
        self.code.registers as Slot - 1
    }

    /// A constant.
    pub(super) fn constant(&mut self, value: u64) -> Slot {
        let constants = &mut self.code.constants;
        *self.constants.entry(value).or_insert_with(|| {
            constants.push(Lanes::all(value));
            CONSTANT | (constants.len() - 1) as Slot
        })
    }

    /// What a name stands for.
    pub(super) fn symbol(&self, name: &str) -> Built<Symbol> {
        let found = self
            .scopes
            .find(name)
            .or_else(|| self.outside.symbols.get(name).copied());
        found.ok_or_else(|| format!("{name} is not known"))
    }

    /// A predicate register.
    pub(super) fn predicate(&self, name: &str) -> Built<Pred> {
        match self.symbol(name)? {
            Symbol::Predicate(p) => Ok(p),
            _ => Err(format!("{name} is no predicate")),
        }
    }

    /// A predicate that is read.
    pub(super) fn test(&self, operand: &Operand) -> Built<Test> {
        match operand {
            Operand::Name(name, "") => Ok(Test {
                pred: self.predicate(name)?,
                not: false,
            }),
            Operand::Not(name) => Ok(Test {
                pred: self.predicate(name)?,
                not: true,
            }),
            _ => Err("a predicate is expected".into()),
        }
    }

    /// A register that is written, and its size in bits; `None`: `_`, the result is not wanted.
    pub(super) fn target(&self, operand: &Operand) -> Built<Option<(Slot, u32)>> {
        match operand {
            Operand::Name("_", "") => Ok(None),
            Operand::Name(name, "") => match self.symbol(name)? {
                Symbol::Register(slot, bits) => Ok(Some((slot, bits))),
                _ => Err(format!("{name} is no register")),
            },
            _ => Err("a register is expected".into()),
        }
    }

    /// A register that is written.
    pub(super) fn register(&mut self, operand: &Operand) -> Built<Slot> {
        Ok(match self.target(operand)? {
            Some((slot, _)) => slot,
            None => self.fresh(),
        })
    }

    /// A value of a type.
    pub(super) fn source(&mut self, operand: &Operand, ty: Type) -> Built<Slot> {
        let mask = u64::MAX >> (64 - ty.bits().clamp(1, 64));
        Ok(match *operand {
            Operand::Int(n) => self.constant(n as u64 & mask),
            Operand::F32(bits) if ty == Type::F(64) => {
                self.constant((f32::from_bits(bits) as f64).to_bits())
            }
            Operand::F32(bits) => self.constant(bits.into()),
            Operand::F64(bits) if ty == Type::F(32) => {
                self.constant((f64::from_bits(bits) as f32).to_bits().into())
            }
            Operand::F64(bits) => self.constant(bits),
            Operand::Sum(name, offset) => self.place(name, offset)?,
            Operand::Name("WARP_SZ", "") => self.constant(lanes::WARP as u64),
            Operand::Name(name, axis) => match (name.strip_prefix('%'), self.symbol(name)) {
                (Some(special), Err(_)) => {
                    let special = control::special(special, axis)
                        .ok_or_else(|| format!("{name} is not known"))?;
                    let d = self.fresh();
                    self.step(Op::Ask(d, special));
                    d
                }
                (_, Ok(Symbol::Register(slot, bits))) => self.narrowed(slot, bits, ty),
                _ => self.place(name, 0)?,
            },
            _ => return Err("a value is expected".into()),
        })
    }

    /// A register as a value of a narrower type: its low bits.
    fn narrowed(&mut self, slot: Slot, bits: u32, ty: Type) -> Slot {
        let cut: Option<One> = match ty.bits() {
            8 if bits > 8 => Some(one!(u8 => u8, |a| a)),
            16 if bits > 16 => Some(one!(u16 => u16, |a| a)),
            32 if bits > 32 => Some(one!(u32 => u32, |a| a)),
            _ => None,
        };
        match cut {
            None => slot,
            Some(f) => {
                let d = self.fresh();
                self.step(Op::One(f, d, slot));
                d
            }
        }
    }

    /// The address of a variable, as a value.
    fn place(&mut self, name: &str, offset: i64) -> Built<Slot> {
        let Address { base, offset, .. } = self.address(name, offset, Space::Generic)?;
        if offset == 0 {
            return Ok(base);
        }
        let offset = self.constant(offset as u64);
        let d = self.fresh();
        let add: Two = two!(u64, |a, b| a.wrapping_add(b));
        self.step(Op::Two(add, d, [base, offset]));
        Ok(d)
    }

    /// A place in memory.
    pub(super) fn address(&mut self, name: &str, offset: i64, space: Space) -> Built<Address> {
        let shared = space == Space::Shared;
        let at = |base, offset| {
            Ok(Address {
                base,
                offset,
                shared,
            })
        };
        if name.is_empty() {
            return at(self.constant(0), offset);
        }
        match self.symbol(name)? {
            Symbol::Register(slot, _) => at(slot, offset),
            Symbol::Frame(from) => at(FRAME, offset + from as i64),
            Symbol::Parameter(from) => at(PARAMETERS, offset + from as i64),
            Symbol::Shared(from) => at(self.constant((from as i64 + offset) as u64), 0),
            Symbol::Global(from) => at(self.constant((from as i64 + offset) as u64), 0),
            Symbol::Function(index) => at(self.constant(FUNCTION | index as u64), offset),
            Symbol::Predicate(_) => Err(format!("{name} has no address")),
        }
    }
}
