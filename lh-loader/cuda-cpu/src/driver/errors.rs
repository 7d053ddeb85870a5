//! Results of calls.

use super::{api, put, Done};
use std::collections::HashMap;
use std::ffi::{c_char, CString};
use std::ptr::null;
use std::sync::OnceLock;

/// Why a call failed: a `CUresult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub u32);

/// A name for each, and all of them: number, name, text.
macro_rules! errors {
    ($($name:ident = $code:literal, $runtime:literal, $text:literal;)*) => {
        impl Error {
            $(#[allow(missing_docs)] pub const $name: Error = Error($code);)*
        }

        const ALL: &[(u32, &str, &str)] = &[
            (0, "CUDA_SUCCESS", "no error"),
            $(($code, concat!("CUDA_ERROR_", stringify!($name)), $text),)*
        ];
    };
}

cuda_spec::results!(errors);

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
        let text = |s: &str| CString::new(s).unwrap_or_default();
        let entry = |(code, name, says): &(u32, &str, &str)| (*code, [text(name), text(says)]);
        ALL.iter().map(entry).collect()
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
