//! What the device is like, from `attributes.txt`.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Attributes by number. `processors`: how many the device has.
pub fn attribute(number: i32, processors: usize) -> Option<i32> {
    static ALL: OnceLock<HashMap<i32, Option<i32>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let lines = include_str!("attributes.txt").lines();
        let entry = |line: &str| {
            let mut parts = line.split(' ');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()))
        };
        lines.filter_map(entry).collect()
    });
    let [major, minor] = super::other::capability();
    match number {
        number::COMPUTE_CAPABILITY_MAJOR => return Some(major),
        number::COMPUTE_CAPABILITY_MINOR => return Some(minor),
        _ => {}
    }
    all.get(&number)
        .map(|value| value.unwrap_or(processors as i32))
}

/// Numbers of attributes that the driver itself asks for.
pub mod number {
    #![allow(missing_docs)]
    pub const MAX_THREADS_PER_BLOCK: i32 = 1;
    pub const MAX_SHARED_MEMORY_PER_BLOCK: i32 = 8;
    pub const TOTAL_CONSTANT_MEMORY: i32 = 9;
    pub const WARP_SIZE: i32 = 10;
    pub const MAX_PITCH: i32 = 11;
    pub const MAX_REGISTERS_PER_BLOCK: i32 = 12;
    pub const CLOCK_RATE: i32 = 13;
    pub const TEXTURE_ALIGNMENT: i32 = 14;
    pub const COMPUTE_CAPABILITY_MAJOR: i32 = 75;
    pub const COMPUTE_CAPABILITY_MINOR: i32 = 76;
}
