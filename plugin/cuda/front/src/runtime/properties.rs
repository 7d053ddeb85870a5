//! `cudaDeviceProp`, made of a device's attributes, as either version has it.

use super::super::codes::*;
use super::super::device::Device;
use super::super::{driver, model};
use super::initialise;

/// The version has no such field.
const NONE: usize = usize::MAX;
/// The field is an `int`, or a `size_t`.
const INT: bool = false;
const WIDE: bool = true;

/// Sizes of the structure in versions 12 and 13.
const SIZES: [usize; 2] = [1032, 1008];
/// Offsets of the fields that are no attributes, in both: name, UUID, bytes of memory.
const NAME: usize = 0;
const UUID: usize = 256;
const MEMORY: usize = 288;

/// Each attribute's number, its field's width and its offset in versions 12 and 13.
#[rustfmt::skip]
const FIELDS: &[(usize, bool, usize, usize)] = &[
    (8, WIDE, 296, 296),
    (12, INT, 304, 304),
    (10, INT, 308, 308),
    (11, WIDE, 312, 312),
    (1, INT, 320, 320),
    (2, INT, 324, 324),
    (3, INT, 328, 328),
    (4, INT, 332, 332),
    (5, INT, 336, 336),
    (6, INT, 340, 340),
    (7, INT, 344, 344),
    (9, WIDE, 352, 352),
    (75, INT, 360, 360),
    (76, INT, 364, 364),
    (14, WIDE, 368, 368),
    (51, WIDE, 376, 376),
    (16, INT, 388, 384),
    (18, INT, 396, 388),
    (19, INT, 400, 392),
    (21, INT, 408, 396),
    (77, INT, 412, 400),
    (22, INT, 420, 404),
    (23, INT, 424, 408),
    (73, INT, 428, 412),
    (74, INT, 432, 416),
    (70, INT, 436, 420),
    (71, INT, 440, 424),
    (72, INT, 444, 428),
    (45, INT, 448, 432),
    (46, INT, 452, 436),
    (24, INT, 456, 440),
    (25, INT, 460, 444),
    (26, INT, 464, 448),
    (47, INT, 468, 452),
    (48, INT, 472, 456),
    (49, INT, 476, 460),
    (52, INT, 480, 464),
    (42, INT, 484, 468),
    (43, INT, 488, 472),
    (27, INT, 492, 476),
    (28, INT, 496, 480),
    (29, INT, 500, 484),
    (53, INT, 504, 488),
    (54, INT, 508, 492),
    (55, INT, 512, 496),
    (56, INT, 516, 500),
    (57, INT, 520, 504),
    (58, INT, 524, 508),
    (59, INT, 528, 512),
    (60, INT, 532, 516),
    (61, INT, 536, 520),
    (62, INT, 540, 524),
    (63, INT, 544, 528),
    (64, INT, 548, 532),
    (65, INT, 552, 536),
    (66, INT, 556, 540),
    (67, INT, 560, 544),
    (68, INT, 564, 548),
    (30, WIDE, 568, 552),
    (31, INT, 576, 560),
    (32, INT, 580, 564),
    (33, INT, 584, 568),
    (34, INT, 588, 572),
    (50, INT, 592, 576),
    (35, INT, 596, 580),
    (40, INT, 600, 584),
    (41, INT, 604, 588),
    (37, INT, 612, 592),
    (38, INT, 616, 596),
    (108, INT, 620, 600),
    (39, INT, 624, 604),
    (78, INT, 628, 608),
    (79, INT, 632, 612),
    (80, INT, 636, 616),
    (81, WIDE, 640, 624),
    (82, INT, 648, 632),
    (83, INT, 652, 636),
    (84, INT, 656, 640),
    (85, INT, 660, 644),
    (86, INT, 664, 648),
    (88, INT, 672, 652),
    (89, INT, 676, 656),
    (90, INT, 680, 660),
    (91, INT, 684, 664),
    (95, INT, 688, 668),
    (97, WIDE, 696, 672),
    (100, INT, 704, 680),
    (101, INT, 708, 684),
    (106, INT, 712, 688),
    (109, INT, 716, 692),
    (111, WIDE, 720, 696),
    (99, INT, 728, 704),
    (112, INT, 732, 708),
    (113, INT, 736, 712),
    (114, INT, 740, 716),
    (115, INT, 744, 720),
    (116, INT, 748, 724),
    (117, INT, 752, 728),
    (118, INT, 756, 732),
    (119, INT, 760, 736),
    (121, INT, 764, 740),
    (125, INT, 768, 744),
    (120, INT, 772, 748),
    (129, INT, 776, 752),
    (130, INT, NONE, 756),
    (131, INT, NONE, 760),
    (133, INT, NONE, 764),
    (134, INT, NONE, 768),
    (139, INT, NONE, 772),
    (140, INT, NONE, 776),
    (143, INT, NONE, 780),
    (13, INT, 348, NONE),
    (15, INT, 384, NONE),
    (17, INT, 392, NONE),
    (20, INT, 404, NONE),
    (69, INT, 416, NONE),
    (36, INT, 608, NONE),
    (87, INT, 668, NONE),
    (96, INT, 692, NONE),
];

fn fill(device: &Device, version: usize) -> Vec<u8> {
    let mut out = vec![0; SIZES[version]];
    out[NAME..NAME + 256].copy_from_slice(&device.name);
    out[UUID..UUID + 16].copy_from_slice(&device.uuid);
    out[MEMORY..MEMORY + 8].copy_from_slice(&device.memory.to_le_bytes());
    for (number, wide, old, new) in FIELDS {
        let at = [*old, *new][version];
        if at == NONE {
            continue;
        }
        let value = device.attributes[*number].unwrap_or(0);
        let bytes = i64::from(value).to_le_bytes();
        let len = if *wide { 8 } else { 4 };
        out[at..at + len].copy_from_slice(&bytes[..len]);
    }
    out
}

unsafe fn give(out: u64, device: i32, version: usize) -> i32 {
    driver::code(initialise().and_then(|()| {
        let model = model::lock();
        let known = model.devices.get(device as usize).ok_or(INVALID_DEVICE)?;
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        let bytes = fill(known, version);
        // SAFETY: the program's structure, of the version's size.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), out as *mut u8, bytes.len()) };
        Ok(())
    }))
}

pub unsafe fn cudaGetDeviceProperties(out: u64, device: i32) -> i32 {
    unsafe { give(out, device, 1) }
}

pub unsafe fn cudaGetDeviceProperties_v2_12(out: u64, device: i32) -> i32 {
    unsafe { give(out, device, 0) }
}

pub unsafe fn cudaGetDeviceProperties_12(_out: u64, _device: i32) -> i32 {
    driver::refuse("cudaGetDeviceProperties as it was before CUDA 12")
}
