//! What threads of a warp do together. They meet first: a group that lacks some of those that are named waits for them.

use super::update::updated;
use super::warp::{lanes_of, State, Warp};
use super::Cause;
use crate::code::lanes::{Lanes, WARP};
use crate::code::*;

impl Warp {
    /// Are all threads of a mask here? If not, and others still go on, the first group waits.
    pub fn met(&mut self, mask: u32) -> bool {
        let wanted = mask & self.live;
        if self.groups[0].mask & wanted == wanted {
            return true;
        }
        let others = self.groups[1..]
            .iter()
            .any(|g| matches!(g.state, State::Run));
        if others {
            self.groups[0].state = State::Meet;
        }
        !others
    }

    /// Does such a step.
    pub fn together(&mut self, op: &Op, code: &Code, doing: u32) -> Result<(), Cause> {
        let index = self.groups[0].frame;
        let one = |slot: Slot, warp: &Warp| {
            warp.frames[index].get(code, slot).0[doing.trailing_zeros() as usize]
        };
        let mask = match op {
            Op::Meet(m) | Op::Vote(_, _, _, m) | Op::Ballot(_, _, m) | Op::Elect(_, _, m) => {
                one(*m, self)
            }
            Op::Shuffle(_, _, _, [_, _, _, m]) | Op::Reduce(_, _, _, [_, m]) => one(*m, self),
            Op::Match { mask, .. } => one(*mask, self),
            _ => 0,
        } as u32;
        if !self.met(mask) {
            return Ok(());
        }
        let here = doing & mask;
        let frame = &mut self.frames[index];
        let scratch = &mut self.scratch;
        match op {
            Op::Shuffle(how, d, p, [a, b, c, _]) => {
                let [a, b, c] = [a, b, c].map(|s| frame.get(code, *s));
                // The way is looked at once, not for each thread.
                let inside = match how {
                    Shuffle::Up => shuffle(Shuffle::Up, scratch, [a, b, c], doing),
                    Shuffle::Down => shuffle(Shuffle::Down, scratch, [a, b, c], doing),
                    Shuffle::Butterfly => shuffle(Shuffle::Butterfly, scratch, [a, b, c], doing),
                    Shuffle::Index => shuffle(Shuffle::Index, scratch, [a, b, c], doing),
                };
                frame.registers[*d as usize].blend(scratch, doing);
                if let Some(p) = p {
                    frame.set(*p, inside, doing);
                }
            }
            Op::Vote(what, p, q, _) => {
                let yes = frame.test(*q) & here;
                let value = match what {
                    Vote::All => yes == here,
                    Vote::Any => yes != 0,
                    Vote::Uniform => yes == here || yes == 0,
                };
                frame.set(*p, if value { u32::MAX } else { 0 }, doing);
            }
            Op::Ballot(d, q, _) => {
                let yes = frame.test(*q) & here;
                frame.registers[*d as usize].blend(&Lanes::all(yes.into()), doing);
            }
            Op::Match { all, d, p, a, .. } => {
                let a = frame.get(code, *a).0;
                let same = |lane: usize| {
                    lanes_of(here)
                        .filter(|i| a[*i] == a[lane])
                        .fold(0u32, |m, i| m | 1 << i)
                };
                let uniform = same(doing.trailing_zeros() as usize) == here;
                for lane in lanes_of(doing) {
                    scratch.0[lane] = match all {
                        true if uniform => here.into(),
                        true => 0,
                        false => same(lane).into(),
                    };
                }
                frame.registers[*d as usize].blend(scratch, doing);
                if let Some(p) = p {
                    frame.set(*p, if uniform { u32::MAX } else { 0 }, doing);
                }
            }
            Op::Active(d) => {
                frame.registers[*d as usize].blend(&Lanes::all(doing.into()), doing);
            }
            Op::Reduce(ty, update, d, [a, _]) => {
                let a = frame.get(code, *a).0;
                let value = lanes_of(here)
                    .map(|i| a[i])
                    .reduce(|x, y| updated(*ty, *update, x, y, 0));
                frame.registers[*d as usize].blend(&Lanes::all(value.unwrap_or(0)), doing);
            }
            Op::Elect(d, p, _) => {
                let leader = here.trailing_zeros();
                if let Some(d) = d {
                    frame.registers[*d as usize].blend(&Lanes::all(leader.into()), doing);
                }
                frame.set(*p, 1u32.checked_shl(leader).unwrap_or(0), doing);
            }
            _ => (),
        }
        self.groups[0].pc += 1;
        Ok(())
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
