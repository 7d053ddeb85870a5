//! Numbers that each ABI has its own for.

use crate::Abi;

/// The ABI has no such number.
const NONE: i32 = i32::MIN;
/// What a number becomes whose own value means something in the other ABI: one that is wrong in all of them.
pub const WRONG: i32 = i32::MIN + 1;

/// A number that has a name.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Its name without `MPI_`.
    pub name: &'static str,
    canonical: i32,
    openmpi: i32,
    standard: i32,
}

const fn n(name: &'static str, canonical: i32, openmpi: i32, standard: i32) -> Number {
    Number {
        name,
        canonical,
        openmpi,
        standard,
    }
}

const fn some(value: i32) -> Option<i32> {
    if value == NONE {
        None
    } else {
        Some(value)
    }
}

impl Number {
    /// In the canonical ABI.
    pub const fn canonical(&self) -> i32 {
        self.canonical
    }

    /// In Open MPI's.
    pub const fn openmpi(&self) -> Option<i32> {
        some(self.openmpi)
    }

    /// In the standard's.
    pub const fn standard(&self) -> Option<i32> {
        some(self.standard)
    }
}

/// The numbers of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// They are bits that are added up.
    bits: bool,
    /// One for each name.
    pub rows: &'static [Number],
}

impl Numbers {
    /// An ABI's number as the canonical one. What has no name is itself: a rank, a tag, a key that was made.
    #[inline(never)]
    pub fn to_canonical<A: Abi>(&self, value: i32) -> i32 {
        self.map(value, A::number, |row| Some(row.canonical))
    }

    /// A canonical number as an ABI's.
    #[inline(never)]
    pub fn from_canonical<A: Abi>(&self, value: i32) -> i32 {
        self.map(value, |row| Some(row.canonical), A::number)
    }

    fn map(
        &self,
        value: i32,
        from: impl Fn(&Number) -> Option<i32>,
        to: impl Fn(&Number) -> Option<i32>,
    ) -> i32 {
        if self.bits {
            let set = |row: &&Number| from(row).is_some_and(|bit| value & bit != 0);
            let named = self.rows.iter().filter_map(&from).fold(0, |a, b| a | b);
            let known = self.rows.iter().filter(set).filter_map(&to);
            // A bit without a name is wrong: it stays so by the highest, which no ABI uses.
            let wrong = if value & !named == 0 { 0 } else { 1 << 30 };
            return known.fold(wrong, |all, bit| all | bit);
        }
        match self.rows.iter().find(|row| from(row) == Some(value)) {
            Some(row) => to(row).unwrap_or(WRONG),
            None if self.rows.iter().any(|row| to(row) == Some(value)) => WRONG,
            None => value,
        }
    }

    /// The numbers of a kind of `spec.txt`.
    pub fn of(kind: &str) -> Option<&'static Numbers> {
        Some(match kind {
            "r" => RANK,
            "t" => TAG,
            "k" => KEYVAL,
            "split" => SPLIT,
            "lock" => LOCK,
            "assert" => ASSERT,
            "amode" => AMODE,
            "whence" => WHENCE,
            "order" => ORDER,
            "distrib" => DISTRIB,
            "darg" => DARG,
            "class" => CLASS,
            "thread" => THREAD,
            "compare" => COMPARE,
            "topo" => TOPO,
            "combiner" => COMBINER,
            "verbosity" => VERBOSITY,
            "bind" => BIND,
            "scope" => SCOPE,
            _ => return None,
        })
    }
}

/// A user's error class or code has this bit in the canonical ABI.
const USERS: i32 = 0x4000_0000;
/// In another ABI a user's code of a predefined class has this one, which tells it from what a call gives: that is its class.
const OF_A_CLASS: i32 = 0x2000_0000;
/// The bits of a canonical error code that tell its class.
const CLASS_BITS: i32 = 0x7f;
/// Those that tell a user's code, below [`USERS`].
const CODE_BITS: i32 = OF_A_CLASS - 1;

