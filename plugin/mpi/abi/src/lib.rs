//! Three ABIs of MPI: the canonical one, which is MPICH's and the one that the model has; Open MPI's; the standard's of MPI
//! 5.0. Tables of their predefined objects and of their numbers, and functions that translate each way.
//!
//! Open MPI's handles are addresses of objects that its library exports, so a row names the symbol; where the object lies is
//! for the program's linker to know. The others' are numbers.
#![no_std]

pub mod canonical;
pub mod numbers;
mod predefined;
mod status;
mod thunks;

pub use numbers::{
    added_from_canonical, error_from_canonical, error_to_canonical, Number, Numbers,
};
pub use status::{OpenMpiStatus, StandardStatus};
pub use thunks::OPERATORS;

/// Kinds of handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Communicators.
    Comm,
    /// Groups.
    Group,
    /// Datatypes.
    Datatype,
    /// Operators.
    Op,
    /// Requests.
    Request,
    /// Matched messages.
    Message,
    /// Error handlers.
    Errhandler,
    /// Info objects.
    Info,
    /// Windows.
    Window,
    /// Files.
    File,
    /// Sessions.
    Session,
}

/// All of them, in the order of their letters in `spec.txt`: CGDORMEIWFS.
pub const KINDS: [Kind; 11] = [
    Kind::Comm,
    Kind::Group,
    Kind::Datatype,
    Kind::Op,
    Kind::Request,
    Kind::Message,
    Kind::Errhandler,
    Kind::Info,
    Kind::Window,
    Kind::File,
    Kind::Session,
];

/// A predefined object.
#[derive(Clone, Copy, Debug)]
pub struct Predefined {
    /// Its kind.
    pub kind: Kind,
    /// Its name without `MPI_`.
    pub name: &'static str,
    /// Its canonical handle.
    pub canonical: i32,
    symbol: &'static str,
    fortran: i32,
    standard: i32,
}

impl Predefined {
    /// The symbol whose address is Open MPI's handle.
    pub fn symbol(&self) -> Option<&'static str> {
        Some(self.symbol).filter(|s| !s.is_empty())
    }

    /// Open MPI's handle in Fortran.
    pub fn fortran(&self) -> Option<i32> {
        Some(self.fortran).filter(|n| *n >= 0)
    }

    /// The standard's handle.
    pub const fn standard(&self) -> Option<i32> {
        match self.standard {
            n @ 0.. => Some(n),
            _ => None,
        }
    }
}

/// More symbols of Open MPI's library for objects that have two names, or that only C++ programs use.
pub const ALIASES: &[(Kind, &str, i32)] = &[
    (Kind::Datatype, "ompi_mpi_c_complex", 0x4c00_0840),
    (Kind::Datatype, "ompi_mpi_ldblcplex", 0x4c00_2042),
    (
        Kind::Datatype,
        "ompi_mpi_unavailable",
        canonical::DATATYPE_NULL,
    ),
    (
        Kind::Errhandler,
        "ompi_mpi_errors_throw_exceptions",
        0x5400_0002,
    ),
];

impl Kind {
    /// Its predefined objects.
    pub const fn predefined(self) -> &'static [Predefined] {
        match self {
            Kind::Comm => predefined::COMMS,
            Kind::Group => predefined::GROUPS,
            Kind::Datatype => predefined::DATATYPES,
            Kind::Op => predefined::OPS,
            Kind::Request => predefined::REQUESTS,
            Kind::Message => predefined::MESSAGES,
            Kind::Errhandler => predefined::ERRHANDLERS,
            Kind::Info => predefined::INFOS,
            Kind::Window => predefined::WINDOWS,
            Kind::File => predefined::FILES,
            Kind::Session => predefined::SESSIONS,
        }
    }

    /// The kind that a letter of `spec.txt` means.
    pub fn of(letter: &str) -> Option<Kind> {
        Some(match letter {
            "C" => Kind::Comm,
            "G" => Kind::Group,
            "D" => Kind::Datatype,
            "O" => Kind::Op,
            "R" => Kind::Request,
            "M" => Kind::Message,
            "E" => Kind::Errhandler,
            "I" => Kind::Info,
            "W" => Kind::Window,
            "F" => Kind::File,
            "S" => Kind::Session,
            _ => return None,
        })
    }

    /// The predefined object of a canonical handle.
    pub fn canonical(self, handle: i32) -> Option<&'static Predefined> {
        self.predefined().iter().find(|p| p.canonical == handle)
    }

    /// The predefined object of one of the standard's handles.
    pub fn standard(self, handle: i32) -> Option<&'static Predefined> {
        let all = self.predefined().iter();
        all.clone().find(|p| p.standard() == Some(handle))
    }
}

