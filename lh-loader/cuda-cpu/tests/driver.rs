//! The driver API, called as a program calls it.

use cuda_cpu::driver::*;
use std::ffi::{c_int, c_void, CString};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::Mutex;

extern crate cuda_cpu;

/// Adds a number to each element; waits for a flag; goes wrong; counts blocks that wait for each other.
const TEXT: &str = r#".version 8.0
.target sm_90
.address_size 64
.visible .global .align 4 .u32 bias = 7;
.visible .global .align 8 .u64 there = bias;
.visible .global .attribute(.managed) .align 4 .u32 shown;
.visible .entry add(.param .u64 a, .param .u32 n, .param .u32 x) {
    .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>;
    ld.param.u64 %rd1, [a]; ld.param.u32 %r1, [n]; ld.param.u32 %r2, [x];
    mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x; mad.lo.s32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r6, %r1; @%p1 ret;
    mul.wide.u32 %rd2, %r6, 4; add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r7, [%rd3]; add.u32 %r7, %r7, %r2; ld.global.u32 %r8, [bias]; add.u32 %r7, %r7, %r8;
    st.global.u32 [%rd3], %r7; ret;
}
.visible .entry wait(.param .u64 flag) {
    .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>;
    ld.param.u64 %rd1, [flag];
    $again: ld.volatile.global.u32 %r1, [%rd1]; setp.eq.u32 %p1, %r1, 0; @%p1 bra $again; ret;
}
.visible .entry wrong() {
    .reg .b32 %r<9>; .reg .b64 %rd<9>;
    mov.u64 %rd1, 64; ld.global.u32 %r1, [%rd1]; st.global.u32 [%rd1], %r1; ret;
}
"#;

/// One test at a time: they share the driver's one context, and one spoils it.
static TURN: Mutex<()> = Mutex::new(());

macro_rules! ok {
    ($call:expr) => {{
        // SAFETY: what is passed lives as long as the call.
        let code = unsafe { $call };
        assert_eq!(code, 0, "{}", stringify!($call));
    }};
}

macro_rules! fails {
    ($call:expr, $code:expr) => {{
        // SAFETY: as above.
        let code = unsafe { $call };
        assert_eq!(code, $code, "{}", stringify!($call));
    }};
}

/// A value that a call gives.
macro_rules! given {
    ($ty:ty, |$out:ident| $call:expr) => {{
        let mut value: $ty = Default::default();
        let $out = &mut value as *mut $ty;
        ok!($call);
        value
    }};
}

/// A module, and the right to use the driver.
struct Fixture {
    module: u64,
    _turn: std::sync::MutexGuard<'static, ()>,
}

fn begin() -> Fixture {
    let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    ok!(cuInit(0));
    let context = given!(u64, |c| cuDevicePrimaryCtxRetain(c, 0));
    ok!(cuCtxSetCurrent(context));
    let text = CString::new(TEXT).unwrap();
    let module = given!(u64, |m| cuModuleLoadData(m, text.as_ptr().cast()));
    Fixture {
        module,
        _turn: turn,
    }
}

impl Fixture {
    fn kernel(&self, name: &str) -> u64 {
        let name = CString::new(name).unwrap();
        given!(u64, |k| cuModuleGetFunction(k, self.module, name.as_ptr()))
    }

    /// `add` over an array in a stream.
    fn add(&self, at: u64, n: u32, x: u32, stream: u64) {
        let arguments: [*const c_void; 3] = [
            (&raw const at).cast(),
            (&raw const n).cast(),
            (&raw const x).cast(),
        ];
        let blocks = n.div_ceil(64);
        ok!(cuLaunchKernel(
            self.kernel("add"),
            blocks,
            1,
            1,
            64,
            1,
            1,
            0,
            stream,
            arguments.as_ptr(),
            null()
        ));
    }

    /// A kernel that waits until the flag is set.
    fn wait(&self, flag: u64, stream: u64) {
        let arguments: [*const c_void; 1] = [(&raw const flag).cast()];
        ok!(cuLaunchKernel(
            self.kernel("wait"),
            1,
            1,
            1,
            1,
            1,
            1,
            0,
            stream,
            arguments.as_ptr(),
            null()
        ));
    }
}

fn device(values: &[u32]) -> u64 {
    let at = given!(u64, |p| cuMemAlloc_v2(p, 4 * values.len()));
    ok!(cuMemcpyHtoD_v2(
        at,
        values.as_ptr() as u64,
        4 * values.len()
    ));
    at
}

