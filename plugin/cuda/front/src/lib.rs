//! libsplitproc_cuda.so, the CUDA front: the driver's and the runtime's functions over the model and the lower half.
//!
//! Only the driver API crosses (`lower`). `driver` holds its exports, generated from `plugin/cuda/driver.txt`; `runtime`
//! those of libcudart, implemented over them. The model keeps what is alive as the calls that made it (`record`), so that
//! `replay` makes it again in a fresh half. Device memory is placed at addresses of our choosing (`memory`); `cut` waits
//! for streams; `contents` has what devices hold saved. `plugin` is the way to libsplitproc.so: an MPI program's image need not
//! hold what is here.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments, non_snake_case)]

pub mod arena;
pub mod arrays;
pub mod codes;
mod contents;
pub mod context;
pub mod cut;
pub mod device;
pub mod driver;
mod elsewhere;
pub mod event;
pub mod fault;
pub mod forks;
mod ghosts;
pub mod globals;
pub mod graph;
pub mod host;
pub mod launch;
mod link;
pub mod lookup;
pub mod lower;
pub mod managed;
pub mod memory;
pub mod model;
pub mod module;
pub mod peers;
mod plugin;
pub mod pool;
mod printed;
pub mod ranges;
pub mod record;
pub mod replay;
pub mod runtime;
pub mod stream;
pub mod vmm;
