//! The predefined objects of every kind, in the three ABIs.

use crate::{Kind, Predefined};

/// The columns: name without `MPI_`, the canonical handle, Open MPI's symbol ("": it has none) and its number in
/// Fortran (-1: none), the standard's number (-1: none).
const fn p(
    kind: Kind,
    name: &'static str,
    canonical: u32,
    symbol: &'static str,
    fortran: i32,
    standard: i32,
) -> Predefined {
    Predefined {
        kind,
        name,
        canonical: canonical as i32,
        symbol,
        fortran,
        standard,
    }
}

#[rustfmt::skip]
pub(crate) const COMMS: &[Predefined] = &[
    p(Kind::Comm, "COMM_NULL", 0x04000000, "ompi_mpi_comm_null", 2, 256),
    p(Kind::Comm, "COMM_WORLD", 0x44000000, "ompi_mpi_comm_world", 0, 257),
    p(Kind::Comm, "COMM_SELF", 0x44000001, "ompi_mpi_comm_self", 1, 258),
];

#[rustfmt::skip]
pub(crate) const GROUPS: &[Predefined] = &[
    p(Kind::Group, "GROUP_NULL", 0x08000000, "ompi_mpi_group_null", 0, 264),
    p(Kind::Group, "GROUP_EMPTY", 0x48000000, "ompi_mpi_group_empty", 1, 265),
];

