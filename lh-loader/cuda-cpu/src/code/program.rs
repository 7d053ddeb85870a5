//! A module's functions, ready to be run.

use super::build::{align, build, place, Outside, Signature};
use super::scope::Symbol;
use super::{BuiltIn, Code};
use crate::ptx::{Function, Module, Space, Statement, Variable};
use std::collections::HashMap;

/// What the address of a function begins with: its index follows.
pub const FUNCTION: u64 = 0x6675_6e63_0000_0000;

/// Functions that the device has itself.
const BUILT_IN: [(&str, BuiltIn); 4] = [
    ("vprintf", BuiltIn::Print),
    ("__assertfail", BuiltIn::AssertFail),
    ("malloc", BuiltIn::Malloc),
    ("free", BuiltIn::Free),
];

/// Is it a launch's shared memory?
fn dynamic(v: &Variable) -> bool {
    v.space == Space::Shared && v.external && v.count == 0
}

/// The shared variables of a function.
fn shared_of<'f, 'a>(f: &'f Function<'a>) -> impl Iterator<Item = &'f Variable<'a>> {
    f.body.iter().flatten().filter_map(|s| match s {
        Statement::Variable(v) if v.space == Space::Shared => Some(v),
        _ => None,
    })
}

/// A program.
#[derive(Debug, Default)]
pub struct Program {
    /// Its functions.
    pub codes: Vec<Code>,
    /// Bytes of shared memory that a block has beside what a launch asks for, which lies behind them.
    pub shared: usize,
    names: HashMap<String, usize>,
}

impl Program {
    /// Makes a program of a module; `addresses` knows where its variables are.
    pub fn new(module: &Module, addresses: &HashMap<String, u64>) -> Program {
        let mut outside = Outside {
            symbols: HashMap::new(),
            signatures: Vec::new(),
            built_in: HashMap::from(BUILT_IN),
        };
        // A function that is declared, and defined later, is one.
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut chosen: Vec<&Function> = Vec::new();
        for f in module.functions.iter() {
            match names.get(f.name) {
                None => {
                    names.insert(f.name, chosen.len());
                    outside
                        .symbols
                        .insert(f.name, Symbol::Function(chosen.len()));
                    outside
                        .signatures
                        .push(Signature::of(&f.params, &f.returns));
                    chosen.push(f);
                }
                Some(index) if f.body.is_some() => chosen[*index] = f,
                Some(_) => (),
            }
        }
        let mut end = 0;
        for v in &module.variables {
            let symbol = match v.space {
                Space::Shared if !dynamic(v) => Symbol::Shared(place(&mut end, v)),
                Space::Shared => continue,
                _ => match addresses.get(v.name) {
                    Some(at) => Symbol::Global(*at),
                    None => continue,
                },
            };
            outside.symbols.insert(v.name, symbol);
        }
        // Functions' own shared variables come next, each with a place of its own; then those of kernels, which do not run
        // together and so share one; then what a launch asks for.
        let mut starts = vec![0; chosen.len()];
        let mut order: Vec<usize> = (0..chosen.len()).collect();
        order.sort_by_key(|i| chosen[*i].entry);
        let mut last = end;
        for i in order {
            starts[i] = end;
            let mut own = end;
            for v in shared_of(chosen[i]) {
                place(&mut own, v);
            }
            last = last.max(own);
            if !chosen[i].entry {
                end = own;
            }
        }
        let shared = align(last, 16);
        for v in module.variables.iter().filter(|v| dynamic(v)) {
            outside.symbols.insert(v.name, Symbol::Shared(shared));
        }
        let codes = chosen
            .iter()
            .zip(starts)
            .map(|(f, start)| build(f, &outside, start))
            .collect();
        let names = names
            .into_iter()
            .map(|(name, index)| (name.to_owned(), index))
            .collect();
        Program {
            codes,
            shared,
            names,
        }
    }

    /// A function's index.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// A function's address, as programs have it in variables.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.find(name).map(|index| FUNCTION | index as u64)
    }
}
