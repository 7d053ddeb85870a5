//! Copies.

use super::super::codes::*;
use super::super::driver::{self, check};
use super::super::{arrays, context};
use super::register::symbol;
use super::{with_context, Pitched};

/// `cudaMemcpyKind`.
const HOST_TO_HOST: i32 = 0;
const HOST_TO_DEVICE: i32 = 1;
const DEVICE_TO_HOST: i32 = 2;
const DEVICE_TO_DEVICE: i32 = 3;
const DEFAULT: i32 = 4;

/// `CUmemorytype`.
const HOST: u64 = 1;
const DEVICE: u64 = 2;
const ARRAY: u64 = 3;
const UNIFIED: u64 = 4;

/// The memory types of both sides.
fn sides(kind: i32) -> Result<[u64; 2], i32> {
    Ok(match kind {
        HOST_TO_HOST => [HOST, HOST],
        HOST_TO_DEVICE => [HOST, DEVICE],
        DEVICE_TO_HOST => [DEVICE, HOST],
        DEVICE_TO_DEVICE => [DEVICE, DEVICE],
        DEFAULT => [UNIFIED, UNIFIED],
        _ => return Err(INVALID_MEMCPY_DIRECTION),
    })
}

/// A stream, or that the call is to wait.
pub type Stream = Option<u64>;

unsafe fn linear(to: u64, from: u64, n: u64, kind: i32, stream: Stream) -> i32 {
    with_context(|| {
        sides(kind)?;
        if n == 0 {
            return Ok(());
        }
        // SAFETY: the caller's memory.
        check(unsafe {
            match (kind, stream) {
                (HOST_TO_DEVICE, None) => driver::cuMemcpyHtoD_v2(to, from, n),
                (DEVICE_TO_HOST, None) => driver::cuMemcpyDtoH_v2(to, from, n),
                (DEVICE_TO_DEVICE, None) => driver::cuMemcpyDtoD_v2(to, from, n),
                (_, None) => driver::cuMemcpy(to, from, n),
                (HOST_TO_DEVICE, Some(s)) => driver::cuMemcpyHtoDAsync_v2(to, from, n, s),
                (DEVICE_TO_HOST, Some(s)) => driver::cuMemcpyDtoHAsync_v2(to, from, n, s),
                (DEVICE_TO_DEVICE, Some(s)) => driver::cuMemcpyDtoDAsync_v2(to, from, n, s),
                (_, Some(s)) => driver::cuMemcpyAsync(to, from, n, s),
            }
        })
    })
}

pub unsafe fn cudaMemcpy(to: u64, from: u64, n: u64, kind: i32) -> i32 {
    unsafe { linear(to, from, n, kind, None) }
}

pub unsafe fn cudaMemcpyAsync(to: u64, from: u64, n: u64, kind: i32, stream: u64) -> i32 {
    unsafe { linear(to, from, n, kind, Some(stream)) }
}

pub unsafe fn cudaMemcpyPeer(to: u64, a: i32, from: u64, b: i32, n: u64) -> i32 {
    with_context(|| {
        let (a, b) = (context::primary(a)?, context::primary(b)?);
        // SAFETY: the caller's memory.
        check(unsafe { driver::cuMemcpyPeer(to, a, from, b, n) })
    })
}

pub unsafe fn cudaMemcpyPeerAsync(to: u64, a: i32, from: u64, b: i32, n: u64, stream: u64) -> i32 {
    with_context(|| {
        let (a, b) = (context::primary(a)?, context::primary(b)?);
        // SAFETY: the caller's memory.
        check(unsafe { driver::cuMemcpyPeerAsync(to, a, from, b, n, stream) })
    })
}

/// A part of a variable.
///
/// # Errors
/// It is none, or not so long.
pub fn part(variable: u64, n: u64, offset: u64) -> Result<u64, i32> {
    let (at, len) = symbol(variable)?;
    match offset.checked_add(n) {
        Some(end) if end <= len => Ok(at + offset),
        _ => Err(INVALID_VALUE),
    }
}

unsafe fn to_symbol(v: u64, from: u64, n: u64, offset: u64, kind: i32, stream: Stream) -> i32 {
    match part(v, n, offset) {
        Ok(to) => unsafe { linear(to, from, n, kind, stream) },
        Err(code) => code,
    }
}

unsafe fn from_symbol(to: u64, v: u64, n: u64, offset: u64, kind: i32, stream: Stream) -> i32 {
    match part(v, n, offset) {
        Ok(from) => unsafe { linear(to, from, n, kind, stream) },
        Err(code) => code,
    }
}

pub unsafe fn cudaMemcpyToSymbol(v: u64, from: u64, n: u64, offset: u64, kind: i32) -> i32 {
    unsafe { to_symbol(v, from, n, offset, kind, None) }
}

