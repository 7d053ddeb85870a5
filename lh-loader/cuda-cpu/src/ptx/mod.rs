//! PTX as data, close to its text: NVIDIA's *Parallel Thread Execution ISA*, versions to 9.0.
//!
//! Names borrow from the text. An instruction is what it says (its name's parts and its operands); what it does is found
//! out in `code`, so a module with an instruction that is not known can be loaded as long as nothing runs it.

mod body;
mod lex;
mod parse;

pub use parse::parse;

/// What is wrong in a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX, line {line}: {what}")]
pub struct Error {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub what: String,
}

impl Error {
    /// Something wrong in a line.
    pub fn at(line: u32, what: impl Into<String>) -> Error {
        let what = what.into();
        Error { line, what }
    }
}

/// State spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// No space is named: any address.
    Generic,
    /// Device memory.
    Global,
    /// Constants.
    Const,
    /// A block's.
    Shared,
    /// A thread's.
    Local,
    /// Parameters.
    Param,
}

/// Fundamental types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A predicate.
    Pred,
    /// Bits without a meaning: 8, 16, 32, 64 or 128.
    B(u8),
    /// An unsigned integer.
    U(u8),
    /// A signed integer.
    S(u8),
    /// A floating-point number: 16, 32 or 64 bits.
    F(u8),
    /// `bf16`.
    Bf16,
    /// Two of `f16`.
    F16x2,
    /// Two of `bf16`.
    Bf16x2,
}

impl Type {
    /// The type that a name's part names.
    pub fn named(name: &str) -> Option<Type> {
        Some(match name {
            "pred" => Type::Pred,
            "bf16" => Type::Bf16,
            "f16x2" => Type::F16x2,
            "bf16x2" => Type::Bf16x2,
            _ => {
                let bits = name.get(1..)?;
                let bits = matches!(bits, "8" | "16" | "32" | "64" | "128")
                    .then(|| bits.parse().ok())??;
                match name.as_bytes()[0] {
                    b'b' => Type::B(bits),
                    b'u' => Type::U(bits),
                    b's' => Type::S(bits),
                    b'f' => Type::F(bits),
                    _ => return None,
                }
            }
        })
    }

    /// Its size in bits.
    pub fn bits(self) -> u32 {
        match self {
            Type::Pred => 1,
            Type::B(n) | Type::U(n) | Type::S(n) | Type::F(n) => n.into(),
            Type::Bf16 => 16,
            Type::F16x2 | Type::Bf16x2 => 32,
        }
    }

    /// Its size in bytes.
    pub fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }
}

/// A variable, or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable<'a> {
    /// Where it is.
    pub space: Space,
    /// Its name.
    pub name: &'a str,
    /// The type of its elements.
    pub ty: Type,
    /// Its alignment in bytes.
    pub align: usize,
    /// How many elements it has; 0: as many as there is room for.
    pub count: usize,
    /// What it begins with; what is not said is 0.
    pub init: Vec<Init<'a>>,
    /// It is defined elsewhere.
    pub external: bool,
    /// It is managed: host and device share it.
    pub managed: bool,
}

impl Variable<'_> {
    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.count * self.ty.bytes()
    }
}

/// A value that a variable begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init<'a> {
    /// Bits.
    Bits(u64),
    /// The address of a symbol, and an offset.
    Address(&'a str, i64),
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// A kernel.
    pub entry: bool,
    /// Its parameters.
    pub params: Vec<Variable<'a>>,
    /// What it returns.
    pub returns: Vec<Variable<'a>>,
    /// Its statements; none: it is defined elsewhere.
    pub body: Option<Vec<Statement<'a>>>,
    /// Most threads of a block (`.maxntid`, `.reqntid`), 0: not said.
    pub max_threads: u32,
    /// As many threads as a block must have, by axis (`.reqntid`).
    pub block: Option<[u32; 3]>,
    /// What it wants that is not there.
    pub lacks: Option<String>,
    /// The line it begins in.
    pub line: u32,
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Statement<'a> {
    /// A place to go to.
    Label(&'a str),
    /// Registers: a name, or with a count all of `name0` … `name(count-1)`.
    Registers(Type, &'a str, Option<u32>),
    /// A variable.
    Variable(Variable<'a>),
    /// An instruction.
    Instruction(Instruction<'a>),
    /// `name: .branchtargets …`.
    Targets(&'a str, Vec<&'a str>),
    /// `name: .callprototype …`: returns and parameters.
    Prototype(&'a str, Vec<Variable<'a>>, Vec<Variable<'a>>),
    /// `{`.
    Begin,
    /// `}`.
    End,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction<'a> {
    /// The predicate that decides whether it is done, and whether it must be false.
    pub guard: Option<(&'a str, bool)>,
    /// Its name's parts.
    pub name: Vec<&'a str>,
    /// Its operands.
    pub operands: Vec<Operand<'a>>,
    /// Its line.
    pub line: u32,
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand<'a> {
    /// A register, a symbol, or `_`; and what follows its dot (`%tid.x`), if anything.
    Name(&'a str, &'a str),
    /// `!name`.
    Not(&'a str),
    /// An integer.
    Int(i128),
    /// Single precision, by its bits.
    F32(u32),
    /// Double precision, by its bits.
    F64(u64),
    /// `name+offset` outside of brackets.
    Sum(&'a str, i64),
    /// `[base+offset]`: the base is a name, or empty.
    Address(&'a str, i64),
    /// `{a, b}`.
    Vector(Vec<Operand<'a>>),
    /// `(a, b)`.
    List(Vec<Operand<'a>>),
    /// `a|b`.
    Both(&'a str, &'a str),
}

/// A module.
#[derive(Clone, Debug, Default)]
pub struct Module<'a> {
    /// Variables outside of functions.
    pub variables: Vec<Variable<'a>>,
    /// Functions.
    pub functions: Vec<Function<'a>>,
    /// `.target`'s first name.
    pub target: &'a str,
}