fn host(at: u64, n: usize) -> Vec<u32> {
    let mut values = vec![0u32; n];
    ok!(cuMemcpyDtoH_v2(values.as_mut_ptr() as u64, at, 4 * n));
    values
}

fn global(f: &Fixture, name: &str) -> (u64, usize) {
    let name = CString::new(name).unwrap();
    let mut size = 0;
    let at = given!(u64, |p| cuModuleGetGlobal_v2(
        p,
        &mut size,
        f.module,
        name.as_ptr()
    ));
    (at, size)
}

#[test]
fn a_kernel_runs_and_variables_are_where_they_say() {
    let f = begin();
    let at = device(&[1; 1000]);
    f.add(at, 1000, 5, 0);
    assert_eq!(host(at, 1000), [13; 1000]);
    let (bias, size) = global(&f, "bias");
    assert_eq!((host(bias, 1)[0], size), (7, 4));
    let (there, _) = global(&f, "there");
    let words = host(there, 2);
    assert_eq!(u64::from(words[0]) | u64::from(words[1]) << 32, bias);
    let name = CString::new("nobody").unwrap();
    fails!(cuModuleGetFunction(&mut 0, f.module, name.as_ptr()), 500);
    fails!(
        cuMemcpyHtoD_v2(at + 8, [0u8; 4000].as_ptr() as u64, 4000),
        1
    );
    fails!(
        cuLaunchKernel(f.kernel("add"), 1, 1, 1, 1025, 1, 1, 0, 0, null(), null()),
        1
    );
    ok!(cuMemFree_v2(at));
    fails!(cuMemFree_v2(at), 1);
    ok!(cuModuleUnload(f.module));
    fails!(cuModuleUnload(f.module), 400);
}

#[test]
fn memory_lies_at_the_wanted_address_and_keeps_its_contents() {
    let _f = begin();
    const WANTED: u64 = 0x4000_1000_0000;
    const SIZE: usize = 4 << 20;
    let properties: [u32; 8] = [1, 0, 1, 0, 0, 0, 0, 0];
    let range = given!(u64, |p| cuMemAddressReserve(p, SIZE, 0, WANTED, 0));
    assert_eq!(range, WANTED);
    let elsewhere = given!(u64, |p| cuMemAddressReserve(p, SIZE, 0, WANTED, 0));
    assert_ne!(elsewhere, WANTED);
    let memory = given!(u64, |h| cuMemCreate(h, SIZE, properties.as_ptr().cast(), 0));
    ok!(cuMemMap(WANTED, SIZE, 0, memory, 0));
    // A location of a device, and reading and writing.
    let access: [u32; 3] = [1, 0, 3];
    ok!(cuMemSetAccess(WANTED, SIZE, access.as_ptr().cast(), 1));
    ok!(cuMemsetD32_v2(WANTED, 0x1234_5678, SIZE / 4));
    assert_eq!(host(WANTED + SIZE as u64 - 4, 1), [0x1234_5678]);
    fails!(cuMemsetD8_v2(WANTED + SIZE as u64 - 1, 0, 2), 1);
    fails!(cuMemAddressFree(WANTED, SIZE), 1);
    ok!(cuMemUnmap(WANTED, SIZE));
    fails!(cuMemcpyDtoH_v2([0u32].as_mut_ptr() as u64, WANTED, 4), 1);
    ok!(cuMemMap(elsewhere, SIZE, 0, memory, 0));
    fails!(cuMemMap(WANTED, SIZE, 0, memory, 0), 801);
    // Nobody may use it there yet.
    fails!(cuMemcpyDtoH_v2([0u32].as_mut_ptr() as u64, elsewhere, 4), 1);
    ok!(cuMemSetAccess(elsewhere, SIZE, access.as_ptr().cast(), 1));
    assert_eq!(host(elsewhere + 64, 1), [0x1234_5678]);
    let mut free = [0usize; 2];
    ok!(cuMemGetInfo_v2(&mut free[0], &mut free[1]));
    ok!(cuMemRelease(memory));
    ok!(cuMemUnmap(elsewhere, SIZE));
    let mut now = [0usize; 2];
    ok!(cuMemGetInfo_v2(&mut now[0], &mut now[1]));
    assert_eq!(now[0], free[0] + SIZE);
    ok!(cuMemAddressFree(WANTED, SIZE));
    ok!(cuMemAddressFree(elsewhere, SIZE));
    let total = free[1];
    fails!(cuMemAlloc_v2(&mut 0, total + 1), 2);
}

