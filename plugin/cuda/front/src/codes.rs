//! Error numbers, as in cuda.h and driver_types.h, with their names and texts.
#![allow(missing_docs)]

use core::ffi::CStr;

macro_rules! codes {
    ($($name:ident = $code:literal, $runtime:literal, $text:literal;)*) => {
        $(pub const $name: i32 = $code;)*
    };
}

cuda_spec::results!(codes);
cuda_spec::runtime_results!(codes);

pub const SUCCESS: i32 = 0;

/// What both libraries say of an error.
pub struct Told {
    code: i32,
    /// The driver's name; empty if it has none.
    pub driver: &'static CStr,
    /// The runtime's; empty if it has none.
    pub runtime: &'static CStr,
    pub text: &'static CStr,
}

macro_rules! text {
    ($($part:expr),*) => {
        match CStr::from_bytes_with_nul(concat!($($part,)* "\0").as_bytes()) {
            Ok(text) => text,
            Err(_) => panic!("it has no other NUL"),
        }
    };
}

macro_rules! of_driver {
    ($($name:ident = $code:literal, $runtime:literal, $text:literal;)*) => {
        &[$(Told {
            code: $code,
            driver: const { text!("CUDA_ERROR_", stringify!($name)) },
            runtime: const { text!($runtime) },
            text: const { text!($text) },
        },)*]
    };
}

macro_rules! of_runtime {
    ($($name:ident = $code:literal, $runtime:literal, $text:literal;)*) => {
        &[$(Told {
            code: $code,
            driver: c"",
            runtime: const { text!($runtime) },
            text: const { text!($text) },
        },)*]
    };
}

const FINE: Told = Told {
    code: SUCCESS,
    driver: c"CUDA_SUCCESS",
    runtime: c"cudaSuccess",
    text: c"no error",
};

static OF_DRIVER: &[Told] = cuda_spec::results!(of_driver);
static OF_RUNTIME: &[Told] = cuda_spec::runtime_results!(of_runtime);

/// What is said of an error, if it is known. Takes no lock, and asks no driver.
pub fn told(code: i32) -> Option<&'static Told> {
    static FIRST: Told = FINE;
    let mut all = [&FIRST].into_iter().chain(OF_DRIVER).chain(OF_RUNTIME);
    all.find(|t| t.code == code)
}
