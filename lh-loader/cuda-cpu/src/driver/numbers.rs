//! Numbers in memory that a stream or a graph waits for and writes: one by one, and in batches.

use super::context::Fault;
use super::graph::{change_exec, work_of};
use super::nodes::{add, change};
use super::work::Work;
use super::{all, api, get, put, ready, Done, Driver, Error, Handle, Pointer};
use std::ffi::c_uint;
use std::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering::*};
use std::sync::Arc;
use std::time::Duration;

/// How long a wait for a number sleeps between looks.
const NAP: Duration = Duration::from_micros(50);
/// `CU_STREAM_WAIT_VALUE_FLUSH`: writes of other devices are seen as well, which they are here anyway.
const FLUSH: u32 = 1 << 30;
/// The most operations of a batch.
const MOST: u32 = 256;

/// `CUstreamBatchMemOpParams`.
pub type Described = [u64; 6];

/// `CUDA_BATCH_MEM_OP_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchNode {
    context: Handle,
    count: c_uint,
    operations: *const Described,
    flags: c_uint,
}

/// What is done with a number.
#[derive(Clone, Copy)]
enum Operation {
    /// It is written: where, what, in so many bytes.
    Write(Pointer, u64, u8),
    /// It is waited for; last, how the two are compared.
    Await(Pointer, u64, u8, u32),
    /// What was written before is seen before what comes after.
    Barrier,
}

/// Operations, one after the other.
pub struct Batch {
    operations: Vec<Operation>,
    described: Vec<Described>,
    flags: c_uint,
    context: Handle,
}

impl Operation {
    /// An operation, checked.
    fn of(driver: &Driver, described: &Described) -> Result<Operation, Error> {
        let [kind, at, value, flags, ..] = *described;
        let (bytes, flags) = match kind as u32 {
            1 | 2 => (4, flags as u32),
            4 | 5 => (8, flags as u32),
            3 | 6 if kind >> 32 <= 1 => return Ok(Operation::Barrier),
            _ => return Err(Error::INVALID_VALUE),
        };
        if !at.is_multiple_of(bytes.into()) {
            return Err(Error::INVALID_VALUE);
        }
        driver.memory.check_device(at, bytes.into())?;
        match kind as u32 {
            2 | 5 if flags <= 1 => Ok(Operation::Write(at, value, bytes)),
            1 | 4 if flags & !FLUSH <= 3 => Ok(Operation::Await(at, value, bytes, flags & 3)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    fn write(at: Pointer, value: u64, bytes: u8) {
        // SAFETY: the address was found to be memory of the device's, and aligned, when this was made.
        unsafe {
            match bytes {
                4 => (*(at as *const AtomicU32)).store(value as u32, Release),
                _ => (*(at as *const AtomicU64)).store(value, Release),
            }
        }
    }

    /// `CUstreamWaitValue_flags`: at least (as a distance), equal, any bit in common, not all bits.
    fn reached(at: Pointer, value: u64, bytes: u8, how: u32) -> bool {
        // SAFETY: as in `write`.
        let now = unsafe {
            match bytes {
                4 => (*(at as *const AtomicU32)).load(Acquire).into(),
                _ => (*(at as *const AtomicU64)).load(Acquire),
            }
        };
        match (how, bytes) {
            (0, 4) => (now as u32).wrapping_sub(value as u32) as i32 >= 0,
            (0, _) => now.wrapping_sub(value) as i64 >= 0,
            (1, 4) => now as u32 == value as u32,
            (1, _) => now == value,
            (2, 4) => now as u32 & value as u32 != 0,
            (2, _) => now & value != 0,
            (_, 4) => !(now as u32 | value as u32) != 0,
            _ => !(now | value) != 0,
        }
    }
}

impl Batch {
    fn new(described: &[Described], flags: c_uint, context: Handle) -> Result<Arc<Batch>, Error> {
        let driver = ready()?;
        let operations = described.iter().map(|d| Operation::of(driver, d));
        Ok(Arc::new(Batch {
            operations: operations.collect::<Result<_, _>>()?,
            described: described.to_vec(),
            flags,
            context,
        }))
    }

    /// Does all of it, but waits no more after a fault.
    pub fn run(&self, of: &Fault) {
        for operation in &self.operations {
            match *operation {
                Operation::Write(at, value, bytes) => Operation::write(at, value, bytes),
                Operation::Await(at, value, bytes, how) => {
                    while !Operation::reached(at, value, bytes, how) && of.check().is_ok() {
                        std::thread::sleep(NAP);
                    }
                }
                Operation::Barrier => fence(SeqCst),
            }
        }
    }
}

impl BatchNode {
    /// # Safety
    /// The list must be there.
    unsafe fn work(&self) -> Result<Work, Error> {
        if self.count > MOST {
            return Err(Error::INVALID_VALUE);
        }
        // SAFETY: the caller's.
        let described = unsafe { all(self.operations, self.count as usize) }?;
        Batch::new(described, self.flags, self.context).map(Work::Numbers)
    }
}

/// Gives a stream one operation.
fn submit(stream: Handle, kind: u32, at: Pointer, value: u64, flags: c_uint) -> Done {
    let batch = Batch::new(&[[kind.into(), at, value, flags.into(), 0, 0]], 0, 0)?;
    ready()?.submit(stream, Work::Numbers(batch)).map(|_| ())
}

api! {
    /// Waits for a number.
    fn cuStreamWaitValue32_v2(stream: Handle, at: Pointer, value: u32, flags: c_uint) {
        submit(stream, 1, at, value.into(), flags)
    }

    /// Writes a number, in order.
    fn cuStreamWriteValue32_v2(stream: Handle, at: Pointer, value: u32, flags: c_uint) {
        submit(stream, 2, at, value.into(), flags)
    }

    /// Waits for a number.
    fn cuStreamWaitValue64_v2(stream: Handle, at: Pointer, value: u64, flags: c_uint) {
        submit(stream, 4, at, value, flags)
    }

    /// Writes a number, in order.
    fn cuStreamWriteValue64_v2(stream: Handle, at: Pointer, value: u64, flags: c_uint) {
        submit(stream, 5, at, value, flags)
    }

    /// Waits for numbers and writes them, one after the other.
    fn cuStreamBatchMemOp_v2(stream: Handle, count: c_uint, operations: *const Described, flags: c_uint) {
        let node = BatchNode { context: 0, count, operations, flags };
        let work = node.work()?;
        ready()?.submit(stream, work).map(|_| ())
    }

    /// Adds such a batch to a graph.
    fn cuGraphAddBatchMemOpNode(out: *mut Handle, graph: Handle, after: *const Handle, n: usize, what: *const BatchNode) {
        let work = get(what)?.work()?;
        add(out, graph, after, n, work)
    }

    /// What it does.
    fn cuGraphBatchMemOpNodeGetParams(node: Handle, out: *mut BatchNode) {
        let Work::Numbers(batch) = work_of(node)? else {
            return Err(Error::INVALID_VALUE);
        };
        // The list stays as long as the node does this.
        let (context, flags) = (batch.context, batch.flags);
        let (count, operations) = (batch.described.len() as c_uint, batch.described.as_ptr());
        put(out, BatchNode { context, count, operations, flags })
    }

    /// What it does from now on.
    fn cuGraphBatchMemOpNodeSetParams(node: Handle, what: *const BatchNode) {
        change(node, get(what)?.work()?)
    }

    /// The same in a graph that can be launched.
    fn cuGraphExecBatchMemOpNodeSetParams(exec: Handle, node: Handle, what: *const BatchNode) {
        change_exec(exec, node, Some(get(what)?.work()?), None)
    }
}
