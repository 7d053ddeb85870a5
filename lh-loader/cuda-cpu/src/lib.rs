//! A CUDA device made of processors.
//!
//! A program's kernels come as PTX in its fat binaries (`fatbin`). `ptx` reads that text, `code` makes steps of it, and `exec` runs
//! them: a warp's 32 threads together, blocks on all processors, as the streams
//! (`engine`) ask for it. `driver` is what programs see: the driver API, by its C names.

pub mod code;
pub mod driver;
pub mod engine;
pub mod exec;
pub use cuda_fatbin as fatbin;
pub mod ptx;
