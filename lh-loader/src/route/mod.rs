//! The system-call router.
pub mod decode;
pub mod eh;
pub mod patch;
pub mod scan;

#[cfg(test)]
mod tests;
