//! Launches of kernels.

use super::function::Function;
use super::work::Work;
use super::{all, api, get, ready, refused, Done, Error, Handle};
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

/// A kernel, and what it is launched with.
pub struct Launch {
    /// The kernel.
    pub function: Arc<Function>,
    handle: Handle,
    /// Blocks, by axis.
    pub grid: [u32; 3],
    /// Threads of a block, by axis.
    pub block: [u32; 3],
    /// Shared memory of a block.
    pub shared: usize,
    /// The parameters, as the kernel has them.
    pub parameters: Box<[u8]>,
    /// Where each begins there.
    pointers: Box<[usize]>,
    /// Blocks may wait for each other.
    pub cooperative: bool,
}

/// `CUDA_KERNEL_NODE_PARAMS_v2`.
#[repr(C)]
pub struct Parameters {
    function: Handle,
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    parameters: *const *const c_void,
    extra: *const usize,
    kernel: Handle,
    context: Handle,
}

/// `CUlaunchConfig`.
#[repr(C)]
pub struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: Handle,
    attributes: *const Attribute,
    count: c_uint,
}

/// `CUlaunchAttribute`.
#[repr(C)]
pub struct Attribute {
    which: c_uint,
    padding: c_uint,
    value: [u64; 8],
}

/// The most blocks by axis.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
/// The most threads of a block by axis.
const MOST_THREADS: [u32; 3] = [1024, 1024, 64];
/// In `extra`: a buffer with all parameters, and its size.
const BUFFER: usize = 1;
const SIZE: usize = 2;

/// `CU_LAUNCH_ATTRIBUTE_COOPERATIVE`.
const COOPERATIVE: c_uint = 2;

/// Where each parameter begins.
fn pointers(function: &Function, parameters: &[u8]) -> Box<[usize]> {
    let layout = function.code().layout.iter();
    layout
        .map(|(at, _)| parameters.as_ptr() as usize + at)
        .collect()
}

impl Launch {
    /// A launch, checked.
    ///
    /// # Safety
    /// `parameters` and `extra` must be null or as the API says.
    pub unsafe fn new(
        handle: Handle,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        parameters: *const *const c_void,
        extra: *const usize,
    ) -> Result<Launch, Error> {
        let function = ready()?.functions.get(handle)?.here()?;
        let bad =
            |n: [u32; 3], most: [u32; 3]| n.iter().zip(most).any(|(n, most)| *n == 0 || *n > most);
        let threads = block.iter().map(|n| u64::from(*n)).product::<u64>();
        if bad(grid, MOST_BLOCKS) || bad(block, MOST_THREADS) || threads > 1024 {
            return Err(Error::INVALID_VALUE);
        }
        let wanted = function.code();
        if let Some(what) = &wanted.lacks {
            let name = &wanted.name;
            return Err(refused::say(&format!("{what}, which {name} wants,")));
        }
        if wanted.block.is_some_and(|wanted| wanted != block) {
            return Err(Error::INVALID_VALUE);
        }
        if threads > function.max_threads() as u64 {
            return Err(Error::LAUNCH_OUT_OF_RESOURCES);
        }
        if i64::from(shared) > function.max_shared().into() {
            return Err(Error::INVALID_VALUE);
        }
        let code = function.code();
        let mut bytes = vec![0u8; code.parameters].into_boxed_slice();
        // SAFETY: the caller's: as many pointers as the kernel has parameters, each to a value of its size; or the list of names and
        // values in `extra`.
        unsafe {
            if !parameters.is_null() {
                for (i, (at, size)) in code.layout.iter().enumerate() {
                    let from = (*parameters.add(i)).cast::<u8>();
                    get(from)?;
                    std::ptr::copy_nonoverlapping(
                        from,
                        bytes[*at..*at + *size].as_mut_ptr(),
                        *size,
                    );
                }
            } else if !extra.is_null() {
                let (buffer, size) = buffer(extra)?;
                let given = all(buffer, size)?;
                let n = size.min(bytes.len());
                bytes[..n].copy_from_slice(&given[..n]);
            } else if !code.layout.is_empty() {
                return Err(Error::INVALID_VALUE);
            }
        }
        let pointers = pointers(&function, &bytes);
        Ok(Launch {
            function,
            handle,
            grid,
            block,
            shared: shared as usize,
            parameters: bytes,
            pointers,
            cooperative: false,
        })
    }

    /// The launch that a graph's node describes.
    ///
    /// # Safety
    /// As `new`.
    pub unsafe fn of(p: &Parameters) -> Result<Launch, Error> {
        let handle = if p.function == 0 {
            p.kernel
        } else {
            p.function
        };
        // SAFETY: the caller's.
        unsafe { Launch::new(handle, p.grid, p.block, p.shared, p.parameters, p.extra) }
    }

