//! What nodes do, with the program's handles; as the lower half takes it.

use super::lower_of;
use crate::codes::*;
use crate::driver::check;
use crate::launch;
use crate::lower::{self, ix};
use crate::model::Kind;
use crate::record::{self, Layout, Lowered};
use std::collections::BTreeMap;

pub use launch::interned;

/// What a node does.
#[derive(Clone)]
pub enum Work {
    /// It launches a kernel.
    Kernel(Kernel),
    /// It copies: the words of `CUDA_MEMCPY3D`, and a context.
    Copy([u64; 25], u64),
    /// It fills: the words of `CUDA_MEMSET_NODE_PARAMS`, and a context.
    Fill([u64; 5], u64),
    /// It calls a function of the program's, with this argument.
    Host([u64; 2]),
    /// It does what a graph does.
    Child(u64),
    /// It is a place in the order.
    Empty,
    /// It waits for an event.
    Wait(u64),
    /// It records one.
    Record(u64),
    /// It waits for numbers in memory and writes some.
    Batch {
        /// The context; 0: none.
        context: u64,
        /// The node's flags.
        flags: u64,
        /// `CUstreamBatchMemOpParams`.
        operations: Vec<[u64; 6]>,
    },
    /// It allocates the memory at an address.
    Allocate(u64),
    /// It frees it.
    Free(u64),
}

/// A launch.
#[derive(Clone, Default)]
pub struct Kernel {
    /// The function, or the kernel.
    pub function: u64,
    /// Grid, block and shared memory: words 1 to 4 of `CUDA_KERNEL_NODE_PARAMS`.
    pub shape: [u64; 4],
    /// The context; 0: the one that the graph was made in.
    pub context: u64,
    /// The parameters.
    pub values: Vec<Box<[u8]>>,
    /// Attributes that were given, or captured.
    pub attributes: BTreeMap<u32, [u64; 8]>,
    /// The values' addresses, for whoever asks.
    list: Vec<u64>,
}

/// In `extra`: a buffer with all parameters, and its size.
const BUFFER: u64 = 1;
const SIZE: u64 = 2;

/// Offsets and sizes of a kernel's parameters.
fn parameters(function: u64) -> Result<Vec<[u64; 2]>, i32> {
    let (index, lower) = match lower_of(Kind::Kernel, function) {
        Ok(lower) => (ix::cuKernelGetParamInfo, lower),
        Err(_) => (ix::cuFuncGetParamInfo, lower_of(Kind::Function, function)?),
    };
    let mut all = Vec::new();
    loop {
        let [mut at, mut len] = [0_u64; 2];
        let args = [
            lower,
            all.len() as u64,
            &raw mut at as u64,
            &raw mut len as u64,
        ];
        // SAFETY: a lower handle, and places for numbers; inside the gate.
        match unsafe { lower::must(index, &args) } {
            SUCCESS => all.push([at, len]),
            INVALID_VALUE => return Ok(all),
            code => return Err(code),
        }
    }
}

impl Kernel {
    /// A launch as `CUDA_KERNEL_NODE_PARAMS` describes it; the function is the program's.
    ///
    /// # Safety
    /// The words must be such a structure's, and what they point to must be there.
    pub unsafe fn new(function: u64, words: &[u64], context: u64) -> Result<Kernel, i32> {
        let (pointers, extra) = (words[5], words[6]);
        let layout = parameters(function)?;
        let mut values = Vec::new();
        // SAFETY: the caller's: a pointer for each parameter, or a list with the buffer of all.
        unsafe {
            let bytes = |at: u64, len: u64| -> Box<[u8]> {
                core::slice::from_raw_parts(at as *const u8, len as usize).into()
            };
            if pointers != 0 {
                for (i, [_, len]) in layout.iter().enumerate() {
                    values.push(bytes((pointers as *const u64).add(i).read(), *len));
                }
            } else if extra != 0 {
                let (buffer, size) = buffer(extra)?;
                for [at, len] in &layout {
                    if at + len > size {
                        return Err(INVALID_VALUE);
                    }
                    values.push(bytes(buffer + at, *len));
                }
            } else if !layout.is_empty() {
                return Err(INVALID_VALUE);
            }
        }
        Ok(Kernel {
            function,
            shape: [words[1], words[2], words[3], words[4] & 0xffff_ffff],
            context,
            values,
            attributes: BTreeMap::new(),
            list: Vec::new(),
        })
    }

