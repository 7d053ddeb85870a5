//! A block: its warps go on in turn, and meet at barriers.

use super::data::{Memory, Workspace};
use super::grid::Launch;
use super::warp::{State, Warp};
use super::{Cause, Device, Fault};
use crate::code::lanes::WARP;
use crate::code::{Barrier, Code, Program, Vote};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Steps that a warp does before the next has its turn.
const TURN: u32 = 50_000;
/// Local memory of a thread for calls whose depth is not known.
const UNKNOWN_DEPTH: usize = 64 << 10;

/// What all warps of a block see.
pub struct Around<'a> {
    pub launch: &'a Launch<'a>,
    pub device: &'a dyn Device,
    pub program: &'a Program,
    /// The block's place in the grid.
    pub place: [u32; 3],
    pub worker: u64,
    pub memory: Memory<'a>,
    pub started: Instant,
}

/// A block.
pub struct Block<'a> {
    around: Around<'a>,
    warps: Vec<Warp>,
    /// Threads that have come to a barrier without waiting there, by barrier.
    arrived: Vec<(u64, u32)>,
}

/// The most local memory that a function and what it calls need; `None`: it may call itself, or what a register names.
fn depth(program: &Program, index: usize, above: &mut Vec<usize>) -> Option<usize> {
    use crate::code::{Callee, Op};
    if above.contains(&index) {
        return None;
    }
    above.push(index);
    let code = &program.codes[index];
    let mut deepest = 0;
    for step in &code.steps {
        if let Op::Call { callee, .. } = &step.op {
            deepest = deepest.max(match callee {
                Callee::Function(called) => depth(program, *called, above)?,
                Callee::BuiltIn(_) => 0,
                Callee::Register(_) => return None,
            });
        }
    }
    above.pop();
    Some(code.frame + deepest)
}

impl<'a> Block<'a> {
    /// A block that has not begun.
    pub fn new(
        launch: &'a Launch<'a>,
        device: &'a dyn Device,
        index: u64,
        worker: u64,
        workspace: &'a Workspace,
    ) -> Block<'a> {
        let program = launch.program;
        let local = depth(program, launch.kernel, &mut Vec::new())
            .unwrap_or(UNKNOWN_DEPTH)
            .next_multiple_of(64);
        let warps = launch.threads().div_ceil(WARP);
        let memory = Memory::new(
            device,
            program.shared + launch.shared,
            local,
            warps,
            launch.parameters,
            workspace,
        );
        let around = Around {
            launch,
            device,
            program,
            place: [0; 3],
            worker,
            memory,
            started: Instant::now(),
        };
        let warps = (0..warps).map(|_| Warp::default()).collect();
        let mut block = Block {
            around,
            warps,
            arrived: Vec::new(),
        };
        block.begin(index);
        block
    }

    /// Begins anew as another block of the kernel.
    pub fn begin(&mut self, index: u64) {
        self.around.place = self.around.launch.place(index);
        self.arrived.clear();
        let threads = self.around.launch.threads();
        for (i, warp) in self.warps.iter_mut().enumerate() {
            let n = (threads - i * WARP).min(WARP);
            warp.begin(i, u32::MAX >> (WARP - n), &self.around);
        }
    }

    fn kernel(&self) -> &'a Code {
        &self.around.program.codes[self.around.launch.kernel]
    }

    /// Gives each warp a turn. False: the block has ended.
    pub fn go_on(&mut self, stop: &AtomicBool) -> Result<bool, Fault> {
        let mut moved = false;
        for i in 0..self.warps.len() {
            let warp = &mut self.warps[i];
            if warp.can_go() {
                moved = true;
                warp.run(&mut self.around, TURN)?;
            }
            self.collect_arrivals(i);
            if stop.load(Relaxed) {
                return Ok(false);
            }
        }
        moved |= self
            .open_barriers()
            .map_err(|cause| cause.at(&self.kernel().name, 0))?;
        if self.warps.iter().all(|w| w.live == 0) {
            return Ok(false);
        }
        match moved {
            true => Ok(true),
            false => Err(Fault::Deadlock {
                function: self.kernel().name.clone(),
            }),
        }
    }

    /// Notes which threads of a warp have passed a `bar.arrive`.
    fn collect_arrivals(&mut self, warp: usize) {
        for (id, n) in self.warps[warp].arrivals.drain(..) {
            match self.arrived.iter_mut().find(|a| a.0 == id) {
                Some(a) => a.1 += n,
                None => self.arrived.push((id, n)),
            }
        }
    }

    /// Lets the threads go on that wait at barriers where all have come.
    fn open_barriers(&mut self) -> Result<bool, Cause> {
        let live: u32 = self.warps.iter().map(|w| w.live.count_ones()).sum();
        let mut waiting: Vec<(u64, u32, Option<u32>)> = Vec::new();
        for group in self.warps.iter().flat_map(|w| &w.groups) {
            let State::Barrier { id, count, .. } = group.state else {
                continue;
            };
            let n = group.mask.count_ones();
            match waiting.iter_mut().find(|w| w.0 == id) {
                Some(w) => w.1 += n,
                None => waiting.push((id, n, count)),
            }
        }
        let mut opened = false;
        for (id, here, count) in waiting {
            let arrived = self.arrived.iter().find(|a| a.0 == id).map_or(0, |a| a.1);
            if here + arrived < count.unwrap_or(live) {
                continue;
            }
            self.arrived.retain(|a| a.0 != id);
            self.open(id);
            opened = true;
        }
        Ok(opened)
    }

    fn open(&mut self, id: u64) {
        let at =
            |state: &State| matches!(state, State::Barrier { id: theirs, .. } if *theirs == id);
        let (mut yes, mut no) = (0, 0);
        for warp in &self.warps {
            for group in warp.groups.iter().filter(|g| at(&g.state)) {
                if let State::Barrier {
                    what: Barrier::Count(_, p) | Barrier::Vote(_, _, p),
                    ..
                } = group.state
                {
                    let true_for = warp.test(group, p) & group.mask;
                    yes += true_for.count_ones();
                    no += (group.mask & !true_for).count_ones();
                }
            }
        }
        for warp in &mut self.warps {
            for g in 0..warp.groups.len() {
                let State::Barrier { what, .. } = warp.groups[g].state else {
                    continue;
                };
                if !at(&warp.groups[g].state) {
                    continue;
                }
                match what {
                    Barrier::Count(d, _) => warp.set_all(g, d, yes.into()),
                    Barrier::Vote(Vote::Any, p, _) => warp.set_pred(g, p, yes > 0),
                    Barrier::Vote(_, p, _) => warp.set_pred(g, p, no == 0),
                    Barrier::Wait | Barrier::Arrive => (),
                }
                warp.groups[g].state = State::Run;
                warp.groups[g].pc += 1;
            }
            warp.merge_all();
        }
    }
}
