//! Calls that copy and fill memory.
//!
//! A copy from or to memory of the host that is not known here has ended when the call returns, as it has for any driver: the program
//! may change that memory at once.

use super::array;
use super::copy::{Copy, Fill, Side};
use super::work::Work;
use super::{api, context, cu, get, lock, ready, Done, Error, Handle, Pointer};
use std::ffi::c_uint;
use std::sync::Arc;

/// `CUDA_MEMCPY2D_v2`, one side.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flat {
    x: usize,
    y: usize,
    kind: c_uint,
    host: Pointer,
    device: Pointer,
    array: Handle,
    pitch: usize,
}

/// `CUDA_MEMCPY2D_v2`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy2d {
    from: Flat,
    to: Flat,
    width: usize,
    height: usize,
}

/// `CUDA_MEMCPY3D_v2` and `CUDA_MEMCPY3D_PEER`, one side.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Solid {
    x: usize,
    y: usize,
    z: usize,
    level: usize,
    kind: c_uint,
    host: Pointer,
    device: Pointer,
    array: Handle,
    context: Handle,
    pitch: usize,
    height: usize,
}

/// `CUDA_MEMCPY3D_v2` and `CUDA_MEMCPY3D_PEER`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Copy3d {
    from: Solid,
    to: Solid,
    width: usize,
    height: usize,
    depth: usize,
}

/// Kinds of memory in such copies (`CUmemorytype`).
const HOST: c_uint = 1;
const ARRAY: c_uint = 3;

impl Flat {
    fn solid(&self, height: usize) -> Solid {
        Solid {
            x: self.x,
            y: self.y,
            z: 0,
            level: 0,
            kind: self.kind,
            host: self.host,
            device: self.device,
            array: self.array,
            context: 0,
            pitch: self.pitch,
            height,
        }
    }
}

impl Copy2d {
    fn solid(&self) -> Copy3d {
        Copy3d {
            from: self.from.solid(self.height),
            to: self.to.solid(self.height),
            width: self.width,
            height: self.height,
            depth: 1,
        }
    }
}

impl Solid {
    /// Where it begins, for rows of this size.
    fn side(&self, size: [u64; 3]) -> Result<Side, Error> {
        let [width, height, depth] = size;
        let [x, y, z] = [self.x, self.y, self.z].map(|n| n as u64);
        let (start, pitch, rows) = match self.kind {
            ARRAY => {
                let array = ready()?.arrays.get(self.array)?;
                return array.part([x, y, z], size);
            }
            HOST => (self.host, self.pitch as u64, self.height as u64),
            2 | 4 => (self.device, self.pitch as u64, self.height as u64),
            _ => return Err(Error::INVALID_VALUE),
        };
        // A pitch of 0 is that of rows without gaps.
        let pitch = if pitch == 0 { x + width } else { pitch };
        let rows = if rows == 0 { y + height } else { rows };
        if pitch < x + width || (depth > 1 && rows < y + height) || self.level != 0 {
            return Err(Error::INVALID_VALUE);
        }
        let slice = pitch.checked_mul(rows).ok_or(Error::INVALID_VALUE)?;
        let skip = slice
            .checked_mul(z)
            .and_then(|s| s.checked_add(pitch.checked_mul(y)?))
            .ok_or(Error::INVALID_VALUE)?;
        Ok(Side {
            start: start + skip + x,
            pitch,
            slice,
        })
    }
}

/// A side of a copy in a line.
fn line(at: Pointer, host: bool, size: u64) -> Solid {
    let (kind, host, device) = if host { (HOST, at, 0) } else { (4, 0, at) };
    Solid {
        kind,
        host,
        device,
        pitch: size as usize,
        height: 1,
        ..Solid::NOWHERE
    }
}

impl Solid {
    const NOWHERE: Solid = Solid {
        x: 0,
        y: 0,
        z: 0,
        level: 0,
        kind: 0,
        host: 0,
        device: 0,
        array: 0,
        context: 0,
        pitch: 0,
        height: 0,
    };

    /// A place in the first row of an array.
    fn in_array(array: Handle, x: usize) -> Solid {
        Solid {
            x,
            kind: ARRAY,
            array,
            ..Solid::NOWHERE
        }
    }
}

