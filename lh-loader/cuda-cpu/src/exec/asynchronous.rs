//! Copies that programs wait for, and barriers in memory: a word of 64 bits, which the program may copy and look at with our own
//! instructions only. It has who is to come in a phase, who has not come yet, what copies have still to bring, and the phase.

use super::block::Around;
use super::data::address;
use super::warp::{lanes_of, Warp};
use super::Cause;
use crate::code::*;

/// Where what copies have still to bring begins, a number with a sign.
const BYTES: u32 = 40;
/// Its bits.
const BYTES_MASK: u64 = (1 << (PHASE - BYTES)) - 1;

/// A barrier's word after something has been done with it.
fn after(word: u64, what: Phase, n: u64) -> u64 {
    let field = |from: u32| word >> from & COUNT;
    let (mut expected, mut pending) = (field(0), field(PENDING));
    let mut bytes = word >> BYTES & BYTES_MASK;
    let mut phase = word >> PHASE;
    match what {
        Phase::Begin => return (n & COUNT) | (n & COUNT) << PENDING,
        Phase::End => return 0,
        Phase::Expect => bytes = bytes.wrapping_add(n),
        Phase::Complete => bytes = bytes.wrapping_sub(n),
        Phase::Arrive => pending = pending.saturating_sub(n),
        Phase::Drop => {
            expected = expected.saturating_sub(n);
            pending = pending.saturating_sub(n);
        }
        Phase::ExpectAndArrive => {
            bytes = bytes.wrapping_add(n);
            pending = pending.saturating_sub(1);
        }
        Phase::ExpectAndDrop => {
            bytes = bytes.wrapping_add(n);
            expected = expected.saturating_sub(1);
            pending = pending.saturating_sub(1);
        }
    }
    bytes &= BYTES_MASK;
    if pending == 0 && bytes == 0 {
        (pending, phase) = (expected, phase ^ 1);
    }
    expected | pending << PENDING | bytes << BYTES | phase << PHASE
}

impl Warp {
    /// Does such a step.
    pub fn asynchronous(
        &mut self,
        op: &Op,
        code: &Code,
        doing: u32,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let frame = &mut self.frames[self.groups[0].frame];
        let memory = &mut around.memory;
        match op {
            Op::CopyAsync {
                to,
                from,
                bytes,
                there,
                nothing,
            } => {
                let none = nothing.map_or(0, |test| frame.test(test));
                let size = u64::from(*bytes);
                for lane in lanes_of(doing) {
                    let target = address(frame.get(code, to.base), lane, to.offset, to.shared);
                    let source =
                        address(frame.get(code, from.base), lane, from.offset, from.shared);
                    let there = match none >> lane & 1 {
                        1 => 0,
                        _ => frame.get(code, *there).0[lane].min(size),
                    };
                    memory.at(target, size, to.shared)?;
                    if source & (size - 1) != 0 {
                        return Err(Cause::Misaligned(source));
                    }
                    memory.copy([target, source], [to.shared, from.shared], there)?;
                    for i in there..size {
                        memory.store(target + i, 1, to.shared, 0)?;
                    }
                }
            }
            Op::CopyBulk {
                to,
                from,
                size,
                barrier,
            } => {
                for lane in lanes_of(doing) {
                    let target = address(frame.get(code, to.base), lane, to.offset, to.shared);
                    let source =
                        address(frame.get(code, from.base), lane, from.offset, from.shared);
                    let size = frame.get(code, *size).0[lane];
                    if let Some(odd) = [target, source, size].into_iter().find(|n| n % 16 != 0) {
                        return Err(Cause::Misaligned(odd));
                    }
                    memory.copy([target, source], [to.shared, from.shared], size)?;
                    if let Some(at) = barrier {
                        let at = address(frame.get(code, at.base), lane, at.offset, at.shared);
                        let word = memory.load(at, 8, true)?;
                        memory.store(at, 8, true, after(word, Phase::Complete, size))?;
                    }
                }
            }
            Op::Phase(what, at, d, n) => {
                for lane in lanes_of(doing) {
                    let to = address(frame.get(code, at.base), lane, at.offset, at.shared);
                    let word = memory.load(to, 8, at.shared)?;
                    let n = frame.get(code, *n).0[lane];
                    // Threads arrive one by one: the block's memory is this thread's of ours alone.
                    memory.store(to, 8, at.shared, after(word, *what, n))?;
                    self.scratch.0[lane] = word;
                }
                if let Some(d) = d {
                    frame.registers[*d as usize].blend(&self.scratch, doing);
                }
            }
            Op::Reached { p, at, phase, bit } => {
                let mut reached = 0;
                for lane in lanes_of(doing) {
                    let from = address(frame.get(code, at.base), lane, at.offset, at.shared);
                    let now = memory.load(from, 8, at.shared)? >> PHASE & 1;
                    let asked = frame.get(code, *phase).0[lane] >> bit & 1;
                    reached |= u32::from(now != asked) << lane;
                }
                frame.set(*p, reached, doing);
                // It will ask again: another warp has to come for that.
                self.yields = reached == 0 && self.groups.len() == 1;
            }
            Op::Within(p, a, space) => {
                let a = *frame.get(code, *a);
                let inside = |i: &usize| memory.is_in(a.0[*i], *space);
                let yes = lanes_of(doing).filter(inside).fold(0, |m, i| m | 1 << i);
                frame.set(*p, yes, doing);
            }
            _ => {}
        }
        Ok(())
    }
}