#[test]
fn pointers_are_known_for_what_they_are() {
    let _f = begin();
    let attribute = |which: u32, at: u64| {
        let mut value = 0u64;
        // SAFETY: every attribute fits.
        let code = unsafe { cuPointerGetAttribute((&raw mut value).cast(), which, at) };
        (code, value)
    };
    let mut own = vec![0u8; 10_000];
    let mine = own.as_mut_ptr() as u64;
    let (on_device, managed) = (
        device(&[0; 10]),
        given!(u64, |p| cuMemAllocManaged(p, 100, 1)),
    );
    assert_eq!(attribute(2, on_device + 39), (0, 2));
    assert_eq!(attribute(2, on_device + 40).0, 1);
    assert_eq!(
        (attribute(8, managed), attribute(8, on_device)),
        ((0, 1), (0, 0))
    );
    assert_eq!(attribute(2, mine).0, 1);
    ok!(cuMemHostRegister_v2(mine, own.len(), 0));
    fails!(cuMemHostRegister_v2(mine + 100, 1, 0), 712);
    assert_eq!(
        (attribute(2, mine), attribute(4, mine + 9)),
        ((0, 1), (0, mine + 9))
    );
    assert_eq!(
        given!(u64, |p| cuMemHostGetDevicePointer_v2(p, mine, 0)),
        mine
    );
    ok!(cuMemHostUnregister(mine));
    fails!(cuMemHostUnregister(mine), 713);
    // SAFETY: managed memory is the host's too.
    unsafe { (managed as *mut u32).write(3) };
    assert_eq!(host(managed, 1), [3]);
    ok!(cuMemFree_v2(managed));
    assert_eq!(
        given!(u64, |p| cuMemAllocManaged(p, 7, 1)),
        managed,
        "the lowest place is taken again"
    );
    ok!(cuMemFree_v2(managed));
    let rows = given!(u64, |p| cuMemAllocPitch_v2(p, &mut 0, 100, 3, 4));
    let (mut start, mut size) = (0, 0);
    ok!(cuMemGetAddressRange_v2(&mut start, &mut size, rows + 600));
    assert_eq!((start, size), (rows, 3 * 512));
}

#[test]
fn streams_keep_order_and_run_together() {
    let f = begin();
    let (flag, data) = (
        given!(u64, |p| cuMemAllocManaged(p, 4, 1)),
        device(&[0; 64]),
    );
    // SAFETY: managed memory is the host's too.
    let set = unsafe { &*(flag as *const AtomicU32) };
    set.store(0, SeqCst);
    let [a, b] = [1, 1].map(|flags| given!(u64, |s| cuStreamCreate(s, flags)));
    let [before, after, other] = [0; 3].map(|flags| given!(u64, |e| cuEventCreate(e, flags)));
    ok!(cuEventQuery(before));
    ok!(cuEventRecord(before, a));
    f.wait(flag, a);
    f.add(data, 64, 1, a);
    ok!(cuEventRecord(after, a));
    ok!(cuStreamWaitEvent(b, after, 0));
    f.add(data, 64, 10, b);
    // The legacy stream waits for neither, nor they for it.
    ok!(cuEventRecord(other, 0));
    ok!(cuEventSynchronize(other));
    fails!(cuStreamQuery(b), 600);
    fails!(cuEventQuery(after), 600);
    fails!(cuEventElapsedTime_v2(&mut 0.0, before, after), 600);
    set.store(1, SeqCst);
    ok!(cuStreamSynchronize(b));
    ok!(cuStreamQuery(a));
    assert_eq!(host(data, 64), [25; 64]);
    assert!(given!(f32, |ms| cuEventElapsedTime_v2(ms, before, after)) > 0.0);
    fails!(cuEventElapsedTime_v2(&mut 0.0, before, 12345), 400);
    ok!(cuStreamDestroy_v2(a));
    fails!(cuStreamSynchronize(a), 400);
    // A blocking stream and the legacy one wait for each other; the thread's own stream is such a one.
    set.store(0, SeqCst);
    f.wait(flag, 2);
    ok!(cuEventRecord(other, 0));
    fails!(cuEventQuery(other), 600);
    set.store(1, SeqCst);
    ok!(cuCtxSynchronize());
    ok!(cuEventQuery(other));
}

