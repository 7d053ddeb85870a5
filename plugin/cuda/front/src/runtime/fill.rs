//! Fills of memory.

use super::super::codes::SUCCESS;
use super::super::driver::{self, check};
use super::copy::Stream;
use super::{with_context, Extent, Pitched};

unsafe fn fill(at: u64, pitch: u64, value: i32, size: [u64; 2], stream: Stream) -> i32 {
    with_context(|| {
        let [width, height] = size;
        if width == 0 || height == 0 {
            return Ok(());
        }
        let value = value & 0xff;
        // SAFETY: the caller's memory.
        check(unsafe {
            match (height, stream) {
                (1, None) => driver::cuMemsetD8_v2(at, value, width),
                (1, Some(s)) => driver::cuMemsetD8Async(at, value, width, s),
                (_, None) => driver::cuMemsetD2D8_v2(at, pitch, value, width, height),
                (_, Some(s)) => driver::cuMemsetD2D8Async(at, pitch, value, width, height, s),
            }
        })
    })
}

pub unsafe fn cudaMemset(at: u64, value: i32, n: u64) -> i32 {
    unsafe { fill(at, n, value, [n, 1], None) }
}

pub unsafe fn cudaMemsetAsync(at: u64, value: i32, n: u64, stream: u64) -> i32 {
    unsafe { fill(at, n, value, [n, 1], Some(stream)) }
}

pub unsafe fn cudaMemset2D(at: u64, pitch: u64, value: i32, width: u64, height: u64) -> i32 {
    unsafe { fill(at, pitch, value, [width, height], None) }
}

pub unsafe fn cudaMemset2DAsync(
    at: u64,
    pitch: u64,
    value: i32,
    width: u64,
    height: u64,
    stream: u64,
) -> i32 {
    unsafe { fill(at, pitch, value, [width, height], Some(stream)) }
}

unsafe fn fill3(p: Pitched, value: i32, extent: Extent, stream: Stream) -> i32 {
    for z in 0..extent.depth {
        let at = p.at + z * p.pitch * p.height;
        let code = unsafe { fill(at, p.pitch, value, [extent.width, extent.height], stream) };
        if code != SUCCESS {
            return code;
        }
    }
    SUCCESS
}

pub unsafe fn cudaMemset3D(p: Pitched, value: i32, extent: Extent) -> i32 {
    unsafe { fill3(p, value, extent, None) }
}

pub unsafe fn cudaMemset3DAsync(p: Pitched, value: i32, extent: Extent, stream: u64) -> i32 {
    unsafe { fill3(p, value, extent, Some(stream)) }
}
