//! Memory, and what a pointer points to.

use super::super::codes::*;
use super::super::driver::{self, check, put};
use super::super::{context, model, vmm};
use super::{with_context, Extent, Pitched};

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
        } else if let Some(global) = model.globals.iter().find(|g| g.holds(at)) {
            match global.managed {
                true => (managed, at, at),
                false => (device, at, 0),
            }
        } else {
            (unregistered, 0, at)
        };
        drop(model);
        let mapped = vmm::mapping(at);
        let (kind, on_device, on_host) = match mapped {
            Some(_) => (device, at, 0),
            None => (kind, on_device, on_host),
        };
        let of = super::super::memory::context_of(at).and_then(context::device_of);
        let of = of.or(mapped.map(|(.., device)| device));
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