    fn pointers(&self) -> Vec<u64> {
        self.values.iter().map(|v| v.as_ptr() as u64).collect()
    }

    /// The address of a list of the values' addresses, which lies here; 0: there are none.
    pub fn list(&mut self) -> u64 {
        self.list = self.pointers();
        match self.list.as_slice() {
            [] => 0,
            list => list.as_ptr() as u64,
        }
    }
}

/// The buffer with the parameters, and its size.
///
/// # Safety
/// `extra` must be a list of names and values that ends with a 0.
unsafe fn buffer(extra: u64) -> Result<(u64, u64), i32> {
    let (mut at, mut size) = (0, 0);
    let mut pair = extra as *const [u64; 2];
    // SAFETY: the caller's; the size is given by its address.
    unsafe {
        loop {
            match (*pair.cast::<u64>(), *pair) {
                (0, _) => return Ok((at, size)),
                (BUFFER, [_, value]) => at = value,
                (SIZE, [_, value]) => size = (value as *const u64).read(),
                _ => return Err(INVALID_VALUE),
            }
            pair = pair.add(1);
        }
    }
}

/// What is done with a node's parameters in the lower half, with the arguments before them.
#[derive(Clone, Copy)]
pub enum Act {
    /// A node is added: its place, the graph, what it comes after.
    Add([u64; 4]),
    /// A node is changed.
    Set([u64; 1]),
    /// A node of a graph that can be launched is changed.
    Exec([u64; 2]),
}

impl Act {
    fn arguments(&self) -> &[u64] {
        match self {
            Act::Add(all) => all,
            Act::Set(all) => all,
            Act::Exec(all) => all,
        }
    }

    fn function(&self, of: [usize; 3]) -> usize {
        match self {
            Act::Add(_) => of[0],
            Act::Set(_) => of[1],
            Act::Exec(_) => of[2],
        }
    }
}

/// There is no such function.
const NONE: usize = usize::MAX;

impl Work {
    /// `CUgraphNodeType`.
    pub fn number(&self) -> u32 {
        match self {
            Work::Kernel(_) => 0,
            Work::Copy(..) => 1,
            Work::Fill(..) => 2,
            Work::Host(_) => 3,
            Work::Child(_) => 4,
            Work::Empty => 5,
            Work::Wait(_) => 6,
            Work::Record(_) => 7,
            Work::Allocate(_) => 10,
            Work::Free(_) => 11,
            Work::Batch { .. } => 12,
        }
    }

    /// Has it to do with memory of the graph's own?
    pub fn is_memory(&self) -> bool {
        matches!(self, Work::Allocate(_) | Work::Free(_))
    }

    /// The functions that add, change, and change what can be launched.
    fn functions(&self) -> [usize; 3] {
        match self {
            Work::Kernel(_) => [
                ix::cuGraphAddKernelNode_v2,
                ix::cuGraphKernelNodeSetParams_v2,
                ix::cuGraphExecKernelNodeSetParams_v2,
            ],
            Work::Copy(..) => [
                ix::cuGraphAddMemcpyNode,
                ix::cuGraphMemcpyNodeSetParams,
                ix::cuGraphExecMemcpyNodeSetParams,
            ],
            Work::Fill(..) => [
                ix::cuGraphAddMemsetNode,
                ix::cuGraphMemsetNodeSetParams,
                ix::cuGraphExecMemsetNodeSetParams,
            ],
            Work::Host(_) => [
                ix::cuGraphAddHostNode,
                ix::cuGraphHostNodeSetParams,
                ix::cuGraphExecHostNodeSetParams,
            ],
            Work::Child(_) => [
                ix::cuGraphAddChildGraphNode,
                NONE,
                ix::cuGraphExecChildGraphNodeSetParams,
            ],
            // Memory is the model's: the lower half has a place in the order for it.
            Work::Empty | Work::Allocate(_) | Work::Free(_) => {
                [ix::cuGraphAddEmptyNode, NONE, NONE]
            }
            Work::Batch { .. } => [
                ix::cuGraphAddBatchMemOpNode,
                ix::cuGraphBatchMemOpNodeSetParams,
                ix::cuGraphExecBatchMemOpNodeSetParams,
            ],
            Work::Wait(_) => [
                ix::cuGraphAddEventWaitNode,
                ix::cuGraphEventWaitNodeSetEvent,
                ix::cuGraphExecEventWaitNodeSetEvent,
            ],
            Work::Record(_) => [
                ix::cuGraphAddEventRecordNode,
                ix::cuGraphEventRecordNodeSetEvent,
                ix::cuGraphExecEventRecordNodeSetEvent,
            ],
        }
    }

