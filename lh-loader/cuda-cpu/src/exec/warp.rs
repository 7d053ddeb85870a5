//! A warp: groups of threads that are at the same place, and the frames of the functions that they are in.

use super::block::Around;
use super::{Cause, Fault};
use crate::code::lanes::{Lanes, WARP};
use crate::code::{Barrier, Code, Copy, Pred, Slot, Test, CONSTANT, FRAME, PARAMETERS};

/// Times that a group may go back while others wait before one of them has its turn.
const PATIENCE: u32 = 256;
/// Steps of such a turn.
const FAVOUR: u32 = 4096;

/// What a group does.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// It goes on.
    Run,
    /// It waits for other threads of its warp.
    Meet,
    /// It waits at a barrier for so many threads (`None`: all).
    Barrier {
        what: Barrier,
        id: u64,
        count: Option<u32>,
    },
}

/// Threads at the same place.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The frame that they are in.
    pub frame: usize,
    /// The step that they do next.
    pub pc: u32,
    /// Who they are.
    pub mask: u32,
    /// What they do.
    pub state: State,
}

/// A function that threads are in.
#[derive(Default)]
pub struct Frame {
    /// The function's index.
    pub code: usize,
    /// Its registers.
    pub registers: Vec<Lanes>,
    /// Its predicate registers.
    pub predicates: Vec<u32>,
    /// Each thread's carry.
    pub carry: u32,
    /// Where its local memory begins in a thread's.
    pub base: usize,
    /// Threads that are in it.
    lanes: u32,
    /// How many calls it is from the kernel.
    depth: u32,
    /// The caller's frame and the step of the call.
    caller: Option<(usize, u32)>,
}

/// A warp.
#[derive(Default)]
pub struct Warp {
    /// Its number in the block.
    pub index: usize,
    /// Threads that have not ended.
    pub live: u32,
    /// Its groups; the first is the one that goes on.
    pub groups: Vec<Group>,
    /// Frames, those in no use too.
    pub frames: Vec<Frame>,
    free: Vec<usize>,
    /// Barriers that threads have passed without waiting, and how many.
    pub arrivals: Vec<(u64, u32)>,
    patience: u32,
    favour: u32,
    /// It asks for what another warp has to do first: its turn is over.
    pub yields: bool,
    /// For results on their way to a register.
    pub scratch: Lanes,
}

impl Default for Lanes {
    fn default() -> Self {
        Lanes::all(0)
    }
}

impl Warp {
    /// Begins a kernel.
    pub fn begin(&mut self, index: usize, mask: u32, around: &Around) {
        self.index = index;
        self.live = mask;
        self.groups.clear();
        self.free = (0..self.frames.len()).rev().collect();
        self.arrivals.clear();
        let frame = self.frame(around.launch.kernel, mask, 0, None, around);
        let parameters = around.memory.parameters();
        self.frames[frame].registers[PARAMETERS as usize] = Lanes::all(parameters);
        self.groups.push(Group {
            frame,
            pc: 0,
            mask,
            state: State::Run,
        });
    }

    /// A frame for a function.
    fn frame(
        &mut self,
        code: usize,
        lanes: u32,
        base: usize,
        caller: Option<(usize, u32)>,
        around: &Around,
    ) -> usize {
        let depth = caller.map_or(0, |(f, _)| self.frames[f].depth + 1);
        let index = self.free.pop().unwrap_or_else(|| {
            self.frames.push(Frame::default());
            self.frames.len() - 1
        });
        let of = &around.program.codes[code];
        let frame = &mut self.frames[index];
        frame
            .registers
            .resize(of.registers.max(frame.registers.len()), Lanes::all(0));
        frame
            .predicates
            .resize(of.predicates.max(frame.predicates.len()), 0);
        (
            frame.code,
            frame.base,
            frame.lanes,
            frame.depth,
            frame.caller,
        ) = (code, base, lanes, depth, caller);
        let register = &mut frame.registers[FRAME as usize];
        for lane in 0..WARP {
            register.0[lane] = around.memory.local(self.index, lane) + base as u64;
        }
        index
    }

    /// Can a group go on?
    pub fn can_go(&self) -> bool {
        self.groups
            .iter()
            .any(|g| !matches!(g.state, State::Barrier { .. }))
    }

