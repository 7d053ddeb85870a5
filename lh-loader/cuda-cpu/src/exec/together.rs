//! What threads of a warp do together. They meet first: who lacks some of those that its mask names waits for them. Parts of a
//! warp may name masks of their own.

use super::update::updated;
use super::warp::{lanes_of, Frame, Group, State, Warp};
use super::Cause;
use crate::code::lanes::{Lanes, WARP};
use crate::code::*;
use std::mem::discriminant;

/// What is not there.
const APART: &str = "a vote, a shuffle or the like that threads of a warp come to at different places of the program";

impl Warp {
    /// Are all threads of the warp here? If not, and others still go on, the first group waits.
    pub fn met(&mut self) -> bool {
        self.groups[0].mask == self.live || !self.waits()
    }

    /// The first group waits, if others go on that may still come.
    fn waits(&mut self) -> bool {
        let others = self.groups[1..]
            .iter()
            .any(|g| matches!(g.state, State::Run));
        if others {
            self.groups[0].state = State::Meet;
        }
        others
    }

    /// Of the threads that do a step, those that do it now: all whom a thread's mask names do it with this mask. The others
    /// wait as a group of their own; `None`: all do. Where nobody is left who could come, those that are here do it.
    fn complete(&mut self, masks: &Lanes, doing: u32) -> Option<u32> {
        let here = |(mask, part): (u32, u32)| match mask & self.live & !part {
            0 => part,
            _ => 0,
        };
        let ready = parts(masks, doing).map(here).fold(0, |all, p| all | p);
        if ready == doing {
            return Some(ready);
        }
        // Those that a guard keeps from the step go on as well.
        let go = self.groups[0].mask & !doing | ready;
        if go == 0 {
            return (!self.waits()).then_some(doing);
        }
        let rest = Group {
            mask: doing & !ready,
            state: State::Meet,
            ..self.groups[0]
        };
        self.groups[0].mask = go;
        self.groups.push(rest);
        Some(ready)
    }

    /// Do threads that a mask names wait at another place of the program, to do the same there?
    fn apart(&self, op: &Op, program: &Program, masks: &Lanes, doing: u32) -> bool {
        let missing = |(mask, part): (u32, u32)| mask & self.live & !part;
        let missing = parts(masks, doing).map(missing).fold(0, |all, m| all | m);
        let alike = |g: &Group| {
            let code = &program.codes[self.frames[g.frame].code];
            discriminant(&code.steps[g.pc as usize].op) == discriminant(op)
        };
        let mut waiting = self.groups[1..].iter();
        waiting.any(|g| matches!(g.state, State::Meet) && g.mask & missing != 0 && alike(g))
    }

    /// Does such a step.
    pub fn together(
        &mut self,
        op: &Op,
        code: &Code,
        doing: u32,
        program: &Program,
    ) -> Result<(), Cause> {
        let index = self.groups[0].frame;
        let mask = match op {
            Op::Meet(m) | Op::Vote(_, _, _, m) | Op::Ballot(_, _, m) | Op::Elect(_, _, m) => *m,
            Op::Shuffle(_, _, _, [_, _, _, m]) | Op::Reduce(_, _, _, [_, m]) => *m,
            Op::Match { mask, .. } => *mask,
            Op::Active(d) => {
                self.frames[index].registers[*d as usize].blend(&Lanes::all(doing.into()), doing);
                self.groups[0].pc += 1;
                return Ok(());
            }
            _ => return Err(Cause::Unknown("a step of a warp".into())),
        };
        // A copy: the result may go where the masks are.
        let masks = *self.frames[index].get(code, mask);
        let Some(ready) = self.complete(&masks, doing) else {
            return Ok(());
        };
        // At different places threads may wait for each other, but find nothing out of each other.
        let alone = self.groups.len() == 1 || matches!(op, Op::Meet(_));
        if !alone && self.apart(op, program, &masks, ready) {
            return Err(Cause::Unknown(APART.into()));
        }
        let frame = &mut self.frames[index];
        let scratch = &mut self.scratch;
        if let Op::Shuffle(how, d, p, [a, b, c, _]) = op {
            let [a, b, c] = [a, b, c].map(|s| frame.get(code, *s));
            // The way is looked at once, not for each thread.
            let inside = match how {
                Shuffle::Up => shuffle(Shuffle::Up, scratch, [a, b, c], ready),
                Shuffle::Down => shuffle(Shuffle::Down, scratch, [a, b, c], ready),
                Shuffle::Butterfly => shuffle(Shuffle::Butterfly, scratch, [a, b, c], ready),
                Shuffle::Index => shuffle(Shuffle::Index, scratch, [a, b, c], ready),
            };
            frame.registers[*d as usize].blend(scratch, ready);
            if let Some(p) = p {
                frame.set(*p, inside, ready);
            }
        } else {
            let (d, p) = match op {
                Op::Ballot(d, ..) | Op::Reduce(_, _, d, _) => (Some(*d), None),
                Op::Match { d, p, .. } => (Some(*d), *p),
                Op::Elect(d, p, _) => (*d, Some(*p)),
                Op::Vote(_, p, ..) => (None, Some(*p)),
                _ => (None, None),
            };
            let yes = frame.of_parts(op, code, parts(&masks, ready), ready, scratch);
            if let Some(d) = d {
                frame.registers[d as usize].blend(scratch, ready);
            }
            if let Some(p) = p {
                frame.set(p, yes, ready);
            }
        }
        self.groups[0].pc += 1;
        Ok(())
    }
}

