//! Functions as they are run: registers by number, addresses by offset, each step with the function that does it.
//!
//! | file | what |
//! |---|---|
//! | `lanes` | a register of a warp, and functions over all its threads |
//! | `integer`, `float`, `convert` | which function does an arithmetic instruction |
//! | `program` | a module's functions, and where its shared variables are |
//! | `scope` | names: registers, variables, labels |
//! | `build` | a function's statements into steps |
//! | `packed` | conversions of two values at once |
//! | `small` | floats of 16 and 8 bits |
//! | `arithmetic`, `memory`, `asynchronous`, `matrix`, `texture`, `control` | instructions into steps |
//!
//! # Addresses
//! Device memory, constants, a thread's local memory and a kernel's parameters are at the addresses of the process; an
//! address of shared memory is an offset into the block's, as its registers may have 32 bits. A function's parameters,
//! what it returns and its local variables are in its frame of local memory, in this order.

mod arithmetic;
mod asynchronous;
mod build;
mod control;
mod convert;
mod float;
mod integer;
pub mod lanes;
mod matrix;
mod memory;
mod packed;
mod parts;
mod program;
mod rounding;
mod scope;
mod small;
mod texture;

pub use convert::Convert;
pub use integer::{insert, lookup};
pub use matrix::{Element, Factor, Fragment, Product};
pub use packed::Packed;
pub use program::{Program, FUNCTION};
pub use small::Half;
pub use texture::{Access, Geometry, Outside, Sample};

use crate::ptx::{Space, Type};
use lanes::{Compare, Lanes, One, Three, Two};

/// A register, or with [`CONSTANT`] a constant.
pub type Slot = u32;
/// The bit of a slot that says that it is one of the function's constants.
pub const CONSTANT: Slot = 1 << 31;
/// The register that holds the address of the thread's frame.
pub const FRAME: Slot = 0;
/// The register that holds the address of a kernel's parameters.
pub const PARAMETERS: Slot = 1;

/// A predicate register: a bit for each thread.
pub type Pred = u16;

/// A predicate, and whether its negation is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// The register.
    pub pred: Pred,
    /// The negation.
    pub not: bool,
}

/// How two predicates become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bool {
    /// Both.
    And,
    /// One at least.
    Or,
    /// One of them.
    Xor,
}

/// A place in memory.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// The register that it is counted from.
    pub base: Slot,
    /// Bytes from there.
    pub offset: i64,
    /// It is in the block's shared memory.
    pub shared: bool,
}

/// What an atomic instruction does with the old value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Takes another.
    Exchange,
    /// Takes another if it is the one expected.
    Compare,
    /// Adds.
    Add,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// Bits in both.
    And,
    /// Bits in any.
    Or,
    /// Bits in one.
    Xor,
    /// Counts up, and from the bound to 0.
    Inc,
    /// Counts down, and from 0 to the bound.
    Dec,
}

/// Where a lane of `shfl` gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// From a lower lane.
    Up,
    /// From a higher one.
    Down,
    /// From the one whose number differs in these bits.
    Butterfly,
    /// From this one.
    Index,
}

/// What is asked of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// All?
    All,
    /// Any?
    Any,
    /// All alike?
    Uniform,
}

/// What a barrier does beside waiting.
#[derive(Clone, Copy, Debug)]
pub enum Barrier {
    /// Nothing.
    Wait,
    /// It does not even wait.
    Arrive,
    /// Counts those whose predicate is true.
    Count(Slot, Test),
    /// Are all (any) predicates true?
    Vote(Vote, Pred, Test),
}

/// In the word of a barrier in memory: where the number of those begins that have not come yet, and the bit that is the phase.
pub const PENDING: u32 = 20;
/// As above.
pub const PHASE: u32 = 63;
/// Such a number's bits.
pub const COUNT: u64 = (1 << PENDING) - 1;

/// What is done with a barrier in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// So many are to come.
    Begin,
    /// It is none any more.
    End,
    /// Copies will bring so many bytes in this phase.
    Expect,
    /// They have.
    Complete,
    /// So many have come.
    Arrive,
    /// And will not come again.
    Drop,
    /// Bytes are expected, and one has come.
    ExpectAndArrive,
    /// And will not come again.
    ExpectAndDrop,
}

