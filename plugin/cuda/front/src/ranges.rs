//! Ranges of device memory that copies and fills name. Each lies in one allocation: small ones share what is mapped, so that a
//! driver would not see where one ends. What is not in the arena is the driver's to look at.

use super::arena::RANGE;
use super::codes::INVALID_VALUE;
use super::lower::ix;
use super::{model, vmm};

/// `CUmemorytype`: the host's, an array.
const HOST: u32 = 1;
const ARRAY: u32 = 3;

/// Bytes in a line.
///
/// # Errors
/// They are not all in one allocation.
fn line(at: u64, len: u64) -> Result<(), i32> {
    if len == 0 || !(RANGE[0]..RANGE[1]).contains(&at) {
        return Ok(());
    }
    let end = at.checked_add(len).ok_or(INVALID_VALUE)?;
    let found = model::lock().arena.find(at);
    let inside = match found {
        Some((base, a)) => end <= base + a.len,
        None => vmm::covers(at, end),
    };
    inside.then_some(()).ok_or(INVALID_VALUE)
}

/// Elements in a line.
fn elements(at: u64, n: u64, bytes: u64) -> Result<(), i32> {
    line(at, n.checked_mul(bytes).ok_or(INVALID_VALUE)?)
}

/// Rows in slices: where the first of them begins, how far apart rows and slices are, and how much of each there is.
fn rows(at: u64, pitch: u64, slice: u64, size: [u64; 3]) -> Result<(), i32> {
    let [width, height, depth] = size;
    if size.contains(&0) {
        return Ok(());
    }
    let apart = |n: u64, step: u64| step.checked_mul(n - 1);
    let beyond = apart(height, pitch).and_then(|rows| rows.checked_add(apart(depth, slice)?));
    let len = beyond.and_then(|beyond| beyond.checked_add(width));
    line(at, len.ok_or(INVALID_VALUE)?)
}

/// One side of `CUDA_MEMCPY2D` or `CUDA_MEMCPY3D`.
struct Side {
    x: u64,
    y: u64,
    z: u64,
    kind: u32,
    at: u64,
    pitch: u64,
    height: u64,
}

impl Side {
    fn check(&self, size: [u64; 3]) -> Result<(), i32> {
        if [HOST, ARRAY].contains(&self.kind) {
            return Ok(());
        }
        let [width, height, _] = size;
        let end_of = |n: u64, more: u64| n.checked_add(more).ok_or(INVALID_VALUE);
        // A pitch or a height of 0 is that of rows and slices without gaps.
        let pitch = match self.pitch {
            0 => end_of(self.x, width)?,
            pitch => pitch,
        };
        let height = match self.height {
            0 => end_of(self.y, height)?,
            height => height,
        };
        let slice = pitch.checked_mul(height).ok_or(INVALID_VALUE)?;
        let before = slice.checked_mul(self.z).and_then(|z| {
            let y = pitch.checked_mul(self.y)?;
            z.checked_add(y)?.checked_add(self.x)
        });
        let at = end_of(self.at, before.ok_or(INVALID_VALUE)?)?;
        rows(at, pitch, slice, size)
    }
}

/// A `CUDA_MEMCPY2D`.
fn flat(w: &[u64; 16]) -> Result<(), i32> {
    let side = |w: &[u64]| Side {
        x: w[0],
        y: w[1],
        z: 0,
        kind: w[2] as u32,
        at: w[4],
        pitch: w[6],
        height: 0,
    };
    let size = [w[14], w[15], 1];
    side(w).check(size)?;
    side(&w[7..]).check(size)
}

/// A `CUDA_MEMCPY3D`, or one of peers.
///
/// # Errors
/// A side is not all in one allocation.
pub fn solid(w: &[u64; 25]) -> Result<(), i32> {
    let side = |w: &[u64]| Side {
        x: w[0],
        y: w[1],
        z: w[2],
        kind: w[4] as u32,
        at: w[6],
        pitch: w[9],
        height: w[10],
    };
    let size = [w[22], w[23], w[24]];
    side(w).check(size)?;
    side(&w[11..]).check(size)
}

/// A `CUDA_MEMSET_NODE_PARAMS`.
///
/// # Errors
/// It is not all in one allocation.
pub fn node(w: &[u64; 5]) -> Result<(), i32> {
    let [at, pitch, value_and_bytes, width, height] = *w;
    fill(at, pitch, value_and_bytes >> 32, [width, height])
}

/// Rows filled with values of so many bytes.
fn fill(at: u64, pitch: u64, bytes: u64, size: [u64; 2]) -> Result<(), i32> {
    let width = size[0].checked_mul(bytes).ok_or(INVALID_VALUE)?;
    rows(at, pitch, 0, [width, size[1], 1])
}

/// Looks at what a call copies or fills.
///
/// # Errors
/// A range is not all in one allocation.
///
/// # Safety
/// The arguments must be what the function takes.
pub unsafe fn check(index: usize, args: &[u64]) -> Result<(), i32> {
    match (index, args) {
        (ix::cuMemcpy | ix::cuMemcpyAsync, [to, from, n, ..])
        | (ix::cuMemcpyDtoD_v2 | ix::cuMemcpyDtoDAsync_v2, [to, from, n, ..])
        | (ix::cuMemcpyPeer | ix::cuMemcpyPeerAsync, [to, _, from, _, n, ..]) => {
            line(*to, *n)?;
            line(*from, *n)
        }
        (ix::cuMemcpyHtoD_v2 | ix::cuMemcpyHtoDAsync_v2, [at, _, n, ..])
        | (ix::cuMemcpyDtoH_v2 | ix::cuMemcpyDtoHAsync_v2, [_, at, n, ..])
        | (ix::cuMemcpyAtoD_v2, [at, _, _, n])
        | (ix::cuMemcpyDtoA_v2, [_, _, at, n])
        | (ix::cuMemsetD8_v2 | ix::cuMemsetD8Async, [at, _, n, ..]) => line(*at, *n),
        (ix::cuMemsetD16_v2 | ix::cuMemsetD16Async, [at, _, n, ..]) => elements(*at, *n, 2),
        (ix::cuMemsetD32_v2 | ix::cuMemsetD32Async, [at, _, n, ..]) => elements(*at, *n, 4),
        (ix::cuMemsetD2D8_v2 | ix::cuMemsetD2D8Async, [at, pitch, _, width, height, ..]) => {
            fill(*at, *pitch, 1, [*width, *height])
        }
        (ix::cuMemsetD2D16_v2 | ix::cuMemsetD2D16Async, [at, pitch, _, width, height, ..]) => {
            fill(*at, *pitch, 2, [*width, *height])
        }
        (ix::cuMemsetD2D32_v2 | ix::cuMemsetD2D32Async, [at, pitch, _, width, height, ..]) => {
            fill(*at, *pitch, 4, [*width, *height])
        }
        // SAFETY: the caller's: each is the structure that cuda.h says, or null, which is refused where it is translated.
        (ix::cuMemcpy2D_v2 | ix::cuMemcpy2DUnaligned_v2 | ix::cuMemcpy2DAsync_v2, [at, ..]) => unsafe {
            (*at as *const [u64; 16]).as_ref().map_or(Ok(()), flat)
        },
        (
            ix::cuMemcpy3D_v2
            | ix::cuMemcpy3DAsync_v2
            | ix::cuMemcpy3DPeer
            | ix::cuMemcpy3DPeerAsync,
            [at, ..],
            // SAFETY: as above.
        ) => unsafe { (*at as *const [u64; 25]).as_ref().map_or(Ok(()), solid) },
        _ => Ok(()),
    }
}
