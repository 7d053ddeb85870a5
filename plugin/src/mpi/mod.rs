//! The MPI front: every function of the MPICH ABI over the model and the lower half.
//!
//! `front` holds the exports, generated from `plugin/mpi/spec.txt`; the other modules implement the
//! functions that are more than translation. `cut`, `drain` and `replay` are what a checkpoint and a
//! restart need. All functions named like MPI's take what MPI's do; pointers are plain words, for most
//! are only passed on.
#![allow(
    clippy::missing_safety_doc,
    clippy::too_many_arguments,
    // A closure called at once is how `?` ends one call's work but not its bookkeeping.
    clippy::redundant_closure_call
)]

pub mod abi;
pub mod any;
pub mod apart;
pub mod assistant;
pub mod attrs;
pub mod batch;
pub mod bsend;
pub mod codes;
pub mod coll;
pub mod comms;
pub mod complete;
pub mod composite;
pub mod counted;
pub mod cut;
pub mod describe;
pub mod drain;
pub mod dynamic;
pub mod env;
pub mod epochs;
pub mod errs;
pub mod facts;
pub mod fileio;
pub mod files;
pub mod front;
pub mod graphs;
pub mod groups;
pub mod handle;
pub mod icoll;
pub mod infos;
pub mod inside;
pub mod languages;
pub mod large;
mod late;
mod launched;
pub mod lower;
pub mod mail;
pub mod model;
pub mod named;
pub mod ops;
mod own;
pub mod p2p;
pub mod packed;
pub mod partitioned;
pub mod persistent;
pub mod probe;
pub mod promises;
pub mod quick;
pub mod reopen;
pub mod replay;
pub mod rma;
pub mod segment;
pub mod sessions;
pub mod settle;
pub mod start;
pub mod status;
pub mod sync;
pub mod together;
pub mod tools;
pub mod topos;
mod turn;
pub mod typeq;
mod types;
pub mod unexpected;
pub mod views;
pub mod win_attrs;
pub mod windows;

pub use cut::{end_if_cutting as end_cut, presuspend, wait_at_most};
pub use describe::describe;
pub use env::active;
pub use replay::restart;