/// What a thread can ask about itself.
#[derive(Clone, Copy, Debug)]
pub enum Special {
    /// `%tid`, by axis.
    Thread(usize),
    /// `%ntid`.
    Threads(usize),
    /// `%ctaid`.
    Block(usize),
    /// `%nctaid`.
    Blocks(usize),
    /// `%laneid`.
    Lane,
    /// `%warpid`.
    Warp,
    /// `%nwarpid`.
    Warps,
    /// `%smid`: the worker that runs the block.
    Processor,
    /// `%nsmid`.
    Processors,
    /// `%gridid`.
    Grid,
    /// `%lanemask_*`: a mask from the lane's number.
    Mask(fn(u32) -> u32),
    /// `%clock`, `%clock64`: nanoseconds.
    Clock,
    /// `%globaltimer`: nanoseconds since 1970.
    Time,
    /// The address of the block's shared memory.
    SharedBase,
    /// `%dynamic_smem_size`.
    DynamicShared,
    /// `%total_smem_size`.
    Shared,
    /// `%envreg2` and `%envreg1`: the low and the high half of the address where blocks of a cooperative launch meet.
    Workspace(usize),
    /// What is always 0 here.
    Zero,
}

/// What a call calls.
#[derive(Clone, Copy, Debug)]
pub enum Callee {
    /// A function of the program.
    Function(usize),
    /// The one that a register names.
    Register(Slot),
    /// One of the device's own.
    BuiltIn(BuiltIn),
}

/// Functions of the device's own library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// `vprintf(format, arguments)`
    Print,
    /// `__assertfail(message, file, line, function, size of a character)`
    AssertFail,
    /// `malloc(size)`
    Malloc,
    /// `free(address)`
    Free,
}

/// Bytes that go from one frame to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Their offset in the caller's frame.
    pub caller: usize,
    /// Their offset in the callee's.
    pub callee: usize,
    /// How many.
    pub size: usize,
}