/// A canonical error code as an ABI's: its class, unless it is the program's own.
#[inline(never)]
pub fn error_from_canonical<A: Abi>(code: i32) -> i32 {
    if code & USERS != 0 {
        return code;
    }
    let class = code & CLASS_BITS;
    let named = |row: &&Number| row.canonical == class;
    let number = ERROR.rows.iter().find(named).and_then(A::number);
    number.unwrap_or_else(|| A::number(&OTHER).unwrap_or(WRONG))
}

/// A code that the program has added, of a class of its own or a predefined one, as an ABI's.
pub fn added_from_canonical(code: i32) -> i32 {
    match code & USERS {
        0 => code | OF_A_CLASS,
        _ => code,
    }
}

/// An ABI's error code as a canonical one.
#[inline(never)]
pub fn error_to_canonical<A: Abi>(code: i32) -> i32 {
    if code & !CODE_BITS == OF_A_CLASS {
        return code & CODE_BITS;
    }
    let row = ERROR.rows.iter().find(|row| A::number(row) == Some(code));
    row.map_or(code, |row| row.canonical)
}

const OTHER: Number = n("ERR_OTHER", 15, 16, 16);

/// Ranks.
pub const RANK: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("ANY_SOURCE", -2, -1, -1),
        n("PROC_NULL", -1, -2, -3),
        n("ROOT", -3, -4, -4),
        n("UNDEFINED", -32766, -32766, -32766),
    ],
};

/// Tags.
pub const TAG: &Numbers = &Numbers {
    bits: false,
    rows: &[n("ANY_TAG", -1, -1, -2)],
};

/// Ways of `MPI_Comm_split_type`.
pub const SPLIT: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("COMM_TYPE_SHARED", 1, 0, 221),
        n("COMM_TYPE_HW_GUIDED", 2, 13, 223),
        n("COMM_TYPE_HW_UNGUIDED", 3, 12, 222),
        n("COMM_TYPE_RESOURCE_GUIDED", 4, NONE, 224),
        n("UNDEFINED", -32766, -32766, -32766),
    ],
};

/// Locks of windows.
pub const LOCK: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("LOCK_EXCLUSIVE", 234, 1, 301),
        n("LOCK_SHARED", 235, 2, 302),
    ],
};

/// What a program asserts of an epoch: bits.
pub const ASSERT: &Numbers = &Numbers {
    bits: true,
    rows: &[
        n("MODE_NOCHECK", 1024, 1, 1024),
        n("MODE_NOSTORE", 2048, 8, 8192),
        n("MODE_NOPUT", 4096, 4, 4096),
        n("MODE_NOPRECEDE", 8192, 2, 2048),
        n("MODE_NOSUCCEED", 16384, 16, 16384),
    ],
};

/// How a file is opened: bits.
pub const AMODE: &Numbers = &Numbers {
    bits: true,
    rows: &[
        n("MODE_CREATE", 1, 1, 2),
        n("MODE_RDONLY", 2, 2, 16),
        n("MODE_WRONLY", 4, 4, 256),
        n("MODE_RDWR", 8, 8, 32),
        n("MODE_DELETE_ON_CLOSE", 16, 16, 4),
        n("MODE_UNIQUE_OPEN", 32, 32, 128),
        n("MODE_EXCL", 64, 64, 8),
        n("MODE_APPEND", 128, 128, 1),
        n("MODE_SEQUENTIAL", 256, 256, 64),
    ],
};

/// Where a seek begins.
pub const WHENCE: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("SEEK_SET", 600, 600, 403),
        n("SEEK_CUR", 602, 602, 401),
        n("SEEK_END", 604, 604, 402),
    ],
};

/// Orders of arrays.
pub const ORDER: &Numbers = &Numbers {
    bits: false,
    rows: &[n("ORDER_C", 56, 0, 12), n("ORDER_FORTRAN", 57, 1, 15)],
};

/// Distributions of arrays.
pub const DISTRIB: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("DISTRIBUTE_BLOCK", 121, 0, 17),
        n("DISTRIBUTE_CYCLIC", 122, 1, 18),
        n("DISTRIBUTE_NONE", 123, 2, 16),
    ],
};

