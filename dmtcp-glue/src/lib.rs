//! What the plugin's hosts share: DMTCP's plugin interface, in Rust.

pub mod abi;
