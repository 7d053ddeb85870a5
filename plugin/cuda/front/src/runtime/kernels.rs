//! Launches and questions about kernels.

use super::super::codes::*;
use super::super::driver::{self, check, put};
use super::register::{kernel, symbol};
use super::{device, with_context, Dim3};

/// What is asked of a device's limits: `CU_DEVICE_ATTRIBUTE_MAX_*`, for a block and for a grid.
const MOST: [[i32; 3]; 2] = [[2, 3, 4], [5, 6, 7]];
/// `CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK`.
const MOST_THREADS: i32 = 1;

fn attribute(number: i32) -> i64 {
    let mut value = 0_i32;
    // SAFETY: a place for a number.
    unsafe { driver::cuDeviceGetAttribute(&raw mut value as u64, number, device()) };
    i64::from(value)
}

/// The runtime calls a launch that can't be what the driver calls a wrong value.
fn configuration(code: i32, grid: Dim3, block: Dim3) -> i32 {
    if code != INVALID_VALUE {
        return code;
    }
    let [b, g] = [block, grid].map(|d| [d.0, d.1, d.2].map(|n| i64::from(n as u32)));
    let within = |d: [i64; 3], most: [i32; 3]| {
        let mut all = d.into_iter().zip(most);
        all.all(|(n, most)| n > 0 && n <= attribute(most))
    };
    let threads: i64 = b.iter().product();
    if within(b, MOST[0]) && within(g, MOST[1]) && threads <= attribute(MOST_THREADS) {
        code
    } else {
        INVALID_CONFIGURATION
    }
}

pub unsafe fn __cudaGetKernel(out: u64, host: u64) -> i32 {
    // SAFETY: the compiler's place.
    driver::code(kernel(host).and_then(|k| unsafe { put(out, k) }))
}

pub unsafe fn cudaGetKernel(out: u64, host: u64) -> i32 {
    unsafe { __cudaGetKernel(out, host) }
}

pub unsafe fn cudaGetFuncBySymbol(out: u64, host: u64) -> i32 {
    unsafe { __cudaGetKernel(out, host) }
}

pub unsafe fn __cudaLaunchKernel(
    k: u64,
    g: Dim3,
    b: Dim3,
    params: u64,
    shared: u64,
    stream: u64,
) -> i32 {
    with_context(|| {
        // SAFETY: the caller's arguments.
        let code = unsafe {
            driver::cuLaunchKernel(
                k,
                g.0,
                g.1,
                g.2,
                b.0,
                b.1,
                b.2,
                shared as i32,
                stream,
                params,
                0,
            )
        };
        check(configuration(code, g, b))
    })
}

pub unsafe fn cudaLaunchKernel(
    host: u64,
    grid: Dim3,
    block: Dim3,
    params: u64,
    shared: u64,
    stream: u64,
) -> i32 {
    match kernel(host) {
        Ok(k) => unsafe { __cudaLaunchKernel(k, grid, block, params, shared, stream) },
        Err(code) => code,
    }
}

pub unsafe fn cudaLaunchCooperativeKernel(
    host: u64,
    g: Dim3,
    b: Dim3,
    params: u64,
    shared: u64,
    stream: u64,
) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: the caller's arguments.
        let code = unsafe {
            driver::cuLaunchCooperativeKernel(
                k,
                g.0,
                g.1,
                g.2,
                b.0,
                b.1,
                b.2,
                shared as i32,
                stream,
                params,
            )
        };
        check(configuration(code, g, b))
    })
}

pub unsafe fn cudaLaunchKernelExC(config: u64, host: u64, params: u64) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: the caller's arguments; both configurations have the same layout.
        check(unsafe { driver::cuLaunchKernelEx(config, k, params, 0) })
    })
}

/// `cudaFuncAttributes`: offset and `CU_FUNC_ATTRIBUTE_*`; the first are 64 bits wide.
const WIDE: [(u64, i32); 3] = [(0, 1), (8, 2), (16, 3)];
const NARROW: [(u64, i32); 13] = [
    (24, 0),
    (28, 4),
    (32, 5),
    (36, 6),
    (40, 7),
    (44, 8),
    (48, 9),
    (52, 10),
    (56, 11),
    (60, 12),
    (64, 13),
    (68, 15),
    (72, 14),
];