impl Copy3d {
    /// The description of a copy in a line.
    fn line(copy: &Copy, host: [bool; 2]) -> Copy3d {
        let size = copy.size[0];
        Copy3d {
            from: line(copy.from.start, host[0], size),
            to: line(copy.to.start, host[1], size),
            width: size as usize,
            height: 1,
            depth: 1,
        }
    }

    /// The copy that it describes.
    pub fn copy(&self) -> Result<Copy, Error> {
        let size = [self.width, self.height, self.depth].map(|n| n as u64);
        Ok(Copy {
            from: self.from.side(size)?,
            to: self.to.side(size)?,
            size,
        })
    }
}

/// Refuses a copy to or from device memory that is not there. `host`: which sides are the host's.
fn check(copy: &Copy, host: [bool; 2]) -> Done {
    let memory = &ready()?.memory;
    for (side, host) in [copy.from, copy.to].iter().zip(host) {
        let extent = side.extent(copy.size).ok_or(Error::INVALID_VALUE)?;
        if extent > 0 && !host {
            memory.check_device(side.start, extent)?;
        }
        if extent > 0 && side.start == 0 {
            return Err(Error::INVALID_VALUE);
        }
    }
    Ok(())
}

/// An address that need not be the device's: is it the host's own?
fn is_host(at: Pointer) -> Result<bool, Error> {
    Ok(ready()?.memory.is_pageable(at))
}

/// Copies, and waits.
fn now(copy: Copy, host: [bool; 2]) -> Done {
    check(&copy, host)?;
    ready()?.now(Work::Copy(copy, None))
}

/// Copies in a line, in the order of a stream.
fn later(copy: Copy, host: [bool; 2], stream: Handle) -> Done {
    later_as(copy, host, stream, || Copy3d::line(&copy, host))
}

/// Copies in the order of a stream; a graph that captures it wants its description.
fn later_as(copy: Copy, host: [bool; 2], stream: Handle, as_a: impl FnOnce() -> Copy3d) -> Done {
    check(&copy, host)?;
    let driver = ready()?;
    let captured = lock(&driver.stream(stream)?.part).is_some();
    let described = captured.then(|| {
        let described = as_a();
        // What goes on in the next rows of an array has none.
        described.copy().map(|_| Arc::new(described))
    });
    let pageable =
        driver.memory.is_pageable(copy.from.start) || driver.memory.is_pageable(copy.to.start);
    match driver.submit(stream, Work::Copy(copy, described.transpose()?))? {
        Some(mark) if pageable => {
            driver.engine.wait(mark);
            context::check_fault()
        }
        _ => Ok(()),
    }
}

/// Which sides of a described copy are the host's.
fn sides(copy: &Copy3d) -> Result<[bool; 2], Error> {
    let host = |side: &Solid| match side.kind {
        HOST => Ok(true),
        4 => is_host(side.device),
        _ => Ok(false),
    };
    Ok([host(&copy.from)?, host(&copy.to)?])
}

/// A fill of device memory.
fn fill(
    at: Pointer,
    pitch: usize,
    value: u32,
    bytes: u32,
    size: [usize; 2],
) -> Result<Fill, Error> {
    let size = size.map(|n| n as u64);
    let to = Side {
        start: at,
        pitch: pitch as u64,
        slice: 0,
    };
    let width = size[0]
        .checked_mul(bytes.into())
        .ok_or(Error::INVALID_VALUE)?;
    let aligned = at.is_multiple_of(bytes.into()) && (pitch as u64).is_multiple_of(bytes.into());
    if !aligned || (size[1] > 1 && to.pitch < width) {
        return Err(Error::INVALID_VALUE);
    }
    let extent = to.extent([width, size[1], 1]).ok_or(Error::INVALID_VALUE)?;
    ready()?.memory.check_device(at, extent)?;
    Ok(Fill {
        to,
        value,
        bytes,
        size,
    })
}

/// The work of a fill, checked.
pub fn filled(
    at: Pointer,
    pitch: usize,
    value: u32,
    bytes: u32,
    size: [usize; 2],
) -> Result<Work, Error> {
    fill(at, pitch, value, bytes, size).map(Work::Fill)
}