unsafe extern "C" fn count(data: *mut c_void) {
    // SAFETY: it is the counter's address.
    unsafe { (*data.cast::<AtomicU32>()).fetch_add(1, SeqCst) };
}

#[test]
fn a_graph_does_what_was_captured() {
    let f = begin();
    let data = device(&[0; 64]);
    let [a, b] = [1, 1].map(|flags| given!(u64, |s| cuStreamCreate(s, flags)));
    let [fork, join] = [2, 2].map(|flags| given!(u64, |e| cuEventCreate(e, flags)));
    let calls = AtomicU32::new(0);
    // What is forbidden meanwhile spoils it.
    ok!(cuStreamBeginCapture_v2(a, 0));
    fails!(cuMemAlloc_v2(&mut 0, 4), 900);
    fails!(cuStreamSynchronize(a), 901);
    fails!(cuStreamEndCapture(a, &mut 0), 901);
    ok!(cuStreamBeginCapture_v2(a, 0));
    f.add(data, 64, 1, a);
    ok!(cuEventRecord(fork, a));
    ok!(cuStreamWaitEvent(b, fork, 0));
    ok!(cuLaunchHostFunc(b, Some(count), &raw const calls as usize));
    ok!(cuEventRecord(join, b));
    ok!(cuStreamWaitEvent(a, join, 0));
    f.add(data, 64, 2, a);
    let graph = given!(u64, |g| cuStreamEndCapture(a, g));
    assert_eq!(host(data, 64), [0; 64], "nothing was done yet");
    let mut n = 0;
    ok!(cuGraphGetNodes(graph, null_mut(), &mut n));
    assert_eq!(n, 3);
    let exec = given!(u64, |e| cuGraphInstantiateWithFlags(e, graph, 0));
    for _ in 0..3 {
        ok!(cuGraphLaunch(exec, b));
    }
    ok!(cuStreamSynchronize(b));
    assert_eq!(
        (host(data, 64), calls.load(SeqCst)),
        (vec![3 * (3 + 14); 64], 3)
    );
    // A branch that does not come back.
    ok!(cuStreamBeginCapture_v2(a, 2));
    ok!(cuEventRecord(fork, a));
    ok!(cuStreamWaitEvent(b, fork, 0));
    f.add(data, 64, 1, b);
    fails!(cuStreamEndCapture(a, &mut 0), 904);
    ok!(cuGraphExecDestroy(exec));
    ok!(cuGraphDestroy(graph));
    fails!(cuGraphLaunch(exec, b), 400);
}

/// What another graph does is taken over if it has the same edges.
#[test]
fn a_graph_is_updated_by_one_of_its_shape() {
    let f = begin();
    let data = device(&[0; 64]);
    let streams = [1, 1].map(|flags| given!(u64, |s| cuStreamCreate(s, flags)));
    let [fork, join] = [2, 2].map(|flags| given!(u64, |e| cuEventCreate(e, flags)));
    // Two kernels, one after the other or beside it.
    let captured = |x: u32, beside: bool| {
        let [a, b] = streams;
        ok!(cuStreamBeginCapture_v2(a, 0));
        ok!(cuEventRecord(fork, a));
        ok!(cuStreamWaitEvent(b, fork, 0));
        f.add(data, 64, x, a);
        f.add(data, 64, x, if beside { b } else { a });
        ok!(cuEventRecord(join, b));
        ok!(cuStreamWaitEvent(a, join, 0));
        given!(u64, |g| cuStreamEndCapture(a, g))
    };
    let [first, same, other] = [(1, false), (2, false), (3, true)].map(|(x, b)| captured(x, b));
    let exec = given!(u64, |e| cuGraphInstantiateWithFlags(e, first, 0));
    let mut told = [9; 3];
    fails!(cuGraphExecUpdate_v2(exec, other, &mut told), 910);
    assert_eq!(told[0], 2, "its edges");
    ok!(cuGraphExecUpdate_v2(exec, same, &mut told));
    assert_eq!(told[0], 0);
    ok!(cuGraphLaunch(exec, streams[0]));
    ok!(cuStreamSynchronize(streams[0]));
    assert_eq!(host(data, 64), vec![2 * (2 + 7); 64]);
    fails!(cuGraphInstantiateWithFlags(&mut 0, first, 4), 801);
    fails!(cuGraphInstantiateWithFlags(&mut 0, first, 16), 1);
}

