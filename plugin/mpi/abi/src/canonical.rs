//! The canonical ABI, MPICH's: predefined handles, constants, error classes and the status; and the kinds of virtual
//! handles, which are ours.
#![allow(missing_docs)]

/// `MPI_Status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    pub count_lo: i32,
    pub count_hi_and_cancelled: i32,
    pub source: i32,
    pub tag: i32,
    pub error: i32,
}

impl Status {
    /// The status of a null or inactive request.
    pub const EMPTY: Status = Status {
        count_lo: 0,
        count_hi_and_cancelled: 0,
        source: ANY_SOURCE,
        tag: ANY_TAG,
        error: 0,
    };

    /// Bytes received.
    pub fn count(&self) -> u64 {
        (self.count_lo as u32 as u64) | (((self.count_hi_and_cancelled as u32 as u64) >> 1) << 32)
    }

    /// Sets the number of bytes received.
    pub fn set_count(&mut self, bytes: u64) {
        self.count_lo = bytes as i32;
        self.count_hi_and_cancelled =
            (self.count_hi_and_cancelled & 1) | (((bytes >> 32) as i32) << 1);
    }

    /// Was the request cancelled?
    pub fn cancelled(&self) -> bool {
        self.count_hi_and_cancelled & 1 != 0
    }
}

pub const COMM_NULL: i32 = 0x0400_0000;
pub const COMM_WORLD: i32 = 0x4400_0000;
pub const COMM_SELF: i32 = 0x4400_0001;
pub const GROUP_NULL: i32 = 0x0800_0000;
pub const GROUP_EMPTY: i32 = 0x4800_0000;
pub const DATATYPE_NULL: i32 = 0x0c00_0000;
pub const BYTE: i32 = 0x4c00_010d;
pub const PACKED: i32 = 0x4c00_010f;
pub const INT: i32 = 0x4c00_0405;
pub const LONG_LONG: i32 = 0x4c00_0809;
pub const OP_NULL: i32 = 0x1800_0000;
pub const MAX: i32 = 0x5800_0001;
pub const REQUEST_NULL: i32 = 0x2c00_0000;
pub const MESSAGE_NULL: i32 = 0x2c00_0000;
pub const MESSAGE_NO_PROC: i32 = 0x6c00_0000;
pub const ERRHANDLER_NULL: i32 = 0x1400_0000;
pub const ERRORS_ARE_FATAL: i32 = 0x5400_0000;
pub const ERRORS_RETURN: i32 = 0x5400_0001;
pub const ERRORS_ABORT: i32 = 0x5400_0003;
pub const WIN_NULL: i32 = 0x2000_0000;
pub const SESSION_NULL: i32 = 0x3800_0000;
pub const INFO_NULL: i32 = 0x1c00_0000;
pub const INFO_ENV: i32 = 0x5c00_0001;
/// `MPI_INFO_ENV` of a front that tells all of the standard's keys.
pub const INFO_ENV_ALL: i32 = 0x5c00_0002;
pub const KEYVAL_INVALID: i32 = 0x2400_0000;

/// Virtual handles: kind bits as MPICH's own dynamic handles have them, our index in the low bits.
pub const V_COMM: i32 = 0x8400_0000_u32 as i32;
pub const V_GROUP: i32 = 0x8800_0000_u32 as i32;
pub const V_DATATYPE: i32 = 0xcc00_0000_u32 as i32;
pub const V_ERRHANDLER: i32 = 0x9400_0000_u32 as i32;
pub const V_OP: i32 = 0x9800_0000_u32 as i32;
pub const V_INFO: i32 = 0x9c00_0000_u32 as i32;
pub const V_SESSION: i32 = 0xb800_0000_u32 as i32;
pub const V_REQUEST: i32 = 0xac00_0000_u32 as i32;
pub const V_MESSAGE: i32 = 0xac80_0000_u32 as i32;
pub const V_KEYVAL_COMM: i32 = 0xa440_0000_u32 as i32;
pub const V_KEYVAL_TYPE: i32 = 0xa480_0000_u32 as i32;
pub const V_KEYVAL_WIN: i32 = 0xa4c0_0000_u32 as i32;
pub const V_WIN: i32 = 0xa000_0000_u32 as i32;
pub const KIND_MASK: i32 = 0xfc00_0000_u32 as i32;
pub const INDEX_MASK: i32 = 0x003f_ffff;