pub unsafe fn cudaMemcpyToSymbolAsync(
    v: u64,
    from: u64,
    n: u64,
    offset: u64,
    kind: i32,
    stream: u64,
) -> i32 {
    unsafe { to_symbol(v, from, n, offset, kind, Some(stream)) }
}

pub unsafe fn cudaMemcpyFromSymbol(to: u64, v: u64, n: u64, offset: u64, kind: i32) -> i32 {
    unsafe { from_symbol(to, v, n, offset, kind, None) }
}

pub unsafe fn cudaMemcpyFromSymbolAsync(
    to: u64,
    v: u64,
    n: u64,
    offset: u64,
    kind: i32,
    stream: u64,
) -> i32 {
    unsafe { from_symbol(to, v, n, offset, kind, Some(stream)) }
}

/// One side of a copy of rows: an address with its pitch, or a place in an array.
#[derive(Clone, Copy)]
enum Side {
    Rows(u64, u64),
    Array(u64, u64, u64),
}

/// `CUDA_MEMCPY2D`'s words for a side: x, y, memory type, host, device, array, pitch.
fn words(side: Side, kind: u64) -> [u64; 7] {
    match side {
        Side::Array(array, x, y) => [x, y, ARRAY, 0, 0, array, 0],
        Side::Rows(at, pitch) if kind == HOST => [0, 0, HOST, at, 0, 0, pitch],
        Side::Rows(at, pitch) => [0, 0, kind, 0, at, 0, pitch],
    }
}

unsafe fn rows(to: Side, from: Side, size: [u64; 2], kind: i32, stream: Stream) -> i32 {
    with_context(|| {
        let [source, target] = sides(kind)?;
        if size.contains(&0) {
            return Ok(());
        }
        // An array's rows are as long as they are.
        let short = |side| matches!(side, Side::Rows(_, pitch) if pitch < size[0]);
        if short(to) || short(from) {
            return Err(INVALID_PITCH_VALUE);
        }
        let mut copy = [0_u64; 16];
        copy[..7].copy_from_slice(&words(from, source));
        copy[7..14].copy_from_slice(&words(to, target));
        copy[14..].copy_from_slice(&size);
        let at = copy.as_ptr() as u64;
        // SAFETY: the structure as cuda.h has it, and the caller's memory.
        check(unsafe {
            match stream {
                Some(stream) => driver::cuMemcpy2DAsync_v2(at, stream),
                None => driver::cuMemcpy2DUnaligned_v2(at),
            }
        })
    })
}

pub unsafe fn cudaMemcpy2D(
    to: u64,
    tp: u64,
    from: u64,
    fp: u64,
    width: u64,
    height: u64,
    kind: i32,
) -> i32 {
    let sides = (Side::Rows(to, tp), Side::Rows(from, fp));
    unsafe { rows(sides.0, sides.1, [width, height], kind, None) }
}

pub unsafe fn cudaMemcpy2DAsync(
    to: u64,
    tp: u64,
    from: u64,
    fp: u64,
    width: u64,
    height: u64,
    kind: i32,
    stream: u64,
) -> i32 {
    let sides = (Side::Rows(to, tp), Side::Rows(from, fp));
    unsafe { rows(sides.0, sides.1, [width, height], kind, Some(stream)) }
}

pub unsafe fn cudaMemcpy2DToArray(
    to: u64,
    x: u64,
    y: u64,
    from: u64,
    pitch: u64,
    width: u64,
    height: u64,
    kind: i32,
) -> i32 {
    let sides = (Side::Array(to, x, y), Side::Rows(from, pitch));
    unsafe { rows(sides.0, sides.1, [width, height], kind, None) }
}

pub unsafe fn cudaMemcpy2DToArrayAsync(
    to: u64,
    x: u64,
    y: u64,
    from: u64,
    pitch: u64,
    width: u64,
    height: u64,
    kind: i32,
    stream: u64,
) -> i32 {
    let sides = (Side::Array(to, x, y), Side::Rows(from, pitch));
    unsafe { rows(sides.0, sides.1, [width, height], kind, Some(stream)) }
}

pub unsafe fn cudaMemcpy2DFromArray(
    to: u64,
    pitch: u64,
    from: u64,
    x: u64,
    y: u64,
    width: u64,
    height: u64,
    kind: i32,
) -> i32 {
    let sides = (Side::Rows(to, pitch), Side::Array(from, x, y));
    unsafe { rows(sides.0, sides.1, [width, height], kind, None) }
}

