//! Instructions that decide where a thread goes on, that let threads meet, or that ask what a thread is.

use super::build::{Builder, Built, Signature};
use super::scope::Symbol;
use super::*;
use crate::ptx::{Operand, Type};

/// What a special register asks.
pub fn special(name: &str, axis: &str) -> Option<Special> {
    let axis =
        |make: fn(usize) -> Special| ["x", "y", "z"].iter().position(|a| *a == axis).map(make);
    Some(match name {
        "tid" => axis(Special::Thread)?,
        "ntid" => axis(Special::Threads)?,
        "ctaid" => axis(Special::Block)?,
        "nctaid" => axis(Special::Blocks)?,
        "laneid" => Special::Lane,
        "warpid" => Special::Warp,
        "nwarpid" => Special::Warps,
        "smid" => Special::Processor,
        "nsmid" => Special::Processors,
        "gridid" => Special::Grid,
        "lanemask_eq" => Special::Mask(|lane| 1 << lane),
        "lanemask_lt" => Special::Mask(|lane| (1 << lane) - 1),
        "lanemask_le" => Special::Mask(|lane| u32::MAX >> (31 - lane)),
        "lanemask_gt" => Special::Mask(|lane| !(u32::MAX >> (31 - lane))),
        "lanemask_ge" => Special::Mask(|lane| u32::MAX << lane),
        "clock" | "clock64" => Special::Clock,
        "globaltimer" | "globaltimer_lo" => Special::Time,
        "dynamic_smem_size" => Special::DynamicShared,
        "total_smem_size" => Special::Shared,
        "envreg2" => Special::Workspace(0),
        "envreg1" => Special::Workspace(1),
        "cluster_ctarank" | "is_explicit_cluster" => Special::Zero,
        _ => return None,
    })
}

