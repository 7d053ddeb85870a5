//! What the library says of itself: its binary interface, the hardware, the datatype of a value with an index.

use super::abi::*;
use super::front::{finish, put, query};
use super::infos::new_info;
use super::lower::Fail;
use super::model::datatype;

/// The sizes that an info object tells.
unsafe fn sizes(list: &[(&str, &str)], out: usize) -> i32 {
    let pair = |(k, v): &(&str, &str)| ((*k).into(), (*v).into());
    new_info(list.iter().map(pair).collect(), out);
    SUCCESS
}

/// The canonical ABI is not the standard's: -1. A front that has the standard's says so itself.
pub unsafe fn abi_get_version(major: usize, minor: usize) -> i32 {
    put(major, -1i32);
    put(minor, -1i32);
    SUCCESS
}

pub unsafe fn abi_get_info(out: usize) -> i32 {
    let list = [
        ("mpi_aint_size", "8"),
        ("mpi_count_size", "8"),
        ("mpi_offset_size", "8"),
    ];
    sizes(&list, out)
}

pub unsafe fn abi_get_fortran_info(out: usize) -> i32 {
    let list = [
        ("mpi_logical_size", "4"),
        ("mpi_integer_size", "4"),
        ("mpi_real_size", "4"),
        ("mpi_double_precision_size", "8"),
        // Those that a library may be without are not promised: a restart may be over it.
        ("mpi_logical1_supported", "false"),
        ("mpi_logical2_supported", "false"),
        ("mpi_logical4_supported", "false"),
        ("mpi_logical8_supported", "false"),
        ("mpi_logical16_supported", "false"),
        ("mpi_integer1_supported", "true"),
        ("mpi_integer2_supported", "true"),
        ("mpi_integer4_supported", "true"),
        ("mpi_integer8_supported", "true"),
        ("mpi_integer16_supported", "false"),
        ("mpi_real2_supported", "false"),
        ("mpi_real4_supported", "true"),
        ("mpi_real8_supported", "true"),
        ("mpi_real16_supported", "true"),
        ("mpi_complex4_supported", "false"),
        ("mpi_complex8_supported", "true"),
        ("mpi_complex16_supported", "true"),
        ("mpi_complex32_supported", "true"),
        ("mpi_double_complex_supported", "true"),
    ];
    sizes(&list, out)
}

/// The sizes are the compiler's: they can't be changed.
pub unsafe fn abi_set_fortran_info(_info: i32) -> i32 {
    finish(COMM_SELF, Ok(ERR_OTHER))
}

pub unsafe fn abi_get_fortran_booleans(size: i32, yes: usize, no: usize, set: usize) -> i32 {
    for (at, value) in [(yes, 1), (no, 0)] {
        match size {
            1 => put(at, value as i8),
            2 => put(at, value as i16),
            4 => put(at, value),
            8 => put(at, i64::from(value)),
            _ => return finish(COMM_SELF, Ok(ERR_ARG)),
        }
    }
    put(set, 1i32);
    SUCCESS
}

pub unsafe fn abi_set_fortran_booleans(_size: i32, _yes: usize, _no: usize) -> i32 {
    finish(COMM_SELF, Ok(ERR_OTHER))
}

/// Nothing is known of the hardware that would be true after a restart as well.
pub unsafe fn get_hw_resource_info(out: usize) -> i32 {
    new_info(Vec::new(), out);
    SUCCESS
}

/// Value, index and pair.
const PAIRS: [[i32; 3]; 6] = [
    [0x4c00_040a, INT, 0x8c00_0000_u32 as i32],
    [0x4c00_080b, INT, 0x8c00_0001_u32 as i32],
    [0x4c00_0807, INT, 0x8c00_0002_u32 as i32],
    [0x4c00_0203, INT, 0x8c00_0003_u32 as i32],
    [0x4c00_100c, INT, 0x8c00_0004_u32 as i32],
    [INT, INT, 0x4c00_0816],
];

pub unsafe fn type_get_value_index(value: i32, index: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        for t in [value, index] {
            if !datatype::predefined(t) && datatype::get(t).is_none() {
                return Err(Fail::Code(ERR_TYPE));
            }
        }
        let pair = PAIRS.iter().find(|p| p[0] == value && p[1] == index);
        put(out, pair.map_or(DATATYPE_NULL, |p| p[2]));
        Ok(())
    })
}
