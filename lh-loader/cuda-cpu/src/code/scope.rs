//! Names of a function: what they stand for where they are used. Blocks (`{ … }`) nest.

use crate::ptx::{Statement, Type};
use std::collections::HashMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Symbol {
    /// A register of this many bits.
    Register(super::Slot, u32),
    /// A predicate register.
    Predicate(super::Pred),
    /// A place in the frame.
    Frame(usize),
    /// A kernel's parameter.
    Parameter(usize),
    /// A place in shared memory.
    Shared(usize),
    /// A variable of the module, at this address.
    Global(u64),
    /// A function.
    Function(usize),
}

/// A label's number.
pub type Label = usize;

/// The names of a function's blocks.
#[derive(Default)]
pub struct Scopes<'a> {
    names: Vec<HashMap<&'a str, Symbol>>,
    families: Vec<Vec<(&'a str, super::Slot, u32, Type)>>,
    labels: HashMap<(usize, &'a str), Label>,
    /// The block that each block lies in.
    parents: Vec<usize>,
    /// The blocks that are open, by number.
    open: Vec<usize>,
}

impl<'a> Scopes<'a> {
    /// The names of a body, with its labels numbered.
    pub fn new(body: &[Statement<'a>]) -> Scopes<'a> {
        let mut scopes = Scopes {
            parents: vec![0],
            ..Scopes::default()
        };
        let mut open = vec![0];
        for statement in body {
            match statement {
                Statement::Begin => {
                    scopes.parents.push(open[open.len() - 1]);
                    open.push(scopes.parents.len() - 1);
                }
                Statement::End => drop(open.pop()),
                Statement::Label(name) => {
                    let next = scopes.labels.len();
                    scopes.labels.insert((open[open.len() - 1], name), next);
                }
                _ => (),
            }
        }
        // Blocks are numbered again in the same order as they are gone through.
        scopes.open.clear();
        scopes.begin(0);
        scopes
    }

    /// How many labels there are.
    pub fn labels(&self) -> usize {
        self.labels.len()
    }

    /// A block begins; its number is that of its `{` in the body.
    pub fn begin(&mut self, number: usize) {
        self.open.push(number);
        self.names.push(HashMap::new());
        self.families.push(Vec::new());
    }

    /// The innermost block ends.
    pub fn end(&mut self) {
        self.open.pop();
        self.names.pop();
        self.families.pop();
    }

    /// Gives a name a meaning in the innermost block.
    pub fn define(&mut self, name: &'a str, symbol: Symbol) {
        if let Some(names) = self.names.last_mut() {
            names.insert(name, symbol);
        }
    }

    /// Gives the names `family0`, `family1`, … a meaning: `count` registers from `first` on.
    pub fn define_family(&mut self, family: &'a str, first: super::Slot, count: u32, ty: Type) {
        if let Some(families) = self.families.last_mut() {
            families.push((family, first, count, ty));
        }
    }

    /// What a name stands for.
    pub fn find(&self, name: &str) -> Option<Symbol> {
        (0..self.names.len()).rev().find_map(|block| {
            self.names[block]
                .get(name)
                .copied()
                .or_else(|| self.member(block, name))
        })
    }

    fn member(&self, block: usize, name: &str) -> Option<Symbol> {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        // `%r1` is of the family `%r`; of `%rd12` none is.
        self.families[block]
            .iter()
            .rev()
            .find_map(|(family, first, count, ty)| {
                let number = name
                    .strip_prefix(family)
                    .filter(|n| !n.is_empty() && n.len() <= digits)?;
                let number: u32 = number.parse().ok().filter(|n| n < count)?;
                Some(match ty {
                    Type::Pred => Symbol::Predicate((first + number) as super::Pred),
                    _ => Symbol::Register(first + number, ty.bits()),
                })
            })
    }

    /// A label that can be seen from here.
    pub fn label(&self, name: &str) -> Option<Label> {
        let mut block = *self.open.last()?;
        loop {
            if let Some(label) = self.labels.get(&(block, name)) {
                return Some(*label);
            }
            if block == 0 {
                return None;
            }
            block = self.parents[block];
        }
    }
}