impl<'a> Builder<'_, 'a> {
    /// Makes such an instruction; false: it is none.
    pub(super) fn control(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<bool> {
        match (name[0], operands) {
            ("bra", [to]) => {
                let to = self.label(to)?;
                self.step(Op::Branch(to));
            }
            ("brx", [index, Operand::Name(targets, "")]) => {
                let index = self.source(index, Type::U(32))?;
                let targets = self
                    .targets
                    .get(targets)
                    .ok_or("its targets are not known")?;
                let targets = targets.iter().map(|t| *t as u32).collect();
                self.step(Op::Table(index, targets));
            }
            ("call", _) => self.call(operands)?,
            ("ret", []) => self.step(Op::Return),
            ("exit", []) => self.step(Op::Exit),
            ("trap", []) => self.step(Op::Trap),
            (
                "brkpt" | "griddepcontrol" | "nanosleep" | "pmevent" | "prefetch" | "prefetchu"
                | "discard" | "applypriority",
                _,
            ) => {
                self.step(Op::Nothing);
            }
            ("membar" | "fence", _) => self.step(Op::Fence),
            ("bar", [mask]) if name[1..] == ["warp", "sync"] => {
                let mask = self.source(mask, Type::B(32))?;
                self.step(Op::Meet(mask));
            }
            ("bar" | "barrier", _) => self.barrier(name, operands)?,
            ("vote", _) => self.vote(name, operands)?,
            ("shfl", _) => self.shuffle(name, operands)?,
            ("match", [d, a, mask]) => self.matching(name, d, a, mask)?,
            ("activemask", [d]) => {
                let d = self.register(d)?;
                self.step(Op::Active(d));
            }
            ("redux", [d, a, mask]) => {
                let ty = name
                    .last()
                    .and_then(|t| Type::named(t))
                    .ok_or("it has no type")?;
                let update = memory::update(name.get(2).unwrap_or(&""))
                    .filter(|_| !matches!(ty, Type::F(_)))
                    .ok_or("its operation is not known")?;
                let (a, mask) = (self.source(a, ty)?, self.source(mask, Type::B(32))?);
                let d = self.register(d)?;
                self.step(Op::Reduce(ty, update, d, [a, mask]));
            }
            ("elect", [Operand::Both(d, p), mask]) => {
                let mask = self.source(mask, Type::B(32))?;
                let d = self.target(&Operand::Name(d, ""))?.map(|t| t.0);
                let p = self.predicate(p)?;
                self.step(Op::Elect(d, p, mask));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn label(&self, operand: &Operand) -> Built<u32> {
        match operand {
            Operand::Name(name, "") => {
                let label = self.scopes.label(name);
                label
                    .map(|l| l as u32)
                    .ok_or_else(|| format!("there is no label {name}"))
            }
            _ => Err("a label is expected".into()),
        }
    }

    /// `call (results), function, (arguments)`, `call function, (arguments)`, `call function`; a function that a register
    /// names is followed by its prototype.
    fn call(&mut self, operands: &[Operand<'a>]) -> Built<()> {
        let (results, rest) = match operands {
            [Operand::List(results), rest @ ..] => (&results[..], rest),
            rest => (&[][..], rest),
        };
        let [Operand::Name(function, ""), rest @ ..] = rest else {
            return Err("a function is expected".into());
        };
        let (arguments, rest) = match rest {
            [Operand::List(arguments), rest @ ..] => (&arguments[..], rest),
            rest => (&[][..], rest),
        };
        let built_in = self.outside.built_in.get(function);
        let (callee, signature): (Callee, Signature) = match (self.symbol(function), built_in, rest)
        {
            (Ok(Symbol::Function(i)), Some(b), _) => {
                (Callee::BuiltIn(*b), self.outside.signatures[i].clone())
            }
            (Ok(Symbol::Function(i)), None, _) => {
                (Callee::Function(i), self.outside.signatures[i].clone())
            }
            (Ok(Symbol::Register(slot, _)), _, [Operand::Name(prototype, "")]) => {
                let signature = self
                    .prototypes
                    .get(prototype)
                    .ok_or("its prototype is not known")?;
                (Callee::Register(slot), signature.clone())
            }
            (Err(e), ..) => return Err(e),
            _ => return Err(format!("{function} can't be called")),
        };
        let arguments = self.copies(arguments, &signature.params)?;
        let results = self.copies(results, &signature.returns)?;
        self.step(Op::Call {
            callee,
            arguments,
            results,
        });
        Ok(())
    }

    /// The callee's places, and the caller's variables that go there.
    fn copies(&self, ours: &[Operand], theirs: &[(usize, usize)]) -> Built<Vec<Copy>> {
        if ours.len() != theirs.len() {
            return Err(format!(
                "{} parameters are given for {}",
                ours.len(),
                theirs.len()
            ));
        }
        let one = |(ours, (callee, size)): (&Operand, &(usize, usize))| match ours {
            Operand::Name(name, "") => match self.symbol(name)? {
                Symbol::Frame(caller) => Ok(Copy {
                    caller,
                    callee: *callee,
                    size: *size,
                }),
                _ => Err(format!("{name} is no parameter")),
            },
            _ => Err("a parameter is expected".into()),
        };
        ours.iter().zip(theirs).map(one).collect()
    }

    /// `bar.sync`, `bar.arrive`, `bar.red`; `barrier` with or without `.cta` and `.aligned`.
    fn barrier(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<()> {
        if name.contains(&"cluster") {
            return Err("clusters are not there".into());
        }
        let int = Type::U(32);
        let split = |b: &mut Self, all: &[Operand<'a>]| -> Built<(Slot, Option<Slot>)> {
            match all {
                [id] => Ok((b.source(id, int)?, None)),
                [id, count] => Ok((b.source(id, int)?, Some(b.source(count, int)?))),
                [] => Ok((b.constant(0), None)),
                _ => Err("a barrier has a number and a count".into()),
            }
        };
        if name.contains(&"red") {
            let [d, rest @ .., p] = operands else {
                return Err("operands are missing".into());
            };
            let (id, count) = split(self, rest)?;
            let p = self.test(p)?;
            let what = match name {
                [.., "popc", "u32"] => Barrier::Count(self.register(d)?, p),
                [.., "and", "pred"] => Barrier::Vote(Vote::All, self.test(d)?.pred, p),
                [.., "or", "pred"] => Barrier::Vote(Vote::Any, self.test(d)?.pred, p),
                _ => return Err("its operation is not known".into()),
            };
            self.step(Op::Barrier(what, id, count));
            return Ok(());
        }
        let what = if name.contains(&"arrive") {
            Barrier::Arrive
        } else {
            Barrier::Wait
        };
        let (id, count) = split(self, operands)?;
        self.step(Op::Barrier(what, id, count));
        Ok(())
    }

    /// `vote.sync.any.pred p, q, mask`, `vote.sync.ballot.b32 d, q, mask`; ptxas takes `vote.ballot.sync` as well, which CUB writes.
    fn vote(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<()> {
        let [d, q, mask @ ..] = operands else {
            return Err("operands are missing".into());
        };
        let q = self.test(q)?;
        let mask = match mask {
            [mask] => self.source(mask, Type::B(32))?,
            _ => return Err("only vote.sync is there".into()),
        };
        let what = match name
            .iter()
            .find(|part| **part != "vote" && **part != "sync")
        {
            Some(&"ballot") => {
                let d = self.register(d)?;
                self.step(Op::Ballot(d, q, mask));
                return Ok(());
            }
            Some(&"all") => Vote::All,
            Some(&"any") => Vote::Any,
            Some(&"uni") => Vote::Uniform,
            _ => return Err("this vote is not known".into()),
        };
        let p = self.test(d)?.pred;
        self.step(Op::Vote(what, p, q, mask));
        Ok(())
    }

    /// `shfl.sync.down.b32 d|p, a, b, c, mask`
    fn shuffle(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<()> {
        let [d, a, b, c, mask] = operands else {
            return Err("only shfl.sync is there".into());
        };
        let kind = match name.get(2) {
            Some(&"up") => Shuffle::Up,
            Some(&"down") => Shuffle::Down,
            Some(&"bfly") => Shuffle::Butterfly,
            Some(&"idx") => Shuffle::Index,
            _ => return Err("this way is not known".into()),
        };
        let int = Type::B(32);
        let sources = [a, b, c, mask].map(|o| self.source(o, int));
        let [a, b, c, mask] = sources;
        let (d, p) = match d {
            Operand::Both(d, p) => (
                self.register(&Operand::Name(d, ""))?,
                Some(self.predicate(p)?),
            ),
            _ => (self.register(d)?, None),
        };
        self.step(Op::Shuffle(kind, d, p, [a?, b?, c?, mask?]));
        Ok(())
    }

    /// `match.any.sync.b32 d, a, mask`, `match.all.sync.b32 d|p, a, mask`
    fn matching(
        &mut self,
        name: &[&str],
        d: &Operand<'a>,
        a: &Operand<'a>,
        mask: &Operand<'a>,
    ) -> Built<()> {
        let ty = name
            .last()
            .and_then(|t| Type::named(t))
            .ok_or("it has no type")?;
        let (a, mask) = (self.source(a, ty)?, self.source(mask, Type::B(32))?);
        let (d, p) = match d {
            Operand::Both(d, p) => (
                self.register(&Operand::Name(d, ""))?,
                Some(self.predicate(p)?),
            ),
            _ => (self.register(d)?, None),
        };
        let all = name[1] == "all";
        self.step(Op::Match { all, d, p, a, mask });
        Ok(())
    }
}