/// Their arguments.
pub const DARG: &Numbers = &Numbers {
    bits: false,
    rows: &[n("DISTRIBUTE_DFLT_DARG", -49767, -1, 19)],
};

/// Classes of datatypes.
pub const CLASS: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("TYPECLASS_REAL", 1, 2, 193),
        n("TYPECLASS_INTEGER", 2, 1, 192),
        n("TYPECLASS_COMPLEX", 3, 3, 194),
    ],
};

/// Thread levels.
pub const THREAD: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("THREAD_SINGLE", 0, 0, 0),
        n("THREAD_FUNNELED", 1, 1, 1024),
        n("THREAD_SERIALIZED", 2, 2, 2048),
        n("THREAD_MULTIPLE", 3, 3, 4096),
    ],
};

/// Results of comparisons.
pub const COMPARE: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("IDENT", 0, 0, 201),
        n("CONGRUENT", 1, 1, 202),
        n("SIMILAR", 2, 2, 203),
        n("UNEQUAL", 3, 3, 204),
    ],
};

/// Topologies.
pub const TOPO: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("GRAPH", 1, 2, 212),
        n("CART", 2, 1, 211),
        n("DIST_GRAPH", 3, 3, 213),
        n("UNDEFINED", -32766, -32766, -32766),
    ],
};

/// How a datatype was made.
pub const COMBINER: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("COMBINER_NAMED", 1, 0, 101),
        n("COMBINER_DUP", 2, 1, 102),
        n("COMBINER_CONTIGUOUS", 3, 2, 103),
        n("COMBINER_VECTOR", 4, 3, 104),
        n("COMBINER_HVECTOR_INTEGER", 5, 4, NONE),
        n("COMBINER_HVECTOR", 6, 5, 105),
        n("COMBINER_INDEXED", 7, 6, 106),
        n("COMBINER_HINDEXED_INTEGER", 8, 7, NONE),
        n("COMBINER_HINDEXED", 9, 8, 107),
        n("COMBINER_INDEXED_BLOCK", 10, 9, 108),
        n("COMBINER_STRUCT_INTEGER", 11, 10, NONE),
        n("COMBINER_STRUCT", 12, 11, 110),
        n("COMBINER_SUBARRAY", 13, 12, 111),
        n("COMBINER_DARRAY", 14, 13, 112),
        n("COMBINER_F90_REAL", 15, 14, 113),
        n("COMBINER_F90_COMPLEX", 16, 15, 114),
        n("COMBINER_F90_INTEGER", 17, 16, 115),
        n("COMBINER_RESIZED", 18, 17, 116),
        n("COMBINER_HINDEXED_BLOCK", 19, 18, 109),
        n("COMBINER_VALUE_INDEX", 20, NONE, 117),
    ],
};

/// Keys of attributes.
pub const KEYVAL: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("KEYVAL_INVALID", 0x24000000, -1, 0),
        n("TAG_UB", 0x64400001, 0, 501),
        n("HOST", 0x64400003, 1, 503),
        n("IO", 0x64400005, 2, 502),
        n("WTIME_IS_GLOBAL", 0x64400007, 3, 504),
        n("UNIVERSE_SIZE", 0x64400009, 6, 507),
        n("LASTUSEDCODE", 0x6440000b, 5, 506),
        n("APPNUM", 0x6440000d, 4, 505),
        n("WIN_BASE", 0x66000001, 7, 601),
        n("WIN_SIZE", 0x66000003, 8, 603),
        n("WIN_DISP_UNIT", 0x66000005, 9, 602),
        n("WIN_CREATE_FLAVOR", 0x66000007, 10, 604),
        n("WIN_MODEL", 0x66000009, 11, 605),
    ],
};

/// Values of `MPI_WIN_CREATE_FLAVOR`.
pub const FLAVOR: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("WIN_FLAVOR_CREATE", 1, 1, 311),
        n("WIN_FLAVOR_ALLOCATE", 2, 2, 312),
        n("WIN_FLAVOR_DYNAMIC", 3, 3, 313),
        n("WIN_FLAVOR_SHARED", 4, 4, 314),
    ],
};

