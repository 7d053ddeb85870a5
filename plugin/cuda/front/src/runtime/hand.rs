//! Functions that the runtime has by hand, by the names that `runtime.txt` knows.

pub use super::arrays::*;
pub use super::copy::*;
pub use super::device::*;
pub use super::fill::*;
pub use super::graphs::*;
pub use super::kernels::*;
pub use super::memory::*;
pub use super::properties::*;
pub use super::register::*;