#[rustfmt::skip]
pub(crate) const DATATYPES: &[Predefined] = &[
    p(Kind::Datatype, "DATATYPE_NULL", 0x0c000000, "ompi_mpi_datatype_null", 0, 512),
    p(Kind::Datatype, "LB", 0x4c000010, "ompi_mpi_lb", 4, -1),
    p(Kind::Datatype, "UB", 0x4c000011, "ompi_mpi_ub", 3, -1),
    p(Kind::Datatype, "CHAR", 0x4c000101, "ompi_mpi_char", 34, 579),
    p(Kind::Datatype, "UNSIGNED_CHAR", 0x4c000102, "ompi_mpi_unsigned_char", 35, 581),
    p(Kind::Datatype, "BYTE", 0x4c00010d, "ompi_mpi_byte", 1, 583),
    p(Kind::Datatype, "PACKED", 0x4c00010f, "ompi_mpi_packed", 2, 519),
    p(Kind::Datatype, "SIGNED_CHAR", 0x4c000118, "ompi_mpi_signed_char", 36, 580),
    p(Kind::Datatype, "CHARACTER", 0x4c00011a, "ompi_mpi_character", 5, 542),
    p(Kind::Datatype, "INTEGER1", 0x4c00012d, "ompi_mpi_integer1", 8, 705),
    p(Kind::Datatype, "CXX_BOOL", 0x4c000133, "ompi_mpi_cxx_bool", 54, 569),
    p(Kind::Datatype, "INT8_T", 0x4c000137, "ompi_mpi_int8_t", 58, 576),
    p(Kind::Datatype, "UINT8_T", 0x4c00013b, "ompi_mpi_uint8_t", 59, 577),
    p(Kind::Datatype, "C_BOOL", 0x4c00013f, "ompi_mpi_c_bool", 68, 568),
    p(Kind::Datatype, "LOGICAL1", 0x4c000147, "ompi_mpi_logical1", 29, 704),
    p(Kind::Datatype, "SHORT", 0x4c000203, "ompi_mpi_short", 37, 520),
    p(Kind::Datatype, "UNSIGNED_SHORT", 0x4c000204, "ompi_mpi_unsigned_short", 38, 524),
    p(Kind::Datatype, "REAL2", 0x4c000226, "ompi_mpi_real2", 28, 714),
    p(Kind::Datatype, "INTEGER2", 0x4c00022f, "ompi_mpi_integer2", 9, 713),
    p(Kind::Datatype, "INT16_T", 0x4c000238, "ompi_mpi_int16_t", 60, 584),
    p(Kind::Datatype, "UINT16_T", 0x4c00023c, "ompi_mpi_uint16_t", 61, 585),
    p(Kind::Datatype, "LOGICAL2", 0x4c000248, "ompi_mpi_logical2", 30, 712),
    p(Kind::Datatype, "INT", 0x4c000405, "ompi_mpi_int", 39, 521),
    p(Kind::Datatype, "UNSIGNED", 0x4c000406, "ompi_mpi_unsigned", 40, 525),
    p(Kind::Datatype, "FLOAT", 0x4c00040a, "ompi_mpi_float", 45, 528),
    p(Kind::Datatype, "WCHAR", 0x4c00040e, "ompi_mpi_wchar", 33, 572),
    p(Kind::Datatype, "INTEGER", 0x4c00041b, "ompi_mpi_integer", 7, 537),
    p(Kind::Datatype, "REAL", 0x4c00041c, "ompi_mpi_real", 13, 538),
    p(Kind::Datatype, "LOGICAL", 0x4c00041d, "ompi_mpi_logical", 6, 536),
    p(Kind::Datatype, "REAL4", 0x4c000427, "ompi_mpi_real4", 14, 722),
    p(Kind::Datatype, "COMPLEX4", 0x4c00042e, "", -1, 723),
    p(Kind::Datatype, "INTEGER4", 0x4c000430, "ompi_mpi_integer4", 10, 721),
    p(Kind::Datatype, "INT32_T", 0x4c000439, "ompi_mpi_int32_t", 62, 592),
    p(Kind::Datatype, "UINT32_T", 0x4c00043d, "ompi_mpi_uint32_t", 63, 593),
    p(Kind::Datatype, "LOGICAL4", 0x4c000449, "ompi_mpi_logical4", 31, 720),
    p(Kind::Datatype, "LONG", 0x4c000807, "ompi_mpi_long", 41, 522),
    p(Kind::Datatype, "UNSIGNED_LONG", 0x4c000808, "ompi_mpi_unsigned_long", 42, 526),
    p(Kind::Datatype, "LONG_LONG", 0x4c000809, "ompi_mpi_long_long_int", 43, 523),
    p(Kind::Datatype, "DOUBLE", 0x4c00080b, "ompi_mpi_double", 46, 532),
    p(Kind::Datatype, "2INT", 0x4c000816, "ompi_mpi_2int", 52, 555),
    p(Kind::Datatype, "UNSIGNED_LONG_LONG", 0x4c000819, "ompi_mpi_unsigned_long_long", 44, 527),
    p(Kind::Datatype, "COMPLEX", 0x4c00081e, "ompi_mpi_cplex", 18, 539),
    p(Kind::Datatype, "DOUBLE_PRECISION", 0x4c00081f, "ompi_mpi_dblprec", 17, 540),
    p(Kind::Datatype, "2INTEGER", 0x4c000820, "ompi_mpi_2integer", 25, 562),
    p(Kind::Datatype, "2REAL", 0x4c000821, "ompi_mpi_2real", 23, 560),
    p(Kind::Datatype, "COMPLEX8", 0x4c000828, "ompi_mpi_complex8", 19, 731),
    p(Kind::Datatype, "REAL8", 0x4c000829, "ompi_mpi_real8", 15, 730),
    p(Kind::Datatype, "INTEGER8", 0x4c000831, "ompi_mpi_integer8", 11, 729),
    p(Kind::Datatype, "CXX_FLOAT_COMPLEX", 0x4c000834, "ompi_mpi_cxx_cplex", 55, 531),
    p(Kind::Datatype, "INT64_T", 0x4c00083a, "ompi_mpi_int64_t", 64, 600),
    p(Kind::Datatype, "UINT64_T", 0x4c00083e, "ompi_mpi_uint64_t", 65, 601),
    p(Kind::Datatype, "C_FLOAT_COMPLEX", 0x4c000840, "ompi_mpi_c_float_complex", 69, 530),
    p(Kind::Datatype, "AINT", 0x4c000843, "ompi_mpi_aint", 66, 513),
    p(Kind::Datatype, "OFFSET", 0x4c000844, "ompi_mpi_offset", 67, 515),
    p(Kind::Datatype, "COUNT", 0x4c000845, "ompi_mpi_count", 72, 514),
    p(Kind::Datatype, "LOGICAL8", 0x4c00084a, "ompi_mpi_logical8", 32, 728),
    p(Kind::Datatype, "LONG_DOUBLE", 0x4c00100c, "ompi_mpi_long_double", 47, 544),
    p(Kind::Datatype, "DOUBLE_COMPLEX", 0x4c001022, "ompi_mpi_dblcplex", 22, 541),
    p(Kind::Datatype, "2DOUBLE_PRECISION", 0x4c001023, "ompi_mpi_2dblprec", 24, 561),
    p(Kind::Datatype, "2COMPLEX", 0x4c001024, "ompi_mpi_2cplex", 26, -1),
    p(Kind::Datatype, "COMPLEX16", 0x4c00102a, "ompi_mpi_complex16", 20, 739),
    p(Kind::Datatype, "REAL16", 0x4c00102b, "ompi_mpi_real16", 16, 738),
    p(Kind::Datatype, "INTEGER16", 0x4c001032, "ompi_mpi_integer16", 12, 737),
    p(Kind::Datatype, "CXX_DOUBLE_COMPLEX", 0x4c001035, "ompi_mpi_cxx_dblcplex", 56, 535),
    p(Kind::Datatype, "C_DOUBLE_COMPLEX", 0x4c001041, "ompi_mpi_c_double_complex", 70, 534),
    p(Kind::Datatype, "LOGICAL16", 0x4c00104b, "", -1, 736),
    p(Kind::Datatype, "2DOUBLE_COMPLEX", 0x4c002025, "ompi_mpi_2dblcplex", 27, -1),
    p(Kind::Datatype, "COMPLEX32", 0x4c00202c, "ompi_mpi_complex32", 21, 747),
    p(Kind::Datatype, "CXX_LONG_DOUBLE_COMPLEX", 0x4c002036, "ompi_mpi_cxx_ldblcplex", 57, 549),
    p(Kind::Datatype, "C_LONG_DOUBLE_COMPLEX", 0x4c002042, "ompi_mpi_c_long_double_complex", 71, 548),
    p(Kind::Datatype, "FLOAT_INT", 0x8c000000, "ompi_mpi_float_int", 48, 552),
    p(Kind::Datatype, "DOUBLE_INT", 0x8c000001, "ompi_mpi_double_int", 49, 553),
    p(Kind::Datatype, "LONG_INT", 0x8c000002, "ompi_mpi_long_int", 51, 554),
    p(Kind::Datatype, "SHORT_INT", 0x8c000003, "ompi_mpi_short_int", 53, 556),
    p(Kind::Datatype, "LONG_DOUBLE_INT", 0x8c000004, "ompi_mpi_longdbl_int", 50, 557),
];

