//! Error numbers, as in cuda.h; the runtime's are the same where both have one.
#![allow(missing_docs)]

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        $(pub const $name: i32 = $code;)*
    };
}

cuda_spec::results!(codes);

pub const SUCCESS: i32 = 0;
/// The runtime's, for a launch.
pub const INVALID_CONFIGURATION: i32 = 9;
/// The runtime's.
pub const INVALID_SYMBOL: i32 = 13;
/// The runtime's.
pub const INVALID_MEMCPY_DIRECTION: i32 = 21;
/// The runtime's.
pub const MISSING_CONFIGURATION: i32 = 52;
/// The runtime's.
pub const INVALID_DEVICE_FUNCTION: i32 = 98;