/// What a step does. Slots that are written are registers.
#[derive(Clone, Debug)]
pub enum Op {
    /// d = f(a)
    One(One, Slot, Slot),
    /// d = f(a, b)
    Two(Two, Slot, [Slot; 2]),
    /// d = f(a, b, c)
    Three(Three, Slot, [Slot; 3]),
    /// d = convert(a)
    Convert(Convert, Slot, Slot),
    /// d = convert(a, b), two values in one.
    ConvertPacked(Packed, Slot, [Slot; 2]),
    /// `bfi`, in so many bits.
    Insert(u32, Slot, [Slot; 4]),
    /// `lop3`
    Lookup(Slot, [Slot; 4]),
    /// d = a + b, or a - b, in so many bits, with the carry as it comes in and goes out.
    AddCarry {
        bits: u32,
        subtract: bool,
        take: bool,
        give: bool,
        d: Slot,
        a: [Slot; 2],
    },
    /// d = low or high part of a · b, + c, with carry.
    MadCarry {
        bits: u32,
        high: bool,
        signed: bool,
        take: bool,
        give: bool,
        d: Slot,
        a: [Slot; 3],
    },
    /// p = f(a, b), q = !f(a, b), each combined with another predicate.
    Compare {
        f: Compare,
        p: Option<Pred>,
        q: Option<Pred>,
        a: [Slot; 2],
        with: Option<(Bool, Test)>,
    },
    /// d = f(a, b) as a number: all ones, or 1.0.
    Set {
        f: Compare,
        d: Slot,
        one: u64,
        a: [Slot; 2],
        with: Option<(Bool, Test)>,
    },
    /// d = p ? a : b
    Select(Slot, [Slot; 2], Test),
    /// p = a op b
    Logic(Bool, Pred, Test, Test),
    /// p = a
    Copy(Pred, Test),
    /// d = a, for each half (quarter) of d: so many bits each.
    Pack(u32, Slot, Vec<Slot>),
    /// The other way round; `None`: not wanted.
    Unpack(u32, Vec<Option<Slot>>, Slot),
    /// d = what a thread asks.
    Ask(Slot, Special),
    /// Loads values of so many bytes; those that are signed are extended to so many bits.
    Load {
        at: Address,
        bytes: u8,
        extend: u8,
        d: Vec<Option<Slot>>,
    },
    /// Stores values.
    Store {
        at: Address,
        bytes: u8,
        values: Vec<Slot>,
    },
    /// An atomic update of a value of this type: d is the old one.
    Atomic {
        at: Address,
        ty: Type,
        update: Update,
        d: Option<Slot>,
        b: Slot,
        c: Slot,
    },
    /// Copies so many bytes, of which the first are there; the others become 0.
    CopyAsync {
        to: Address,
        from: Address,
        bytes: u8,
        there: Slot,
        nothing: Option<Test>,
    },
    /// Copies as many bytes as a register says, and tells a barrier in memory.
    CopyBulk {
        to: Address,
        from: Address,
        size: Slot,
        barrier: Option<Address>,
    },
    /// Does something with a barrier in memory; d = what it was.
    Phase(Phase, Address, Option<Slot>, Slot),
    /// p = is a barrier in memory in another phase than this bit of the register says?
    Reached {
        p: Pred,
        at: Address,
        phase: Slot,
        bit: u32,
    },
    /// p = does the address lie in this space?
    Within(Pred, Slot, Space),
    /// Loads or stores a matrix, whose rows (or columns) are so many elements apart.
    MatrixMove {
        at: Address,
        fragment: Box<Fragment>,
        stride: Slot,
        by_columns: bool,
        store: bool,
    },
    /// Multiplies matrices.
    MatrixProduct(Box<Product>),
    /// Loads or stores matrices of eight rows, whose addresses threads have.
    MatrixRows {
        at: Address,
        slots: Vec<Slot>,
        transposed: bool,
        store: bool,
    },
    /// Reads a texture.
    Texture(Box<Sample>),
    /// Loads values from a surface.
    SurfaceLoad(Box<Access>, Vec<Option<Slot>>),
    /// Stores values in a surface.
    SurfaceStore(Box<Access>, Vec<Slot>),
    /// Goes to a step.
    Branch(u32),
    /// Goes to the step whose number is at the index.
    Table(Slot, Vec<u32>),
    /// Calls.
    Call {
        callee: Callee,
        arguments: Vec<Copy>,
        results: Vec<Copy>,
    },
    /// Goes back to the caller; in a kernel, ends the thread.
    Return,
    /// Ends the thread.
    Exit,
    /// Stops the kernel.
    Trap,
    /// A barrier of the block: its number, and how many threads it is for (`None`: all).
    Barrier(Barrier, Slot, Option<Slot>),
    /// Lanes of the mask meet.
    Meet(Slot),
    /// Memory is the same for all before and after.
    Fence,
    /// d = the value of another lane, p = whether there is one; value, lane, clamp and segment mask, lanes.
    Shuffle(Shuffle, Slot, Option<Pred>, [Slot; 4]),
    /// p = what the lanes of the mask say.
    Vote(Vote, Pred, Test, Slot),
    /// d = who says yes.
    Ballot(Slot, Test, Slot),
    /// d = lanes with the same value (`all`: if it is the same for all, and p).
    Match {
        all: bool,
        d: Slot,
        p: Option<Pred>,
        a: Slot,
        mask: Slot,
    },
    /// d = the lanes that are here.
    Active(Slot),
    /// d = one value of those of all lanes.
    Reduce(Type, Update, Slot, [Slot; 2]),
    /// d = the leader, p = am I?
    Elect(Option<Slot>, Pred, Slot),
    /// An instruction that is not there: the kernel fails here, with this text.
    Unknown(String),
    /// Nothing.
    Nothing,
}

/// A step of a function.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who does it.
    pub guard: Option<Test>,
    /// What is done.
    pub op: Op,
    /// The line that it comes from.
    pub line: u32,
}

/// A function.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Its name.
    pub name: String,
    /// A kernel.
    pub entry: bool,
    /// What it does.
    pub steps: Vec<Step>,
    /// How many registers it has.
    pub registers: usize,
    /// How many predicate registers it has.
    pub predicates: usize,
    /// Its constants.
    pub constants: Vec<Lanes>,
    /// Bytes of local memory for a thread.
    pub frame: usize,
    /// Bytes of its parameters.
    pub parameters: usize,
    /// Offsets and sizes of its parameters.
    pub layout: Vec<(usize, usize)>,
    /// Most threads of a block; 0: not said.
    pub max_threads: u32,
    /// As many threads as a block must have, by axis.
    pub block: Option<[u32; 3]>,
    /// What it wants that is not there.
    pub lacks: Option<String>,
}