/// The work of a described copy, checked.
pub fn copied(copy: &Copy3d) -> Result<Work, Error> {
    let host = sides(copy)?;
    let described = Some(Arc::new(*copy));
    let copy = copy.copy()?;
    check(&copy, host)?;
    Ok(Work::Copy(copy, described))
}

/// Functions that fill memory, now or in the order of a stream: `now, later: type, bytes`.
macro_rules! fills {
    ($($now:ident $later:ident $now2:ident $later2:ident: $ty:ty, $bytes:literal;)*) => {
        api! {$(
            /// Fills memory.
            fn $now(at: Pointer, value: $ty, n: usize) {
                ready()?.now(filled(at, 0, value.into(), $bytes, [n, 1])?)
            }

            /// Fills memory, in order.
            fn $later(at: Pointer, value: $ty, n: usize, stream: Handle) {
                ready()?.submit(stream, filled(at, 0, value.into(), $bytes, [n, 1])?).map(|_| ())
            }

            /// Fills rows.
            fn $now2(at: Pointer, pitch: usize, value: $ty, width: usize, height: usize) {
                ready()?.now(filled(at, pitch, value.into(), $bytes, [width, height])?)
            }

            /// Fills rows, in order.
            fn $later2(at: Pointer, pitch: usize, value: $ty, width: usize, height: usize, stream: Handle) {
                ready()?.submit(stream, filled(at, pitch, value.into(), $bytes, [width, height])?).map(|_| ())
            }
        )*}
    };
}

fills! {
    cuMemsetD8_v2 cuMemsetD8Async cuMemsetD2D8_v2 cuMemsetD2D8Async: u8, 1;
    cuMemsetD16_v2 cuMemsetD16Async cuMemsetD2D16_v2 cuMemsetD2D16Async: u16, 2;
    cuMemsetD32_v2 cuMemsetD32Async cuMemsetD2D32_v2 cuMemsetD2D32Async: u32, 4;
}