    /// Adds it to a lower graph, or changes a lower node. `child`: the lower graph that a child's is made of.
    ///
    /// # Errors
    /// The code for the application.
    ///
    /// # Safety
    /// The arguments must be the lower half's; inside the gate.
    pub unsafe fn lowered(&self, act: Act, child: u64) -> Result<(), i32> {
        let index = act.function(self.functions());
        if index == NONE {
            return Err(INVALID_VALUE);
        }
        let mut args = act.arguments().to_vec();
        let mut kept = Lowered::default();
        let with_context = |args: &mut Vec<u64>, context: u64| -> Result<(), i32> {
            if !matches!(act, Act::Set(_)) {
                // SAFETY: a context or none.
                args.push(unsafe { record::handle(Kind::Context, context) }?);
            }
            Ok(())
        };
        // What the words point to has to outlive the call.
        let (pointers, words);
        // SAFETY: the caller's; structures as cuda.h has them.
        unsafe {
            match self {
                Work::Kernel(k) => {
                    pointers = k.pointers();
                    let (function, kernel) = match lower_of(Kind::Kernel, k.function) {
                        Ok(kernel) => (0, kernel),
                        Err(_) => (lower_of(Kind::Function, k.function)?, 0),
                    };
                    let at = match k.values.is_empty() {
                        true => 0,
                        false => pointers.as_ptr() as u64,
                    };
                    let [a, b, c, d] = k.shape;
                    let context = record::handle(Kind::Context, k.context)?;
                    words = vec![function, a, b, c, d, at, 0, kernel, context];
                    args.push(words.as_ptr() as u64);
                }
                Work::Copy(copy, context) => {
                    args.push(kept.structure(Layout::Copy3, copy.as_ptr() as u64)?);
                    with_context(&mut args, *context)?;
                }
                Work::Fill(fill, context) => {
                    args.push(fill.as_ptr() as u64);
                    with_context(&mut args, *context)?;
                }
                Work::Host([function, data]) => {
                    let (function, data) = interned(*function, [*data, 0, 0]);
                    words = vec![function, data];
                    args.push(words.as_ptr() as u64);
                }
                Work::Batch {
                    context,
                    flags,
                    operations,
                } => {
                    let context = record::handle(Kind::Context, *context)?;
                    let (n, at) = (operations.len() as u64, operations.as_ptr() as u64);
                    words = vec![context, n, at, *flags];
                    args.push(words.as_ptr() as u64);
                }
                Work::Child(_) => args.push(child),
                Work::Empty | Work::Allocate(_) | Work::Free(_) => {}
                Work::Wait(event) | Work::Record(event) => {
                    args.push(record::handle(Kind::Event, *event)?);
                }
            }
            check(lower::must(index, &args))
        }
    }

    /// Gives a lower node the attributes of its launch.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// It must be a node of this work; inside the gate.
    pub unsafe fn attributes(&self, node: u64) -> Result<(), i32> {
        let Work::Kernel(kernel) = self else {
            return Ok(());
        };
        for (which, value) in &kernel.attributes {
            let args = [node, u64::from(*which), value.as_ptr() as u64];
            // SAFETY: the caller's; values have 64 bytes.
            check(unsafe { lower::must(ix::cuGraphKernelNodeSetAttribute, &args) })?;
        }
        Ok(())
    }
}