    /// Threads of a group for which a test holds.
    pub fn test(&self, group: &Group, test: Test) -> u32 {
        self.frames[group.frame].test(test)
    }

    /// Gives all threads of a group a value.
    pub fn set_all(&mut self, group: usize, d: Slot, value: u64) {
        let Group { frame, mask, .. } = self.groups[group];
        self.frames[frame].registers[d as usize].blend(&Lanes::all(value), mask);
    }

    /// Gives all threads of a group a predicate.
    pub fn set_pred(&mut self, group: usize, p: Pred, value: bool) {
        let Group { frame, mask, .. } = self.groups[group];
        self.frames[frame].set(p, if value { u32::MAX } else { 0 }, mask);
    }

    /// Goes on for so many steps, or until nobody can.
    pub fn run(&mut self, around: &mut Around, steps: u32) -> Result<(), Fault> {
        let mut left = steps;
        self.choose();
        self.yields = false;
        while left > 0 && !self.yields && self.can_go() {
            left -= 1;
            let Group {
                frame, pc, mask, ..
            } = self.groups[0];
            let code: &Code = &around.program.codes[self.frames[frame].code];
            let step = &code.steps[pc as usize];
            let doing = match step.guard {
                None => mask,
                Some(test) => mask & self.frames[frame].test(test),
            };
            if doing == 0 {
                self.groups[0].pc += 1;
            } else {
                self.step(&step.op, code, doing, around)
                    .map_err(|cause| cause.at(&code.name, step.line))?;
            }
            if self.groups.len() > 1 {
                self.look_around(pc);
            }
        }
        Ok(())
    }

    /// After a step, where there are several groups: joins one that is at the same place, or lets another go first.
    fn look_around(&mut self, before: u32) {
        self.merge_first();
        if self.favour > 0 {
            self.favour -= 1;
            if matches!(self.groups[0].state, State::Run) {
                return;
            }
        }
        if self.groups[0].pc <= before {
            self.patience = self.patience.saturating_sub(1);
            if self.patience == 0 {
                self.take_turns();
                return;
            }
        }
        self.choose();
    }

    /// A group goes round in a circle: the next one that can go has its turn.
    fn take_turns(&mut self) {
        (self.patience, self.favour) = (PATIENCE, FAVOUR);
        let next = self
            .groups
            .iter()
            .skip(1)
            .position(|g| matches!(g.state, State::Run));
        if let Some(next) = next {
            let first = self.groups.remove(0);
            self.groups.swap(0, next);
            self.groups.push(first);
        }
    }

    /// Puts the group first that is to go on: the deepest, and there the one furthest back. If all that are left wait to
    /// meet, those they wait for will not come: they go on as they are.
    pub fn choose(&mut self) {
        if self.groups.len() < 2 {
            if let [Group {
                state: state @ State::Meet,
                ..
            }] = &mut self.groups[..]
            {
                *state = State::Run;
            }
            return;
        }
        let order = |g: &Group| {
            let waits = match g.state {
                State::Run => 0,
                State::Meet => 1,
                State::Barrier { .. } => 2,
            };
            (waits, u32::MAX - self.frames[g.frame].depth, g.pc)
        };
        let Some(best) = (0..self.groups.len()).min_by_key(|i| order(&self.groups[*i])) else {
            return;
        };
        if best != 0 {
            self.groups.swap(0, best);
            self.patience = PATIENCE;
        }
        if matches!(self.groups[0].state, State::Meet) {
            self.groups[0].state = State::Run;
        }
    }

    /// The first group takes in those at its place.
    fn merge_first(&mut self) {
        let Some(Group {
            frame, pc, state, ..
        }) = self.groups.first().copied()
        else {
            return;
        };
        if matches!(state, State::Barrier { .. }) {
            return;
        }
        let mut i = 1;
        while i < self.groups.len() {
            let other = self.groups[i];
            if other.frame == frame
                && other.pc == pc
                && !matches!(other.state, State::Barrier { .. })
            {
                self.groups[0].mask |= other.mask;
                self.groups[0].state = State::Run;
                self.groups.swap_remove(i);
            } else {
                i += 1;
            }
        }
    }