/// Values of `MPI_WIN_MODEL`.
pub const MODEL: &Numbers = &Numbers {
    bits: false,
    rows: &[n("WIN_SEPARATE", 1, 1, 322), n("WIN_UNIFIED", 2, 0, 321)],
};

/// Who a variable of `MPI_T` is for.
pub const VERBOSITY: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("T_VERBOSITY_USER_BASIC", 221, 0, 0x09),
        n("T_VERBOSITY_USER_DETAIL", 222, 1, 0x0a),
        n("T_VERBOSITY_USER_ALL", 223, 2, 0x0c),
        n("T_VERBOSITY_TUNER_BASIC", 224, 3, 0x11),
        n("T_VERBOSITY_TUNER_DETAIL", 225, 4, 0x12),
        n("T_VERBOSITY_TUNER_ALL", 226, 5, 0x14),
        n("T_VERBOSITY_MPIDEV_BASIC", 227, 6, 0x21),
        n("T_VERBOSITY_MPIDEV_DETAIL", 228, 7, 0x22),
        n("T_VERBOSITY_MPIDEV_ALL", 229, 8, 0x24),
    ],
};

/// What object a variable of `MPI_T` is of.
pub const BIND: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("T_BIND_NO_OBJECT", 9700, 0, 1),
        n("T_BIND_MPI_COMM", 9701, 1, 2),
        n("T_BIND_MPI_DATATYPE", 9702, 2, 3),
        n("T_BIND_MPI_ERRHANDLER", 9703, 3, 4),
        n("T_BIND_MPI_FILE", 9704, 4, 5),
        n("T_BIND_MPI_GROUP", 9705, 5, 6),
        n("T_BIND_MPI_OP", 9706, 6, 7),
        n("T_BIND_MPI_REQUEST", 9707, 7, 8),
        n("T_BIND_MPI_WIN", 9708, 8, 9),
        n("T_BIND_MPI_MESSAGE", 9709, 9, 10),
        n("T_BIND_MPI_INFO", 9710, 10, 11),
        n("T_BIND_MPI_SESSION", 9711, 11, 12),
    ],
};

/// Which processes must set a variable of `MPI_T` alike.
pub const SCOPE: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("T_SCOPE_CONSTANT", 60438, 0, 1),
        n("T_SCOPE_READONLY", 60439, 1, 2),
        n("T_SCOPE_LOCAL", 60440, 2, 3),
        n("T_SCOPE_GROUP", 60441, 3, 4),
        n("T_SCOPE_GROUP_EQ", 60442, 4, 5),
        n("T_SCOPE_ALL", 60443, 5, 6),
        n("T_SCOPE_ALL_EQ", 60444, 6, 7),
    ],
};