pub unsafe fn cudaMemcpy2DFromArrayAsync(
    to: u64,
    pitch: u64,
    from: u64,
    x: u64,
    y: u64,
    width: u64,
    height: u64,
    kind: i32,
    stream: u64,
) -> i32 {
    let sides = (Side::Rows(to, pitch), Side::Array(from, x, y));
    unsafe { rows(sides.0, sides.1, [width, height], kind, Some(stream)) }
}

pub unsafe fn cudaMemcpy2DArrayToArray(
    to: u64,
    tx: u64,
    ty: u64,
    from: u64,
    fx: u64,
    fy: u64,
    width: u64,
    height: u64,
    kind: i32,
) -> i32 {
    let sides = (Side::Array(to, tx, ty), Side::Array(from, fx, fy));
    unsafe { rows(sides.0, sides.1, [width, height], kind, None) }
}

/// A copy of bytes that begin anywhere in an array goes on in its next rows.
unsafe fn run(array: (u64, u64, u64), other: u64, n: u64, kind: i32, into: bool, s: Stream) -> i32 {
    let row = match super::with_result(|| arrays::row_length(array.0)) {
        Ok(row) => row,
        Err(code) => return code,
    };
    let (mut x, mut y, mut done) = (array.1, array.2, 0);
    while done < n {
        let len = (row - x).min(n - done);
        let (here, there) = (Side::Array(array.0, x, y), Side::Rows(other + done, len));
        let (to, from) = if into { (here, there) } else { (there, here) };
        let code = unsafe { rows(to, from, [len, 1], kind, s) };
        if code != SUCCESS {
            return code;
        }
        (x, y, done) = (0, y + 1, done + len);
    }
    SUCCESS
}

pub unsafe fn cudaMemcpyToArray(to: u64, x: u64, y: u64, from: u64, n: u64, kind: i32) -> i32 {
    unsafe { run((to, x, y), from, n, kind, true, None) }
}

pub unsafe fn cudaMemcpyToArrayAsync(
    to: u64,
    x: u64,
    y: u64,
    from: u64,
    n: u64,
    kind: i32,
    stream: u64,
) -> i32 {
    unsafe { run((to, x, y), from, n, kind, true, Some(stream)) }
}

pub unsafe fn cudaMemcpyFromArray(to: u64, from: u64, x: u64, y: u64, n: u64, kind: i32) -> i32 {
    unsafe { run((from, x, y), to, n, kind, false, None) }
}

pub unsafe fn cudaMemcpyFromArrayAsync(
    to: u64,
    from: u64,
    x: u64,
    y: u64,
    n: u64,
    kind: i32,
    stream: u64,
) -> i32 {
    unsafe { run((from, x, y), to, n, kind, false, Some(stream)) }
}

pub unsafe fn cudaMemcpyArrayToArray(
    to: u64,
    tx: u64,
    ty: u64,
    from: u64,
    fx: u64,
    fy: u64,
    n: u64,
    kind: i32,
) -> i32 {
    let sides = (Side::Array(to, tx, ty), Side::Array(from, fx, fy));
    unsafe { rows(sides.0, sides.1, [n, 1], kind, None) }
}

/// A side of `cudaMemcpy3DParms`: array, position, pitched pointer.
struct Box3 {
    array: u64,
    position: [u64; 3],
    memory: Pitched,
}

fn box3(w: &[u64]) -> Box3 {
    Box3 {
        array: w[0],
        position: [w[1], w[2], w[3]],
        memory: Pitched {
            at: w[4],
            pitch: w[5],
            width: w[6],
            height: w[7],
        },
    }
}

/// `CUDA_MEMCPY3D`'s words for a side: position, level, type, host, device, array, context, pitch, height.
fn words3(b: &Box3, kind: u64, element: u64, context: u64) -> [u64; 11] {
    let [x, y, z] = b.position;
    let m = &b.memory;
    let [host, device] = if kind == HOST { [m.at, 0] } else { [0, m.at] };
    if b.array != 0 {
        [x * element, y, z, 0, ARRAY, 0, 0, b.array, context, 0, 0]
    } else {
        [
            x, y, z, 0, kind, host, device, 0, context, m.pitch, m.height,
        ]
    }
}

/// `CUDA_MEMCPY3D`'s words of both sides and the extent; contexts where they are peers.
fn copy3(
    from: &Box3,
    to: &Box3,
    extent: &[u64],
    kind: i32,
    contexts: [u64; 2],
) -> Result<[u64; 25], i32> {
    let [source, target] = sides(kind)?;
    let element = match [from.array, to.array].into_iter().find(|a| *a != 0) {
        Some(array) => super::with_result(|| arrays::element_size(array))?,
        None => 1,
    };
    let mut copy = [0_u64; 25];
    copy[..11].copy_from_slice(&words3(from, source, element, contexts[0]));
    copy[11..22].copy_from_slice(&words3(to, target, element, contexts[1]));
    copy[22..].copy_from_slice(&[extent[0] * element, extent[1], extent[2]]);
    Ok(copy)
}