pub unsafe fn cudaFuncGetAttributes(out: u64, host: u64) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        if out == 0 {
            return Err(INVALID_VALUE);
        }
        let get = |attribute: i32| {
            let mut value = 0_i32;
            // SAFETY: a place for a number.
            let code = unsafe {
                driver::cuKernelGetAttribute(&raw mut value as u64, attribute, k, device())
            };
            check(code).map(|()| value)
        };
        // SAFETY: the program's structure.
        unsafe {
            for (offset, attribute) in WIDE {
                put(out + offset, get(attribute)? as u64)?;
            }
            for (offset, attribute) in NARROW {
                // An older driver does not know all.
                put(out + offset, get(attribute).unwrap_or(0))?;
            }
        }
        Ok(())
    })
}

pub unsafe fn cudaFuncSetAttribute(host: u64, attribute: i32, value: i32) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: a kernel and numbers, which are the same in both interfaces.
        check(unsafe { driver::cuKernelSetAttribute(attribute, value, k, device()) })
    })
}

pub unsafe fn cudaKernelSetAttributeForDevice(k: u64, attribute: i32, value: i32, on: i32) -> i32 {
    // SAFETY: as above.
    with_context(|| check(unsafe { driver::cuKernelSetAttribute(attribute, value, k, on) }))
}

pub unsafe fn cudaFuncSetCacheConfig(host: u64, config: i32) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: as above.
        check(unsafe { driver::cuKernelSetCacheConfig(k, config, device()) })
    })
}

pub unsafe fn cudaFuncSetSharedMemConfig(host: u64, _config: i32) -> i32 {
    // It has had no effect for years.
    with_context(|| kernel(host).map(|_| ()))
}

pub unsafe fn cudaFuncGetName(out: u64, host: u64) -> i32 {
    // SAFETY: the program's place.
    with_context(|| check(unsafe { driver::cuKernelGetName(out, kernel(host)?) }))
}

pub unsafe fn cudaFuncGetParamInfo(host: u64, index: u64, offset: u64, size: u64) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: the program's places.
        check(unsafe { driver::cuKernelGetParamInfo(k, index, offset, size) })
    })
}

pub unsafe fn cudaOccupancyMaxActiveBlocksPerMultiprocessor(
    out: u64,
    host: u64,
    block: i32,
    shared: u64,
) -> i32 {
    unsafe { cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out, host, block, shared, 0) }
}

pub unsafe fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    out: u64,
    host: u64,
    block: i32,
    shared: u64,
    flags: i32,
) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: the program's place.
        check(unsafe {
            driver::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
                out, k, block, shared, flags,
            )
        })
    })
}

pub unsafe fn cudaOccupancyAvailableDynamicSMemPerBlock(
    out: u64,
    host: u64,
    blocks: i32,
    size: i32,
) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: the program's place.
        check(unsafe { driver::cuOccupancyAvailableDynamicSMemPerBlock(out, k, blocks, size) })
    })
}

pub unsafe fn cudaOccupancyMaxPotentialClusterSize(out: u64, host: u64, config: u64) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: the program's place and configuration.
        check(unsafe { driver::cuOccupancyMaxPotentialClusterSize(out, k, config) })
    })
}

pub unsafe fn cudaOccupancyMaxActiveClusters(out: u64, host: u64, config: u64) -> i32 {
    with_context(|| {
        let k = kernel(host)?;
        // SAFETY: the program's place and configuration.
        check(unsafe { driver::cuOccupancyMaxActiveClusters(out, k, config) })
    })
}

pub unsafe fn cudaLibraryLoadData(
    out: u64,
    code: u64,
    options: u64,
    values: u64,
    n: i32,
    library_options: u64,
    library_values: u64,
    m: i32,
) -> i32 {
    with_context(|| {
        // SAFETY: the caller's arguments.
        check(unsafe {
            driver::cuLibraryLoadData(
                out,
                code,
                options,
                values,
                n,
                library_options,
                library_values,
                m,
            )
        })
    })
}

pub unsafe fn cudaGetSymbolAddress(out: u64, host: u64) -> i32 {
    // SAFETY: the program's place.
    driver::code(symbol(host).and_then(|(at, _)| unsafe { put(out, at) }))
}

pub unsafe fn cudaGetSymbolSize(out: u64, host: u64) -> i32 {
    // SAFETY: the program's place.
    driver::code(symbol(host).and_then(|(_, len)| unsafe { put(out, len) }))
}