/// Error classes.
pub const ERROR: &Numbers = &Numbers {
    bits: false,
    rows: &[
        n("SUCCESS", 0, 0, 0),
        n("ERR_BUFFER", 1, 1, 1),
        n("ERR_COUNT", 2, 2, 2),
        n("ERR_TYPE", 3, 3, 3),
        n("ERR_TAG", 4, 4, 4),
        n("ERR_COMM", 5, 5, 5),
        n("ERR_RANK", 6, 6, 6),
        n("ERR_ROOT", 7, 8, 8),
        n("ERR_GROUP", 8, 9, 9),
        n("ERR_OP", 9, 10, 10),
        n("ERR_TOPOLOGY", 10, 11, 11),
        n("ERR_DIMS", 11, 12, 12),
        n("ERR_ARG", 12, 13, 13),
        n("ERR_UNKNOWN", 13, 14, 14),
        n("ERR_TRUNCATE", 14, 15, 15),
        n("ERR_OTHER", 15, 16, 16),
        n("ERR_INTERN", 16, 17, 17),
        n("ERR_IN_STATUS", 17, 18, 19),
        n("ERR_PENDING", 18, 19, 18),
        n("ERR_REQUEST", 19, 7, 7),
        n("ERR_ACCESS", 20, 20, 20),
        n("ERR_AMODE", 21, 21, 21),
        n("ERR_BAD_FILE", 22, 23, 23),
        n("ERR_CONVERSION", 23, 25, 25),
        n("ERR_DUP_DATAREP", 24, 27, 27),
        n("ERR_FILE_EXISTS", 25, 28, 28),
        n("ERR_FILE_IN_USE", 26, 29, 29),
        n("ERR_FILE", 27, 30, 30),
        n("ERR_INFO", 28, 34, 34),
        n("ERR_INFO_KEY", 29, 31, 31),
        n("ERR_INFO_VALUE", 30, 33, 33),
        n("ERR_INFO_NOKEY", 31, 32, 32),
        n("ERR_IO", 32, 35, 35),
        n("ERR_NAME", 33, 38, 38),
        n("ERR_NO_MEM", 34, 39, 39),
        n("ERR_NOT_SAME", 35, 40, 40),
        n("ERR_NO_SPACE", 36, 41, 41),
        n("ERR_NO_SUCH_FILE", 37, 42, 42),
        n("ERR_PORT", 38, 43, 43),
        n("ERR_QUOTA", 39, 44, 44),
        n("ERR_READ_ONLY", 40, 45, 45),
        n("ERR_SERVICE", 41, 48, 51),
        n("ERR_SPAWN", 42, 50, 53),
        n("ERR_UNSUPPORTED_DATAREP", 43, 51, 54),
        n("ERR_UNSUPPORTED_OPERATION", 44, 52, 55),
        n("ERR_WIN", 45, 53, 56),
        n("ERR_BASE", 46, 24, 24),
        n("ERR_LOCKTYPE", 47, 37, 37),
        n("ERR_KEYVAL", 48, 36, 36),
        n("ERR_RMA_CONFLICT", 49, 46, 47),
        n("ERR_RMA_SYNC", 50, 47, 50),
        n("ERR_SIZE", 51, 49, 52),
        n("ERR_DISP", 52, 26, 26),
        n("ERR_ASSERT", 53, 22, 22),
        n("ERR_RMA_RANGE", 55, 68, 48),
        n("ERR_RMA_ATTACH", 56, 69, 46),
        n("ERR_RMA_SHARED", 57, 71, 49),
        n("ERR_RMA_FLAVOR", 58, 70, 57),
        n("T_ERR_MEMORY", 59, 54, 1005),
        n("T_ERR_NOT_INITIALIZED", 60, 55, 1003),
        n("T_ERR_CANNOT_INIT", 61, 56, 1001),
        n("T_ERR_INVALID_INDEX", 62, 57, 1007),
        n("T_ERR_INVALID_ITEM", 63, 58, 1008),
        n("T_ERR_INVALID_HANDLE", 64, 59, 1010),
        n("T_ERR_OUT_OF_HANDLES", 65, 60, 1012),
        n("T_ERR_OUT_OF_SESSIONS", 66, 61, 1013),
        n("T_ERR_INVALID_SESSION", 67, 62, 1009),
        n("T_ERR_CVAR_SET_NOT_NOW", 68, 63, 1014),
        n("T_ERR_CVAR_SET_NEVER", 69, 64, 1015),
        n("T_ERR_PVAR_NO_STARTSTOP", 70, 65, 1017),
        n("T_ERR_PVAR_NO_WRITE", 71, 66, 1016),
        n("T_ERR_PVAR_NO_ATOMIC", 72, 67, 1018),
        n("T_ERR_INVALID_NAME", 73, 73, 1011),
        n("T_ERR_INVALID", 74, 72, 1006),
        n("ERR_SESSION", 75, 78, 60),
        n("ERR_PROC_ABORTED", 76, 74, 58),
        n("ERR_VALUE_TOO_LARGE", 77, 79, 59),
        n("T_ERR_NOT_SUPPORTED", 78, NONE, 1004),
        n("T_ERR_NOT_ACCESSIBLE", 79, NONE, 1002),
        n("ERR_ERRHANDLER", 80, NONE, 61),
        n("ERR_ABI", 81, NONE, 62),
    ],
};