pub const ANY_SOURCE: i32 = -2;
pub const PROC_NULL: i32 = -1;
pub const ROOT: i32 = -3;
pub const ANY_TAG: i32 = -1;
pub const UNDEFINED: i32 = -32766;
pub const IN_PLACE: usize = usize::MAX;
pub const STATUS_IGNORE: usize = 1;
pub const IDENT: i32 = 0;
pub const CONGRUENT: i32 = 1;
pub const SIMILAR: i32 = 2;
pub const UNEQUAL: i32 = 3;
pub const GRAPH: i32 = 1;
pub const CART: i32 = 2;
pub const DIST_GRAPH: i32 = 3;
pub const ORDER_C: i32 = 56;
pub const THREAD_SERIALIZED: i32 = 2;
pub const THREAD_MULTIPLE: i32 = 3;
pub const LOCK_EXCLUSIVE: i32 = 234;
pub const LOCK_SHARED: i32 = 235;
pub const MODE_NOCHECK: i32 = 1024;
pub const MODE_NOSUCCEED: i32 = 16384;
pub const MIN: i32 = 0x5800_0002;
pub const MODE_CREATE: i32 = 1;
pub const MODE_WRONLY: i32 = 4;
pub const MODE_RDWR: i32 = 8;
pub const MODE_EXCL: i32 = 64;
pub const MODE_APPEND: i32 = 128;
pub const MODE_SEQUENTIAL: i32 = 256;
pub const SEEK_SET: i32 = 600;
pub const SEEK_CUR: i32 = 602;
pub const SEEK_END: i32 = 604;
pub const MAX_DATAREP_STRING: usize = 128;
pub const MAX_OBJECT_NAME: usize = 128;
pub const MAX_INFO_KEY: usize = 255;

pub const SUCCESS: i32 = 0;
/// The bits of an error code that tell its class.
pub const ERR_CLASS: i32 = 0x7f;
pub const ERR_BUFFER: i32 = 1;
pub const ERR_COUNT: i32 = 2;
pub const ERR_TYPE: i32 = 3;
pub const ERR_COMM: i32 = 5;
pub const ERR_RANK: i32 = 6;
pub const ERR_GROUP: i32 = 8;
pub const ERR_OP: i32 = 9;
pub const ERR_TOPOLOGY: i32 = 10;
pub const ERR_DIMS: i32 = 11;
pub const ERR_ARG: i32 = 12;
pub const ERR_TRUNCATE: i32 = 14;
pub const ERR_OTHER: i32 = 15;
pub const ERR_IN_STATUS: i32 = 17;
pub const ERR_PENDING: i32 = 18;
pub const ERR_REQUEST: i32 = 19;
pub const ERR_NO_MEM: i32 = 34;
pub const ERR_WIN: i32 = 45;
pub const ERR_LOCKTYPE: i32 = 47;
pub const ERR_RMA_SYNC: i32 = 50;
pub const ERR_SIZE: i32 = 51;
pub const ERR_DISP: i32 = 52;
pub const ERR_RMA_SHARED: i32 = 57;
pub const ERR_RMA_FLAVOR: i32 = 58;
pub const ERR_AMODE: i32 = 21;
pub const ERR_CONVERSION: i32 = 23;
pub const ERR_DUP_DATAREP: i32 = 24;
pub const ERR_FILE: i32 = 27;
pub const ERR_INFO: i32 = 28;
pub const ERR_IO: i32 = 32;
pub const ERR_UNSUPPORTED_OPERATION: i32 = 44;
pub const DISPLACEMENT_CURRENT: i64 = -54_278_278;