/// The masks (or whatever it is) that threads name, each with those that name it.
pub fn parts(masks: &Lanes, threads: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
    let mut left = threads;
    std::iter::from_fn(move || {
        let mask = masks.0.get(left.trailing_zeros() as usize)?;
        let same = |i: usize| u32::from(masks.0[i] == *mask) << i;
        let part = left & (0..WARP).fold(0, |all, i| all | same(i));
        left &= !part;
        Some((*mask as u32, part))
    })
}

impl Frame {
    /// What each part of the threads finds out that names the same mask: a value, and for whom it holds.
    fn of_parts(
        &self,
        op: &Op,
        code: &Code,
        parts: impl Iterator<Item = (u32, u32)>,
        ready: u32,
        results: &mut Lanes,
    ) -> u32 {
        let mut holds = 0;
        for (mask, part) in parts {
            let here = ready & mask;
            let all_if = |yes| if yes { part } else { 0 };
            let (value, yes) = match op {
                Op::Vote(what, _, q, _) => {
                    let yes = self.test(*q) & here;
                    let told = match what {
                        Vote::All => yes == here,
                        Vote::Any => yes != 0,
                        Vote::Uniform => yes == here || yes == 0,
                    };
                    (0, all_if(told))
                }
                Op::Ballot(_, q, _) => ((self.test(*q) & here).into(), 0),
                Op::Match { all, a, .. } => {
                    let a = &self.get(code, *a).0;
                    let same = |lane: usize| {
                        lanes_of(here)
                            .filter(|i| a[*i] == a[lane])
                            .fold(0u32, |m, i| m | 1 << i)
                    };
                    if !all {
                        lanes_of(part).for_each(|i| results.0[i] = same(i).into());
                        continue;
                    }
                    let uniform = same(part.trailing_zeros() as usize) == here;
                    let value = if uniform { here } else { 0 };
                    (value.into(), all_if(uniform))
                }
                Op::Reduce(ty, update, _, [a, _]) => {
                    let a = &self.get(code, *a).0;
                    let of_here = lanes_of(here).map(|i| a[i]);
                    let value = of_here.reduce(|x, y| updated(*ty, *update, x, y, 0));
                    (value.unwrap_or(0), 0)
                }
                Op::Elect(..) => {
                    let leader = here.trailing_zeros();
                    let chosen = 1u32.checked_shl(leader).unwrap_or(0);
                    (leader.into(), chosen & part)
                }
                _ => (0, 0),
            };
            results.blend(&Lanes::all(value), part);
            holds |= yes;
        }
        holds
    }
}

/// Each thread gets another's value; gives those for whom that lies in their segments.
#[inline(always)]
fn shuffle(how: Shuffle, to: &mut Lanes, [a, b, c]: [&Lanes; 3], doing: u32) -> u32 {
    let mut inside = 0;
    for lane in 0..WARP {
        let (from, valid) = source(how, lane as u32, b.0[lane] as u32, c.0[lane] as u32);
        // From a thread that is not here comes nothing that one may use: its own value.
        let here = (doing >> from & 1) as usize;
        let from = (from as usize * here) | (lane * (1 - here));
        to.0[lane] = a.0[from & (WARP - 1)];
        inside |= (valid as u32) << lane;
    }
    inside
}

/// Where a lane's value comes from, and whether that lies in its segment: as the table of `shfl` in PTX says.
#[inline(always)]
fn source(how: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let highest = lane & segment | clamp & !segment;
    let lowest = lane & segment;
    let (from, valid) = match how {
        Shuffle::Up => (lane.wrapping_sub(b), lane >= b && lane - b >= highest),
        Shuffle::Down => (lane + b, lane + b <= highest),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= highest),
        Shuffle::Index => (lowest | b & !segment, lowest | b & !segment <= highest),
    };
    if valid {
        (from & 31, true)
    } else {
        (lane, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_in_segments() {
        // A width of 8: the segment mask is 0b11000, the clamp 7 (up: 0).
        let c = 0x1807;
        assert_eq!(source(Shuffle::Down, 6, 1, c), (7, true));
        assert_eq!(source(Shuffle::Down, 7, 1, c), (7, false));
        assert_eq!(source(Shuffle::Up, 8, 1, 0x1800), (8, false));
        assert_eq!(source(Shuffle::Up, 9, 1, 0x1800), (8, true));
        assert_eq!(source(Shuffle::Index, 13, 2, c), (10, true));
        assert_eq!(source(Shuffle::Butterfly, 3, 4, c), (7, true));
        assert_eq!(source(Shuffle::Down, 20, 16, 0x1f), (20, false));
    }
}