api! {
    /// Copies, wherever the addresses are.
    fn cuMemcpy(to: Pointer, from: Pointer, size: usize) {
        now(Copy::line(to, from, size as u64), [is_host(from)?, is_host(to)?])
    }

    /// The same, in order.
    fn cuMemcpyAsync(to: Pointer, from: Pointer, size: usize, stream: Handle) {
        later(Copy::line(to, from, size as u64), [is_host(from)?, is_host(to)?], stream)
    }

    /// Copies between contexts.
    fn cuMemcpyPeer(to: Pointer, _context: Handle, from: Pointer, _other: Handle, size: usize) {
        now(Copy::line(to, from, size as u64), [false, false])
    }

    /// The same, in order.
    fn cuMemcpyPeerAsync(to: Pointer, _context: Handle, from: Pointer, _other: Handle, size: usize, stream: Handle) {
        later(Copy::line(to, from, size as u64), [false, false], stream)
    }

    /// Copies from the host.
    fn cuMemcpyHtoD_v2(to: Pointer, from: Pointer, size: usize) {
        now(Copy::line(to, from, size as u64), [true, false])
    }

    /// Copies to the host.
    fn cuMemcpyDtoH_v2(to: Pointer, from: Pointer, size: usize) {
        now(Copy::line(to, from, size as u64), [false, true])
    }

    /// Copies on the device.
    fn cuMemcpyDtoD_v2(to: Pointer, from: Pointer, size: usize) {
        now(Copy::line(to, from, size as u64), [false, false])
    }

    /// Copies from the host, in order.
    fn cuMemcpyHtoDAsync_v2(to: Pointer, from: Pointer, size: usize, stream: Handle) {
        later(Copy::line(to, from, size as u64), [true, false], stream)
    }

    /// Copies to the host, in order.
    fn cuMemcpyDtoHAsync_v2(to: Pointer, from: Pointer, size: usize, stream: Handle) {
        later(Copy::line(to, from, size as u64), [false, true], stream)
    }

    /// Copies on the device, in order.
    fn cuMemcpyDtoDAsync_v2(to: Pointer, from: Pointer, size: usize, stream: Handle) {
        later(Copy::line(to, from, size as u64), [false, false], stream)
    }

    /// Copies rows.
    fn cuMemcpy2D_v2(what: *const Copy2d) {
        let copy = get(what)?.solid();
        now(copy.copy()?, sides(&copy)?)
    }

    /// Copies rows.
    fn cuMemcpy2DUnaligned_v2(what: *const Copy2d) {
        let copy = get(what)?.solid();
        now(copy.copy()?, sides(&copy)?)
    }

    /// Copies rows, in order.
    fn cuMemcpy2DAsync_v2(what: *const Copy2d, stream: Handle) {
        let copy = get(what)?.solid();
        later_as(copy.copy()?, sides(&copy)?, stream, || copy)
    }

    /// Copies slices.
    fn cuMemcpy3D_v2(what: *const Copy3d) {
        let copy = get(what)?;
        now(copy.copy()?, sides(copy)?)
    }

    /// Copies slices, in order.
    fn cuMemcpy3DAsync_v2(what: *const Copy3d, stream: Handle) {
        let copy = get(what)?;
        later_as(copy.copy()?, sides(copy)?, stream, || *copy)
    }

    /// Copies slices between contexts.
    fn cuMemcpy3DPeer(what: *const Copy3d) {
        let copy = get(what)?;
        now(copy.copy()?, sides(copy)?)
    }

    /// The same, in order.
    fn cuMemcpy3DPeerAsync(what: *const Copy3d, stream: Handle) {
        let copy = get(what)?;
        later_as(copy.copy()?, sides(copy)?, stream, || *copy)
    }

    /// Copies to an array.
    fn cuMemcpyHtoA_v2(to: Handle, offset: usize, from: Pointer, size: usize) {
        now(array::copy_to(to, offset, from, size)?, [true, false])
    }

    /// Copies from an array.
    fn cuMemcpyAtoH_v2(to: Pointer, from: Handle, offset: usize, size: usize) {
        now(array::copy_from(to, from, offset, size)?, [false, true])
    }

    /// Copies to an array, in order.
    fn cuMemcpyHtoAAsync_v2(to: Handle, offset: usize, from: Pointer, size: usize, stream: Handle) {
        let copy = array::copy_to(to, offset, from, size)?;
        let described = |d: Copy3d| Copy3d { to: Solid::in_array(to, offset), ..d };
        later_as(copy, [true, false], stream, || described(Copy3d::line(&copy, [true, false])))
    }

    /// Copies from an array, in order.
    fn cuMemcpyAtoHAsync_v2(to: Pointer, from: Handle, offset: usize, size: usize, stream: Handle) {
        let copy = array::copy_from(to, from, offset, size)?;
        let described = |d: Copy3d| Copy3d { from: Solid::in_array(from, offset), ..d };
        later_as(copy, [false, true], stream, || described(Copy3d::line(&copy, [false, true])))
    }

    /// Copies to an array.
    fn cuMemcpyDtoA_v2(to: Handle, offset: usize, from: Pointer, size: usize) {
        now(array::copy_to(to, offset, from, size)?, [false, false])
    }

    /// Copies from an array.
    fn cuMemcpyAtoD_v2(to: Pointer, from: Handle, offset: usize, size: usize) {
        now(array::copy_from(to, from, offset, size)?, [false, false])
    }

    /// Copies from an array to another.
    fn cuMemcpyAtoA_v2(to: Handle, at: usize, from: Handle, offset: usize, size: usize) {
        let source = array::copy_from(0, from, offset, size)?.from;
        now(array::copy_to(to, at, source.start, size)?, [false, false])
    }

    /// Brings managed memory nearer to where it will be used: it is near already.
    fn cuMemPrefetchAsync_v2(at: Pointer, size: usize, _location: u64, flags: c_uint, stream: Handle) {
        super::memory::managed(at, size)?;
        if flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        ready()?.submit(stream, Work::Nothing).map(|_| ())
    }

    /// The same, as before CUDA 13.
    fn cuMemPrefetchAsync(at: Pointer, size: usize, _device: i32, stream: Handle) {
        cu(cuMemPrefetchAsync_v2(at, size, 0, 0, stream))
    }
}