    /// Its description; the values lie here.
    pub fn parameters(&self) -> Parameters {
        Parameters {
            function: self.handle,
            grid: self.grid,
            block: self.block,
            shared: self.shared as c_uint,
            parameters: self.pointers.as_ptr().cast(),
            extra: std::ptr::null(),
            kernel: 0,
            context: 0,
        }
    }

    /// An attribute, as far as there is one here.
    pub fn attribute(&self, which: c_uint) -> [u64; 8] {
        let mut value = [0; 8];
        value[0] = u64::from(which == COOPERATIVE && self.cooperative);
        value
    }

    /// The same with another attribute.
    pub fn with(&self, which: c_uint, value: &[u64; 8]) -> Result<Launch, Error> {
        let parameters = self.parameters.clone();
        let same = Launch {
            function: self.function.clone(),
            handle: self.handle,
            pointers: pointers(&self.function, &parameters),
            parameters,
            ..*self
        };
        same.given(which, value)
    }

    fn given(mut self, which: c_uint, value: &[u64; 8]) -> Result<Launch, Error> {
        match which {
            // Where blocks and memory should be, priorities, and an earlier start: what a device may, but need not do.
            0 | 1 | 3 | 5 | 6 | 8..=10 | 14 | 16 => Ok(self),
            COOPERATIVE if value[0] as u32 != 0 => self.cooperative(),
            COOPERATIVE => {
                self.cooperative = false;
                Ok(self)
            }
            // A cluster of one block is what every block is.
            4 | 11 if value[0] == 1 | 1 << 32 && value[1] as u32 == 1 => Ok(self),
            4 | 11 => Err(refused::say("a launch with clusters of blocks")),
            7 | 12 => Err(refused::say("a launch with events of its own")),
            _ => Err(refused::say(&format!("a launch's attribute {which}"))),
        }
    }

    /// The same with blocks that may wait for each other: all must run at one time.
    fn cooperative(mut self) -> Result<Launch, Error> {
        let threads = self.block.iter().product::<u32>() as c_int;
        let room = self.function.blocks(threads, self.shared)? as u64 * ready()?.processors as u64;
        if self.grid.iter().map(|n| u64::from(*n)).product::<u64>() > room {
            return Err(Error::COOPERATIVE_LAUNCH_TOO_LARGE);
        }
        self.cooperative = true;
        Ok(self)
    }

    /// Gives it to a stream.
    fn submit(self, stream: Handle) -> Done {
        ready()?
            .submit(stream, Work::Kernel(Arc::new(self)))
            .map(|_| ())
    }
}

/// The buffer with the parameters.
///
/// # Safety
/// `extra` must be a list of names and values that ends with a 0.
unsafe fn buffer(extra: *const usize) -> Result<(*const u8, usize), Error> {
    let (mut at, mut size) = (std::ptr::null(), 0);
    let mut i = 0;
    // SAFETY: the caller's; the size is given by its address.
    unsafe {
        loop {
            match *extra.add(i) {
                0 => return Ok((at, size)),
                BUFFER => at = *extra.add(i + 1) as *const u8,
                SIZE => size = *get(*extra.add(i + 1) as *const usize)?,
                _ => return Err(Error::INVALID_VALUE),
            }
            i += 2;
        }
    }
}

api! {
    /// Launches a kernel.
    fn cuLaunchKernel(function: Handle, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared: c_uint, stream: Handle, parameters: *const *const c_void, extra: *const usize) {
        Launch::new(function, [gx, gy, gz], [bx, by, bz], shared, parameters, extra)?.submit(stream)
    }

    /// Launches a kernel whose blocks may wait for each other.
    fn cuLaunchCooperativeKernel(function: Handle, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared: c_uint, stream: Handle, parameters: *const *const c_void) {
        let launch = Launch::new(function, [gx, gy, gz], [bx, by, bz], shared, parameters, std::ptr::null())?;
        launch.cooperative()?.submit(stream)
    }

    /// Launches a kernel, with attributes.
    fn cuLaunchKernelEx(config: *const Config, function: Handle, parameters: *const *const c_void, extra: *const usize) {
        let config = get(config)?;
        let mut launch = Launch::new(function, config.grid, config.block, config.shared, parameters, extra)?;
        for attribute in all(config.attributes, config.count as usize)? {
            launch = launch.given(attribute.which, &attribute.value)?;
        }
        launch.submit(config.stream)
    }
}
