//! The driver's functions by name.

use super::codes::*;

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`.
const PER_THREAD: u64 = 2;

pub unsafe fn cuGetExportTable(out: u64, _id: u64) -> i32 {
    if out != 0 {
        // SAFETY: a place for a pointer.
        unsafe { (out as *mut u64).write(0) };
    }
    super::driver::say_once(
        "cuGetExportTable is not supported: link the program with -cudart shared (docs/cuda.md)",
    );
    NOT_SUPPORTED
}

/// The function of a name, as of a version of CUDA.
fn find(name: &str, version: i32, flags: u64) -> Option<usize> {
    /// Names whose newer forms take other arguments, with the versions that these came with.
    const SINCE: &[(&str, i32)] = &[
        ("cuCtxCreate_v4", 12050),
        ("cuCtxCreate_v3", 11040),
        ("cuCtxSynchronize_v2", 13000),
        ("cuCtxGetDevice_v2", 13000),
        ("cuEventElapsedTime_v2", 12080),
        ("cuGetProcAddress_v2", 12000),
        ("cuGraphAddDependencies_v2", 12030),
        ("cuGraphGetEdges_v2", 12030),
        ("cuGraphNodeGetDependencies_v2", 12030),
        ("cuGraphNodeGetDependentNodes_v2", 12030),
        ("cuGraphRemoveDependencies_v2", 12030),
        ("cuGraphAddKernelNode_v2", 12000),
        ("cuMemAdvise_v2", 12020),
        ("cuMemPrefetchAsync_v2", 12020),
        ("cuStreamGetCaptureInfo_v3", 12030),
        ("cuStreamGetCaptureInfo_v2", 11030),
        ("cuStreamGetCtx_v2", 12050),
        ("cuStreamUpdateCaptureDependencies_v2", 12030),
        ("cuGraphInstantiate_v2", 11000),
    ];
    let all = super::driver::exported();
    let exported = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, at)| *at);
    // cuGraphInstantiate has meant its flags' form since 12.0.
    let name = match name {
        "cuGraphInstantiate" if version >= 12000 => "cuGraphInstantiateWithFlags",
        name => name,
    };
    let forms = ["_v4", "_v3", "_v2", ""].map(|form| format!("{name}{form}"));
    let allowed = |form: &&String| {
        let since = SINCE.iter().find(|(n, _)| n == form).map_or(0, |s| s.1);
        version >= since
    };
    for form in forms.iter().filter(allowed) {
        let variant = ["_ptsz", "_ptds"]
            .iter()
            .find_map(|ending| exported(&format!("{form}{ending}")));
        let found = match flags & PER_THREAD {
            0 => exported(form),
            _ => variant.or_else(|| exported(form)),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

pub unsafe fn cuGetProcAddress_v2(
    name: u64,
    out: u64,
    version: i32,
    flags: u64,
    status: u64,
) -> i32 {
    if name == 0 || out == 0 {
        return INVALID_VALUE;
    }
    // SAFETY: a C string, and places for a pointer and a number.
    unsafe {
        let name = core::ffi::CStr::from_ptr(name as *const _).to_string_lossy();
        let found = find(&name, version, flags);
        (out as *mut usize).write(found.unwrap_or(0));
        if status != 0 {
            (status as *mut i32).write(i32::from(found.is_none()));
        }
        if found.is_some() {
            SUCCESS
        } else {
            NOT_FOUND
        }
    }
}

pub unsafe fn cuGetProcAddress(name: u64, out: u64, version: i32, flags: u64) -> i32 {
    unsafe { cuGetProcAddress_v2(name, out, version, flags, 0) }
}
