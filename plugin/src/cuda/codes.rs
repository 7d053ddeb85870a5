//! Error numbers, as in cuda.h; the runtime's are the same where both have one.
#![allow(missing_docs)]

pub const SUCCESS: i32 = 0;
pub const INVALID_VALUE: i32 = 1;
pub const OUT_OF_MEMORY: i32 = 2;
pub const NOT_INITIALIZED: i32 = 3;
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
pub const NO_DEVICE: i32 = 100;
pub const INVALID_DEVICE: i32 = 101;
pub const INVALID_CONTEXT: i32 = 201;
pub const INVALID_HANDLE: i32 = 400;
pub const NOT_FOUND: i32 = 500;
pub const NOT_READY: i32 = 600;
pub const HOST_MEMORY_ALREADY_REGISTERED: i32 = 712;
pub const HOST_MEMORY_NOT_REGISTERED: i32 = 713;
pub const NOT_SUPPORTED: i32 = 801;
pub const STREAM_CAPTURE_UNSUPPORTED: i32 = 900;