#[rustfmt::skip]
pub(crate) const OPS: &[Predefined] = &[
    p(Kind::Op, "OP_NULL", 0x18000000, "ompi_mpi_op_null", 0, 32),
    p(Kind::Op, "MAX", 0x58000001, "ompi_mpi_op_max", 1, 35),
    p(Kind::Op, "MIN", 0x58000002, "ompi_mpi_op_min", 2, 34),
    p(Kind::Op, "SUM", 0x58000003, "ompi_mpi_op_sum", 3, 33),
    p(Kind::Op, "PROD", 0x58000004, "ompi_mpi_op_prod", 4, 36),
    p(Kind::Op, "LAND", 0x58000005, "ompi_mpi_op_land", 5, 48),
    p(Kind::Op, "BAND", 0x58000006, "ompi_mpi_op_band", 6, 40),
    p(Kind::Op, "LOR", 0x58000007, "ompi_mpi_op_lor", 7, 49),
    p(Kind::Op, "BOR", 0x58000008, "ompi_mpi_op_bor", 8, 41),
    p(Kind::Op, "LXOR", 0x58000009, "ompi_mpi_op_lxor", 9, 50),
    p(Kind::Op, "BXOR", 0x5800000a, "ompi_mpi_op_bxor", 10, 42),
    p(Kind::Op, "MINLOC", 0x5800000b, "ompi_mpi_op_minloc", 12, 56),
    p(Kind::Op, "MAXLOC", 0x5800000c, "ompi_mpi_op_maxloc", 11, 57),
    p(Kind::Op, "REPLACE", 0x5800000d, "ompi_mpi_op_replace", 13, 60),
    p(Kind::Op, "NO_OP", 0x5800000e, "ompi_mpi_op_no_op", 14, 61),
];

#[rustfmt::skip]
pub(crate) const REQUESTS: &[Predefined] = &[
    p(Kind::Request, "REQUEST_NULL", 0x2c000000, "ompi_request_null", 0, 384),
];

#[rustfmt::skip]
pub(crate) const MESSAGES: &[Predefined] = &[
    p(Kind::Message, "MESSAGE_NULL", 0x2c000000, "ompi_message_null", 0, 296),
    p(Kind::Message, "MESSAGE_NO_PROC", 0x6c000000, "ompi_message_no_proc", 1, 297),
];

#[rustfmt::skip]
pub(crate) const ERRHANDLERS: &[Predefined] = &[
    p(Kind::Errhandler, "ERRHANDLER_NULL", 0x14000000, "ompi_mpi_errhandler_null", 0, 320),
    p(Kind::Errhandler, "ERRORS_ARE_FATAL", 0x54000000, "ompi_mpi_errors_are_fatal", 1, 321),
    p(Kind::Errhandler, "ERRORS_RETURN", 0x54000001, "ompi_mpi_errors_return", 2, 323),
    p(Kind::Errhandler, "ERRORS_ABORT", 0x54000003, "ompi_mpi_errors_abort", -1, 322),
];

#[rustfmt::skip]
pub(crate) const INFOS: &[Predefined] = &[
    p(Kind::Info, "INFO_NULL", 0x1c000000, "ompi_mpi_info_null", 0, 304),
    p(Kind::Info, "INFO_ENV", 0x5c000001, "", -1, 305),
    // Open MPI's has more keys.
    p(Kind::Info, "INFO_ENV", 0x5c000002, "ompi_mpi_info_env", 1, -1),
];

#[rustfmt::skip]
pub(crate) const WINDOWS: &[Predefined] = &[
    p(Kind::Window, "WIN_NULL", 0x20000000, "ompi_mpi_win_null", 0, 272),
];

#[rustfmt::skip]
pub(crate) const FILES: &[Predefined] = &[
    p(Kind::File, "FILE_NULL", 0x00000000, "ompi_mpi_file_null", 0, 280),
];

#[rustfmt::skip]
pub(crate) const SESSIONS: &[Predefined] = &[
    p(Kind::Session, "SESSION_NULL", 0x38000000, "ompi_mpi_instance_null", -1, 288),
];
