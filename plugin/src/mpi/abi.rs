//! The ABI of the model is the canonical one.

pub use mpi_abi::canonical::*;
