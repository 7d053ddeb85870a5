//! Copies, fills, and memory.

use super::super::codes::*;
use super::super::driver::{self, check, put};
use super::super::{arrays, context, model};
use super::register::symbol;
use super::{with_context, Extent, Pitched};

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
type Stream = Option<u64>;

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
fn part(variable: u64, n: u64, offset: u64) -> Result<u64, i32> {
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

/// The words of both sides and the extent; contexts where they are peers.
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

unsafe fn cube(at: u64, stream: Stream) -> i32 {
    with_context(|| {
        if at == 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: cudaMemcpy3DParms is 20 words, the last of them the kind.
        let w = unsafe { core::slice::from_raw_parts(at as *const u64, 20) };
        let copy = copy3(&box3(w), &box3(&w[8..]), &w[16..19], w[19] as i32, [0; 2])?;
        if copy[22..].contains(&0) {
            return Ok(());
        }
        let at = copy.as_ptr() as u64;
        // SAFETY: the structure as cuda.h has it, and the caller's memory.
        check(unsafe {
            match stream {
                Some(stream) => driver::cuMemcpy3DAsync_v2(at, stream),
                None => driver::cuMemcpy3D_v2(at),
            }
        })
    })
}

pub unsafe fn cudaMemcpy3D(at: u64) -> i32 {
    unsafe { cube(at, None) }
}

pub unsafe fn cudaMemcpy3DAsync(at: u64, stream: u64) -> i32 {
    unsafe { cube(at, Some(stream)) }
}

unsafe fn peers(at: u64, stream: Stream) -> i32 {
    with_context(|| {
        if at == 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: cudaMemcpy3DPeerParms is 21 words: each side is followed by its device.
        let w = unsafe { core::slice::from_raw_parts(at as *const u64, 21) };
        let of = |i: usize| context::primary(w[i] as i32);
        let contexts = [of(8)?, of(17)?];
        let copy = copy3(&box3(w), &box3(&w[9..]), &w[18..], DEFAULT, contexts)?;
        let at = copy.as_ptr() as u64;
        // SAFETY: the structure as cuda.h has it, and the caller's memory.
        check(unsafe {
            match stream {
                Some(stream) => driver::cuMemcpy3DPeerAsync(at, stream),
                None => driver::cuMemcpy3DPeer(at),
            }
        })
    })
}

pub unsafe fn cudaMemcpy3DPeer(at: u64) -> i32 {
    unsafe { peers(at, None) }
}

pub unsafe fn cudaMemcpy3DPeerAsync(at: u64, stream: u64) -> i32 {
    unsafe { peers(at, Some(stream)) }
}

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

/// Memory of no bytes is null.
unsafe fn memory(out: u64, n: u64, get: impl FnOnce() -> i32) -> i32 {
    with_context(|| {
        if out != 0 && n == 0 {
            // SAFETY: the program's place.
            return unsafe { put(out, 0_u64) };
        }
        check(get())
    })
}

pub unsafe fn cudaMalloc(out: u64, n: u64) -> i32 {
    unsafe { memory(out, n, || driver::cuMemAlloc_v2(out, n)) }
}

pub unsafe fn cudaMallocAsync(out: u64, n: u64, stream: u64) -> i32 {
    unsafe { memory(out, n, || driver::cuMemAllocAsync(out, n, stream)) }
}

pub unsafe fn cudaMallocHost(out: u64, n: u64) -> i32 {
    unsafe { memory(out, n, || driver::cuMemAllocHost_v2(out, n)) }
}

pub unsafe fn cudaMallocManaged(out: u64, n: u64, flags: i32) -> i32 {
    with_context(|| check(unsafe { driver::cuMemAllocManaged(out, n, flags) }))
}

pub unsafe fn cudaMallocPitch(out: u64, pitch: u64, width: u64, height: u64) -> i32 {
    with_context(|| check(unsafe { driver::cuMemAllocPitch_v2(out, pitch, width, height, 4) }))
}

pub unsafe fn cudaMalloc3D(out: u64, extent: Extent) -> i32 {
    with_context(|| {
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        let (mut at, mut pitch) = (0_u64, 0_u64);
        let rows = extent.height.max(1) * extent.depth.max(1);
        // SAFETY: places for results, and the program's.
        unsafe {
            let (a, p) = (&raw mut at as u64, &raw mut pitch as u64);
            check(driver::cuMemAllocPitch_v2(a, p, extent.width, rows, 4))?;
            let made = Pitched {
                at,
                pitch,
                width: extent.width,
                height: extent.height,
            };
            put(out, made)
        }
    })
}

pub unsafe fn cudaFree(at: u64) -> i32 {
    with_context(|| check(unsafe { driver::cuMemFree_v2(at) }))
}

pub unsafe fn cudaFreeHost(at: u64) -> i32 {
    with_context(|| match at {
        0 => Ok(()),
        at => check(unsafe { driver::cuMemFreeHost(at) }),
    })
}

/// `cudaMemoryType`.
const TYPES: [i32; 4] = [0, 1, 2, 3];

pub unsafe fn cudaPointerGetAttributes(out: u64, at: u64) -> i32 {
    /// `cudaPointerAttributes`: what it is, on which device, its address there and on the host.
    #[repr(C)]
    struct Attributes {
        kind: i32,
        device: i32,
        on_device: u64,
        on_host: u64,
        reserved: [u64; 8],
    }
    let [unregistered, host, device, managed] = TYPES;
    with_context(|| {
        let model = model::lock();
        let pinned = model.pinned.range(..=at).next_back();
        let pinned = pinned.filter(|(base, p)| at < **base + p.len);
        let (kind, on_device, on_host) = if model.arena.find(at).is_some() {
            (device, at, 0)
        } else if model.managed.iter().any(|m| m.holds(at)) {
            (managed, at, at)
        } else if let Some((base, p)) = pinned {
            let there = if p.device == 0 {
                0
            } else {
                p.device + (at - base)
            };
            (host, there, at)
        } else if model
            .globals
            .iter()
            .any(|g| at >= g.at && at < g.at + g.len)
        {
            (device, at, 0)
        } else {
            (unregistered, 0, at)
        };
        drop(model);
        let of = super::super::memory::context_of(at).and_then(context::device_of);
        let device = match kind {
            0 => -2, // cudaInvalidDeviceId
            _ => of.unwrap_or_else(super::device),
        };
        let attributes = Attributes {
            kind,
            device,
            on_device,
            on_host,
            reserved: [0; 8],
        };
        // SAFETY: the program's place.
        unsafe { put(out, attributes) }
    })
}