/// A kernel with clusters, or blocks of another size than it wants, would compute something else.
#[test]
fn kernels_of_clusters_are_refused() {
    let f = begin();
    let text = ".version 8.0\n.target sm_90\n.address_size 64\n\
                .visible .entry pairs() .explicitcluster .reqnctapercluster 2, 1, 1 { ret; }\n\
                .visible .entry alone() .reqnctapercluster 1, 1, 1 { ret; }\n\
                .visible .entry fixed() .reqntid 32, 2 { ret; }\n\
                .visible .entry grids() .reqntid 32 .blocksareclusters { ret; }\n";
    let text = CString::new(text).unwrap();
    let module = given!(u64, |m| cuModuleLoadData(m, text.as_ptr().cast()));
    let launch = |name: &str, block: [u32; 2]| {
        let name = CString::new(name).unwrap();
        let kernel = given!(u64, |k| cuModuleGetFunction(k, module, name.as_ptr()));
        let [x, y] = block;
        // SAFETY: a kernel without parameters.
        unsafe { cuLaunchKernel(kernel, 2, 1, 1, x, y, 1, 0, 0, null(), null()) }
    };
    assert_eq!(launch("pairs", [32, 1]), 801);
    assert_eq!(launch("grids", [32, 1]), 801);
    assert_eq!(launch("alone", [32, 1]), 0);
    assert_eq!(launch("fixed", [32, 1]), 1);
    assert_eq!(launch("fixed", [32, 2]), 0);
    let kernel = f.kernel("add");
    fails!(cuFuncSetAttribute(kernel, 11, 2), 801);
    ok!(cuFuncSetAttribute(kernel, 11, 1));
    ok!(cuCtxSynchronize());
}

#[test]
fn a_fault_stays_in_its_context_until_that_ends() {
    let f = begin();
    device(&[0; 1 << 20]);
    ok!(cuLaunchKernel(
        f.kernel("wrong"),
        1,
        1,
        1,
        1,
        1,
        1,
        0,
        0,
        null(),
        null()
    ));
    fails!(cuCtxSynchronize(), 700);
    fails!(cuMemAlloc_v2(&mut 0, 4), 700);
    let free = free_elsewhere();
    ok!(cuDevicePrimaryCtxReset_v2(0));
    ok!(cuCtxSynchronize());
    // What the context had is gone with it.
    let has = given!(usize, |free| cuMemGetInfo_v2(free, null_mut()));
    assert!(has > free, "{has} of {free} bytes are free after the reset");
}

/// Another context of the device, in which there was no fault, works; what it has free.
fn free_elsewhere() -> usize {
    let other = given!(u64, |c| cuCtxCreate_v2(c, 0, 0));
    let at = device(&[1, 2, 3]);
    assert_eq!(host(at, 3), [1, 2, 3]);
    let free = given!(usize, |free| cuMemGetInfo_v2(free, null_mut()));
    ok!(cuCtxDestroy_v2(other));
    free
}

#[test]
fn what_a_device_says_of_itself() {
    let f = begin();
    let attribute = |which: c_int| given!(c_int, |v| cuDeviceGetAttribute(v, which, 0));
    assert_eq!((attribute(10), attribute(75), attribute(102)), (32, 9, 1));
    fails!(cuDeviceGetAttribute(&mut 0, 999, 0), 1);
    fails!(cuDeviceGet(&mut 0, 1), 101);
    let blocks = given!(c_int, |n| cuOccupancyMaxActiveBlocksPerMultiprocessor(
        n,
        f.kernel("add"),
        256,
        0
    ));
    assert_eq!(blocks, 8);
    let mut text = null();
    ok!(cuGetErrorName(700, &mut text));
    // SAFETY: the driver's texts stay.
    assert_eq!(
        unsafe { std::ffi::CStr::from_ptr(text) },
        c"CUDA_ERROR_ILLEGAL_ADDRESS"
    );
    fails!(cuGetErrorString(12345, &mut text), 1);
    assert_eq!(cuIpcGetMemHandle(), 801);
}

/// The device is one of 9.0: PTX for newer ones is not for it.
#[test]
fn code_for_newer_devices_is_refused() {
    let _f = begin();
    let newer = CString::new(TEXT.replace("sm_90", "sm_100")).unwrap();
    let mut module = 0;
    fails!(cuModuleLoadData(&mut module, newer.as_ptr().cast()), 218);
}