/// An ABI that is not the canonical one.
pub trait Abi: Sized {
    /// What `MPI_IN_PLACE` is; `MPI_BOTTOM` is null in all.
    const IN_PLACE: usize;
    /// `MPI_STATUS_IGNORE` and `MPI_STATUSES_IGNORE`.
    const STATUS_IGNORE: usize;
    /// `MPI_UNWEIGHTED` and `MPI_WEIGHTS_EMPTY`; canonically they are addresses.
    const WEIGHTS: [usize; 2];
    /// `MPI_BUFFER_AUTOMATIC`.
    const BUFFER_AUTOMATIC: Option<usize>;
    /// How long its strings are, with their ends.
    const MAX: MaxStrings;
    /// `MPI_DISPLACEMENT_CURRENT`.
    const DISPLACEMENT_CURRENT: i64;

    /// Its number.
    fn number(row: &Number) -> Option<i32>;

    /// A rank as the canonical one.
    #[inline(always)]
    fn rank_to_canonical(rank: i32) -> i32 {
        match rank {
            0.. => rank,
            _ => numbers::RANK.to_canonical::<Self>(rank),
        }
    }

    /// A canonical rank as its own.
    #[inline(always)]
    fn rank_from_canonical(rank: i32) -> i32 {
        match rank {
            0.. => rank,
            _ => numbers::RANK.from_canonical::<Self>(rank),
        }
    }

    /// A tag as the canonical one.
    #[inline(always)]
    fn tag_to_canonical(tag: i32) -> i32 {
        match tag {
            0.. => tag,
            _ => numbers::TAG.to_canonical::<Self>(tag),
        }
    }

    /// A canonical tag as its own.
    #[inline(always)]
    fn tag_from_canonical(tag: i32) -> i32 {
        match tag {
            0.. => tag,
            _ => numbers::TAG.from_canonical::<Self>(tag),
        }
    }
}

/// `MPI_MAX_*`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct MaxStrings {
    pub processor_name: usize,
    pub error_string: usize,
    pub object_name: usize,
    pub library_version: usize,
    pub info_key: usize,
    pub info_val: usize,
    pub port_name: usize,
    pub datarep: usize,
}

/// Open MPI's, versions 4 and 5: a later one has more numbers, and none is another.
#[derive(Clone, Copy, Debug)]
pub enum OpenMpi {}

impl Abi for OpenMpi {
    const IN_PLACE: usize = 1;
    const STATUS_IGNORE: usize = 0;
    const WEIGHTS: [usize; 2] = [2, 3];
    const BUFFER_AUTOMATIC: Option<usize> = None;
    const MAX: MaxStrings = MaxStrings {
        processor_name: 256,
        error_string: 256,
        object_name: 64,
        library_version: 256,
        info_key: 36,
        info_val: 256,
        port_name: 1024,
        datarep: 128,
    };
    const DISPLACEMENT_CURRENT: i64 = -54_278_278;

    fn number(row: &Number) -> Option<i32> {
        row.openmpi()
    }
}

/// The standard's of MPI 5.0.
#[derive(Clone, Copy, Debug)]
pub enum Standard {}

impl Abi for Standard {
    const IN_PLACE: usize = 1;
    const STATUS_IGNORE: usize = 0;
    const WEIGHTS: [usize; 2] = [10, 11];
    const BUFFER_AUTOMATIC: Option<usize> = Some(2);
    const MAX: MaxStrings = MaxStrings {
        processor_name: 256,
        error_string: 512,
        object_name: 128,
        library_version: 8192,
        info_key: 256,
        info_val: 1024,
        port_name: 1024,
        datarep: 128,
    };
    const DISPLACEMENT_CURRENT: i64 = -1;

    fn number(row: &Number) -> Option<i32> {
        row.standard()
    }
}

#[cfg(test)]
mod tests;
