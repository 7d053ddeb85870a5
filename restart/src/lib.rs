//! The checkpoint image of one rank, the manifest that makes the images of a job one generation, and what the
//! hosts and the command know of MPI libraries and launchers.
//!
//! The embedded host writes and reads these while the application is stopped; the `splitproc`
//! command reads them to check a restart before anything runs, and to show what is inside.

pub mod code;
pub mod half;
pub mod image;
pub mod launcher;
pub mod libraries;
pub mod manifest;
pub mod memory;
pub mod meta;
pub mod mpich;
pub mod xsave;