/// `CUDA_MEMCPY3D` for a `cudaMemcpy3DParms`: 20 words, the last of them the kind.
///
/// # Errors
/// There is none, or it can't be.
///
/// # Safety
/// `at` must be 0 or such a structure.
pub unsafe fn cube(at: u64) -> Result<[u64; 25], i32> {
    // SAFETY: the caller's.
    let w = unsafe { structure(at, 20) }?;
    copy3(&box3(w), &box3(&w[8..]), &w[16..19], w[19] as i32, [0; 2])
}

/// `CUDA_MEMCPY3D_PEER` for a `cudaMemcpy3DPeerParms`: 21 words, each side is followed by its device.
unsafe fn peers(at: u64) -> Result<[u64; 25], i32> {
    // SAFETY: the caller's.
    let w = unsafe { structure(at, 21) }?;
    let contexts = [
        context::primary(w[8] as i32)?,
        context::primary(w[17] as i32)?,
    ];
    copy3(&box3(w), &box3(&w[9..]), &w[18..], DEFAULT, contexts)
}

/// `CUDA_MEMCPY3D` for a copy of bytes in a line.
///
/// # Errors
/// There is no such kind.
pub fn line(to: u64, from: u64, n: u64, kind: i32) -> Result<[u64; 25], i32> {
    let side = |at| box3(&[0, 0, 0, 0, at, n, n, 1]);
    copy3(&side(from), &side(to), &[n, 1, 1], kind, [0; 2])
}

/// The words of a structure of the program's.
unsafe fn structure<'a>(at: u64, n: usize) -> Result<&'a [u64], i32> {
    if at == 0 {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's.
    Ok(unsafe { core::slice::from_raw_parts(at as *const u64, n) })
}

/// `cudaMemcpy3DParms` for a `CUDA_MEMCPY3D`.
///
/// # Errors
/// The driver's, of an array.
pub fn uncube(copy: &[u64; 25]) -> Result<[u64; 20], i32> {
    let kind = |i: usize| copy[i] & 0xffff_ffff;
    let array = |side: usize| (kind(side + 4) == ARRAY).then(|| copy[side + 7]);
    let element = match array(0).or(array(11)) {
        Some(array) => super::with_result(|| arrays::element_size(array))?,
        None => 1,
    };
    let mut out = [0_u64; 20];
    for (from, to) in [(0, 0), (11, 8)] {
        let s = &copy[from..from + 11];
        match array(from) {
            Some(array) => out[to..to + 4].copy_from_slice(&[array, s[0] / element, s[1], s[2]]),
            None => {
                let at = if kind(from + 4) == HOST { s[5] } else { s[6] };
                out[to + 1..to + 8].copy_from_slice(&[s[0], s[1], s[2], at, s[9], s[9], s[10]]);
            }
        }
    }
    out[16..19].copy_from_slice(&[copy[22] / element, copy[23], copy[24]]);
    let of = |side: usize| match kind(side) {
        ARRAY => DEVICE,
        other => other,
    };
    let known = (HOST_TO_HOST..=DEFAULT).find(|k| sides(*k) == Ok([of(4), of(15)]));
    out[19] = known.unwrap_or(DEFAULT) as u64;
    Ok(out)
}

/// Copies what the words describe, with the function that waits or the one for a stream.
unsafe fn solid(words: Result<[u64; 25], i32>, copy: impl FnOnce(u64) -> i32) -> i32 {
    driver::code(words.and_then(|words| {
        if words[22..].contains(&0) {
            return Ok(());
        }
        check(copy(words.as_ptr() as u64))
    }))
}

pub unsafe fn cudaMemcpy3D(at: u64) -> i32 {
    with_context(|| check(unsafe { solid(cube(at), |w| driver::cuMemcpy3D_v2(w)) }))
}

pub unsafe fn cudaMemcpy3DAsync(at: u64, stream: u64) -> i32 {
    with_context(|| check(unsafe { solid(cube(at), |w| driver::cuMemcpy3DAsync_v2(w, stream)) }))
}

pub unsafe fn cudaMemcpy3DPeer(at: u64) -> i32 {
    with_context(|| check(unsafe { solid(peers(at), |w| driver::cuMemcpy3DPeer(w)) }))
}

pub unsafe fn cudaMemcpy3DPeerAsync(at: u64, stream: u64) -> i32 {
    with_context(|| check(unsafe { solid(peers(at), |w| driver::cuMemcpy3DPeerAsync(w, stream)) }))
}
