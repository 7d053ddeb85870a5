//! A CUDA device made of processors.
//!
//! A program's kernels come as PTX in its fat binaries. `ptx` reads that text, `code` makes steps of it, and `exec` runs
//! them: a warp's 32 threads together, blocks on all processors.

pub mod code;
pub mod exec;
pub mod ptx;
