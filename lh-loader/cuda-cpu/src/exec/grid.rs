//! A kernel's blocks, handed to workers.

use super::block::Block;
use super::data::Workspace;
use super::{Device, Fault};
use crate::code::Program;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::Mutex;

/// A kernel and what it is to run on.
pub struct Launch<'a> {
    /// The program.
    pub program: &'a Program,
    /// The kernel's index in it.
    pub kernel: usize,
    /// Blocks, by axis.
    pub grid: [u32; 3],
    /// Threads of a block, by axis.
    pub block: [u32; 3],
    /// Bytes of shared memory that a block has beside the program's.
    pub shared: usize,
    /// The parameters, laid out as the kernel has them.
    pub parameters: &'a [u8],
    /// A number of the launch's own.
    pub id: u64,
    /// All blocks run at one time, so that they can wait for each other.
    pub cooperative: bool,
}

impl Launch<'_> {
    /// How many blocks there are.
    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|n| *n as u64).product()
    }

    /// How many threads a block has.
    pub fn threads(&self) -> usize {
        self.block.iter().map(|n| *n as usize).product()
    }

    /// A block's place, by axis.
    pub fn place(&self, block: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [block % x, block / x % y, block / x / y].map(|n| n as u32)
    }
}

/// Runs a kernel to its end. After a fault no further block begins.
pub fn run(launch: &Launch, device: &dyn Device) -> Result<(), Fault> {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let workspace = Workspace::default();
    let fault = Mutex::new(None);
    let blocks = launch.blocks();
    let workers = (device.processors() as u64).clamp(1, blocks.max(1));
    let note = |found| {
        stop.store(true, Relaxed);
        let mut first = fault.lock().unwrap_or_else(|e| e.into_inner());
        first.get_or_insert(found);
    };
    let work = |worker: u64| {
        if launch.cooperative {
            let mine = (worker..blocks).step_by(workers as usize);
            let mut mine: Vec<_> = mine
                .map(|b| Block::new(launch, device, b, worker, &workspace))
                .collect();
            while !mine.is_empty() && !stop.load(Relaxed) {
                mine.retain_mut(|block| match block.go_on(&stop) {
                    Ok(more) => more,
                    Err(found) => {
                        note(found);
                        false
                    }
                });
            }
            return;
        }
        let mut block: Option<Block> = None;
        loop {
            let index = next.fetch_add(1, Relaxed);
            if index >= blocks || stop.load(Relaxed) {
                return;
            }
            let block = match &mut block {
                Some(block) => {
                    block.begin(index);
                    block
                }
                none => none.insert(Block::new(launch, device, index, worker, &workspace)),
            };
            while match block.go_on(&stop) {
                Ok(more) => more && !stop.load(Relaxed),
                Err(found) => return note(found),
            } {}
        }
    };
    std::thread::scope(|scope| {
        for worker in 1..workers {
            scope.spawn(move || work(worker));
        }
        work(0);
    });
    match fault.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(found) => Err(found),
        None => Ok(()),
    }
}