    /// All groups take in those at their places.
    pub fn merge_all(&mut self) {
        for _ in 0..self.groups.len() {
            self.merge_first();
            self.groups.rotate_left(1);
        }
    }

    /// Some threads of the first group go on elsewhere.
    pub fn branch(&mut self, taken: u32, to: u32) {
        let first = &mut self.groups[0];
        let left = first.mask & !taken;
        if left == 0 {
            first.pc = to;
            return;
        }
        let (frame, pc) = (first.frame, first.pc + 1);
        (first.mask, first.pc) = (taken, to);
        self.groups.push(Group {
            frame,
            pc,
            mask: left,
            state: State::Run,
        });
        self.patience = PATIENCE;
    }

    /// Threads of the first group enter a function.
    pub fn call(
        &mut self,
        code: usize,
        arguments: &[Copy],
        doing: u32,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let Group {
            frame: caller, pc, ..
        } = self.groups[0];
        let base = self.frames[caller].base + around.program.codes[self.frames[caller].code].frame;
        if base + around.program.codes[code].frame > around.memory.local_size() {
            return Err(Cause::Stack);
        }
        let frame = self.frame(code, doing, base, Some((caller, pc)), around);
        let (from, to) = (self.frames[caller].base, base);
        for lane in lanes_of(doing) {
            for c in arguments {
                around
                    .memory
                    .copy_local(self.index, lane, from + c.caller, to + c.callee, c.size);
            }
        }
        self.branch(doing, 0);
        self.groups[0].frame = frame;
        Ok(())
    }

    /// Threads of the first group return from their function.
    pub fn ret(&mut self, doing: u32, around: &mut Around) {
        let Group { frame, .. } = self.groups[0];
        let Some((caller, pc)) = self.frames[frame].caller else {
            return self.exit(doing);
        };
        let step = &around.program.codes[self.frames[caller].code].steps[pc as usize];
        if let crate::code::Op::Call { results, .. } = &step.op {
            let (from, to) = (self.frames[frame].base, self.frames[caller].base);
            for lane in lanes_of(doing) {
                for c in results {
                    around.memory.copy_local(
                        self.index,
                        lane,
                        from + c.callee,
                        to + c.caller,
                        c.size,
                    );
                }
            }
        }
        self.leave(frame, doing);
        self.branch(doing, pc + 1);
        self.groups[0].frame = caller;
    }

    fn leave(&mut self, frame: usize, lanes: u32) {
        self.frames[frame].lanes &= !lanes;
        if self.frames[frame].lanes == 0 {
            self.free.push(frame);
        }
    }

    /// Threads of the first group end.
    pub fn exit(&mut self, doing: u32) {
        self.live &= !doing;
        // Who waited for them waits no longer.
        for group in &mut self.groups {
            if matches!(group.state, State::Meet) {
                group.state = State::Run;
            }
        }
        let mut frame = Some(self.groups[0].frame);
        while let Some(f) = frame {
            frame = self.frames[f].caller.map(|(f, _)| f);
            self.leave(f, doing);
        }
        let first = &mut self.groups[0];
        first.mask &= !doing;
        first.pc += 1;
        if first.mask == 0 {
            self.groups.swap_remove(0);
        }
    }
}

impl Frame {
    /// A slot's values.
    #[inline(always)]
    pub fn get<'f>(&'f self, code: &'f Code, slot: Slot) -> &'f Lanes {
        match slot & CONSTANT {
            0 => &self.registers[slot as usize],
            _ => &code.constants[(slot & !CONSTANT) as usize],
        }
    }

    /// Threads for which a test holds.
    #[inline(always)]
    pub fn test(&self, test: Test) -> u32 {
        let mask = self.predicates[test.pred as usize];
        if test.not {
            !mask
        } else {
            mask
        }
    }

    /// Sets a predicate for some threads.
    #[inline(always)]
    pub fn set(&mut self, p: Pred, value: u32, mask: u32) {
        let p = &mut self.predicates[p as usize];
        *p = *p & !mask | value & mask;
    }
}

/// The numbers of a mask's lanes.
pub fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..WARP).filter(move |i| mask >> i & 1 == 1)
}
