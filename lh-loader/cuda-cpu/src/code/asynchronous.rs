//! Instructions for copies that go on beside their thread, and for barriers in memory that these, and threads, arrive at.
//!
//! A copy is made at once: nobody may look at either side before it was waited for. So there is nothing to wait for, but
//! arriving and counting are as they would be.

use super::build::{Builder, Built};
use super::lanes::{one, One};
use super::*;
use crate::ptx::{Operand, Type};

/// The state space that a part of a name names, and whether it is shared memory.
fn is_shared(part: Option<&&str>) -> Built<bool> {
    match part.and_then(|p| p.split("::").next()) {
        Some("shared") => Ok(true),
        Some("global") => Ok(false),
        _ => Err("it is not there for these spaces".into()),
    }
}

impl<'a> Builder<'_, 'a> {
    /// Makes such an instruction; false: it is none.
    pub(super) fn asynchronous(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<bool> {
        match (name, operands) {
            (["cp", "async", "commit_group" | "wait_group" | "wait_all", ..], _)
            | (["cp", "async", "bulk", "commit_group" | "wait_group" | "prefetch", ..], _) => {
                self.step(Op::Nothing);
            }
            (["cp", "async", "mbarrier", "arrive", rest @ ..], [at]) => {
                // Else it is awaited as well: the barrier has one more to come, who has come.
                if rest.contains(&"noinc") {
                    let (at, one) = (self.at(rest, at)?, self.constant(1));
                    self.step(Op::Phase(Phase::Arrive, at, None, one));
                } else {
                    self.step(Op::Nothing);
                }
            }
            (["cp", "async", "bulk", "tensor" | "reduce", ..], _) => return Ok(false),
            (["cp", "async", "bulk", rest @ ..], [to, from, size, more @ ..]) => {
                self.copy_bulk(rest, to, from, size, more)?;
            }
            (["cp", "async", "ca" | "cg", rest @ ..], [to, from, size, more @ ..]) => {
                self.copy_async(rest, to, from, size, more)?;
            }
            (["mbarrier", rest @ ..], _) => return self.barrier_in_memory(rest, operands),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A place of an instruction that may name shared memory.
    fn at(&mut self, name: &[&str], at: &Operand<'a>) -> Built<Address> {
        let shared = name.iter().any(|p| p.split("::").next() == Some("shared"));
        self.place_where(shared, at)
    }

    fn place_where(&mut self, shared: bool, at: &Operand<'a>) -> Built<Address> {
        let space = match shared {
            true => crate::ptx::Space::Shared,
            false => crate::ptx::Space::Generic,
        };
        match at {
            Operand::Address(base, offset) => self.address(base, *offset, space),
            _ => Err("an address is expected".into()),
        }
    }

    /// `cp.async.ca.shared.global [to], [from], size{, how much there is, or whether there is nothing}{, a hint}`
    fn copy_async(
        &mut self,
        name: &[&str],
        to: &Operand<'a>,
        from: &Operand<'a>,
        size: &Operand<'a>,
        more: &[Operand<'a>],
    ) -> Built<()> {
        let to = self.place_where(is_shared(name.first())?, to)?;
        let from = self.place_where(is_shared(name.get(1))?, from)?;
        let bytes = match size {
            Operand::Int(n @ (4 | 8 | 16)) => *n as u8,
            _ => return Err("it is not there for this size".into()),
        };
        let hints = usize::from(name.iter().any(|p| p.ends_with("cache_hint")));
        let more = &more[..more.len().saturating_sub(hints)];
        let (mut there, mut nothing) = (self.constant(bytes.into()), None);
        match more {
            [] => {}
            [what] => match self.test(what) {
                Ok(test) => nothing = Some(test),
                Err(_) => there = self.source(what, Type::U(32))?,
            },
            _ => return Err("it has too many operands".into()),
        }
        self.step(Op::CopyAsync {
            to,
            from,
            bytes,
            there,
            nothing,
        });
        Ok(())
    }

    /// `cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [to], [from], size, [barrier]`, and to other memory.
    fn copy_bulk(
        &mut self,
        name: &[&str],
        to: &Operand<'a>,
        from: &Operand<'a>,
        size: &Operand<'a>,
        more: &[Operand<'a>],
    ) -> Built<()> {
        if name.iter().any(|p| p.starts_with("multicast")) {
            return Err("clusters are not there".into());
        }
        let to = self.place_where(is_shared(name.first())?, to)?;
        let from = self.place_where(is_shared(name.get(1))?, from)?;
        let size = self.source(size, Type::U(32))?;
        let told = name.iter().any(|p| p.starts_with("mbarrier::complete_tx"));
        let barrier = match (told, more) {
            (true, [at, ..]) => Some(self.place_where(true, at)?),
            (true, []) => return Err("a barrier is missing".into()),
            (false, _) => None,
        };
        self.step(Op::CopyBulk {
            to,
            from,
            size,
            barrier,
        });
        Ok(())
    }

    /// `mbarrier.…`
    fn barrier_in_memory(&mut self, name: &[&str], operands: &[Operand<'a>]) -> Built<bool> {
        let drops = name[0] == "arrive_drop";
        let expects = name.contains(&"expect_tx");
        let (what, d, at, n) = match (name[0], operands) {
            ("init", [at, n]) => (Phase::Begin, None, at, Some(n)),
            ("inval", [at]) => (Phase::End, None, at, None),
            ("expect_tx", [at, n]) => (Phase::Expect, None, at, Some(n)),
            ("complete_tx", [at, n]) => (Phase::Complete, None, at, Some(n)),
            ("arrive" | "arrive_drop", [d, at, n @ ..]) if n.len() < 2 => {
                let what = match (drops, expects) {
                    (false, false) => Phase::Arrive,
                    (true, false) => Phase::Drop,
                    (false, true) => Phase::ExpectAndArrive,
                    (true, true) => Phase::ExpectAndDrop,
                };
                (what, self.target(d)?.map(|t| t.0), at, n.first())
            }
            ("test_wait" | "try_wait", [p, at, phase, ..]) => {
                let parity = name.contains(&"parity");
                let ty = Type::U(if parity { 32 } else { 64 });
                let (p, phase) = (self.test(p)?.pred, self.source(phase, ty)?);
                let at = self.at(name, at)?;
                let bit = match parity {
                    true => 0,
                    false => PHASE,
                };
                self.step(Op::Reached { p, at, phase, bit });
                return Ok(true);
            }
            ("pending_count", [d, state]) => {
                let (d, state) = (self.register(d)?, self.source(state, Type::U(64))?);
                let f: One = one!(u64 => u64, |a| a >> PENDING & COUNT);
                self.step(Op::One(f, d, state));
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let at = self.at(name, at)?;
        let n = match n {
            Some(n) => self.source(n, Type::U(32))?,
            None => self.constant(1),
        };
        self.step(Op::Phase(what, at, d, n));
        Ok(true)
    }
}
