//! Results of calls, from `errors.txt`.

use super::{api, put, Done};
use std::collections::HashMap;
use std::ffi::{c_char, CString};
use std::ptr::null;
use std::sync::OnceLock;

/// Why a call failed: a `CUresult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub u32);

/// Names for those that this driver gives.
macro_rules! errors {
    ($($name:ident = $code:literal)*) => {
        impl Error {
            $(#[allow(missing_docs)] pub const $name: Error = Error($code);)*
        }
    };
}

errors! {
    INVALID_VALUE = 1
    OUT_OF_MEMORY = 2
    NOT_INITIALIZED = 3
    INVALID_DEVICE = 101
    INVALID_IMAGE = 200
    INVALID_CONTEXT = 201
    NO_BINARY_FOR_GPU = 209
    UNSUPPORTED_LIMIT = 215
    PEER_ACCESS_UNSUPPORTED = 217
    INVALID_PTX = 218
    FILE_NOT_FOUND = 301
    INVALID_HANDLE = 400
    ILLEGAL_STATE = 401
    NOT_FOUND = 500
    NOT_READY = 600
    ILLEGAL_ADDRESS = 700
    LAUNCH_OUT_OF_RESOURCES = 701
    LAUNCH_TIMEOUT = 702
    PEER_ACCESS_ALREADY_ENABLED = 704
    PEER_ACCESS_NOT_ENABLED = 705
    PRIMARY_CONTEXT_ACTIVE = 708
    ASSERT = 710
    HOST_MEMORY_ALREADY_REGISTERED = 712
    HOST_MEMORY_NOT_REGISTERED = 713
    HARDWARE_STACK_ERROR = 714
    ILLEGAL_INSTRUCTION = 715
    MISALIGNED_ADDRESS = 716
    LAUNCH_FAILED = 719
    COOPERATIVE_LAUNCH_TOO_LARGE = 720
    NOT_SUPPORTED = 801
    STREAM_CAPTURE_UNSUPPORTED = 900
    STREAM_CAPTURE_INVALIDATED = 901
    STREAM_CAPTURE_MERGE = 902
    STREAM_CAPTURE_UNMATCHED = 903
    STREAM_CAPTURE_UNJOINED = 904
    STREAM_CAPTURE_ISOLATION = 905
    STREAM_CAPTURE_IMPLICIT = 906
    CAPTURED_EVENT = 907
    GRAPH_EXEC_UPDATE_FAILURE = 910
}

/// What C gets of a result.
pub fn code(done: Done) -> u32 {
    match done {
        Ok(()) => 0,
        Err(Error(code)) => code,
    }
}

/// Name and text by code.
fn texts() -> &'static HashMap<u32, [CString; 2]> {
    static TEXTS: OnceLock<HashMap<u32, [CString; 2]>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let lines = include_str!("errors.txt").lines();
        let entry = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let code = parts.next()?.parse().ok()?;
            let mut text = || CString::new(parts.next()?).ok();
            Some((code, [text()?, text()?]))
        };
        lines.filter_map(entry).collect()
    })
}

/// Gives one of the texts of a result.
///
/// # Safety
/// As `put`.
unsafe fn describe(error: u32, which: usize, out: *mut *const c_char) -> Done {
    let found = texts().get(&error);
    let at = found.map_or(null(), |t| t[which].as_ptr());
    // SAFETY: the caller's.
    unsafe { put(out, at)? };
    found.map(|_| ()).ok_or(Error::INVALID_VALUE)
}

api! {
    /// A result's name.
    fn cuGetErrorName(error: u32, out: *mut *const c_char) {
        describe(error, 0, out)
    }

    /// A result in words.
    fn cuGetErrorString(error: u32, out: *mut *const c_char) {
        describe(error, 1, out)
    }
}
