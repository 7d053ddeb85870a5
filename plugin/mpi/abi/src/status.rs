//! `MPI_Status` of the other ABIs. What the three have in common is there in each: source, tag, error, bytes, cancelled.

use crate::canonical::Status;
use crate::{error_from_canonical, error_to_canonical, Abi, OpenMpi, Standard};

/// Open MPI's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OpenMpiStatus {
    pub source: i32,
    pub tag: i32,
    pub error: i32,
    pub cancelled: i32,
    pub bytes: usize,
}

/// The standard's; the five words are the library's: the first two are the count's as the canonical status has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StandardStatus {
    pub source: i32,
    pub tag: i32,
    pub error: i32,
    pub internal: [i32; 5],
}

impl From<Status> for OpenMpiStatus {
    #[inline(always)]
    fn from(s: Status) -> OpenMpiStatus {
        OpenMpiStatus {
            source: OpenMpi::rank_from_canonical(s.source),
            tag: OpenMpi::tag_from_canonical(s.tag),
            error: error_from::<OpenMpi>(s.error),
            cancelled: s.cancelled() as i32,
            bytes: s.count() as usize,
        }
    }
}

impl From<OpenMpiStatus> for Status {
    #[inline(always)]
    fn from(s: OpenMpiStatus) -> Status {
        let mut all = Status {
            source: OpenMpi::rank_to_canonical(s.source),
            tag: OpenMpi::tag_to_canonical(s.tag),
            error: error_to::<OpenMpi>(s.error),
            count_hi_and_cancelled: (s.cancelled != 0) as i32,
            count_lo: 0,
        };
        all.set_count(s.bytes as u64);
        all
    }
}

impl From<Status> for StandardStatus {
    #[inline(always)]
    fn from(s: Status) -> StandardStatus {
        StandardStatus {
            source: Standard::rank_from_canonical(s.source),
            tag: Standard::tag_from_canonical(s.tag),
            error: error_from::<Standard>(s.error),
            internal: [s.count_lo, s.count_hi_and_cancelled, 0, 0, 0],
        }
    }
}

impl From<StandardStatus> for Status {
    #[inline(always)]
    fn from(s: StandardStatus) -> Status {
        Status {
            source: Standard::rank_to_canonical(s.source),
            tag: Standard::tag_to_canonical(s.tag),
            error: error_to::<Standard>(s.error),
            count_lo: s.internal[0],
            count_hi_and_cancelled: s.internal[1],
        }
    }
}

#[inline(always)]
fn error_from<A: Abi>(code: i32) -> i32 {
    match code {
        0 => 0,
        _ => error_from_canonical::<A>(code),
    }
}

#[inline(always)]
fn error_to<A: Abi>(code: i32) -> i32 {
    match code {
        0 => 0,
        _ => error_to_canonical::<A>(code),
    }
}
