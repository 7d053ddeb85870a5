//! A device for tests: its memory is what the test has made.

use cuda_cpu::code::Program;
use cuda_cpu::exec::{run, Device, Fault, Launch};
use cuda_cpu::ptx;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

/// Memory, and what was printed.
#[derive(Default)]
pub struct Test {
    /// Each with how many bytes of it there are.
    regions: Mutex<Vec<(Box<[u128]>, usize)>>,
    pub printed: Mutex<Vec<u8>>,
}

impl Device for Test {
    fn region(&self, address: u64) -> Option<Range<u64>> {
        let regions = self.regions.lock().unwrap();
        let mut all = regions.iter().map(|r| {
            let start = r.0.as_ptr() as u64;
            start..start + r.1 as u64
        });
        all.find(|r| r.contains(&address))
    }

    fn print(&self, text: &[u8]) {
        self.printed.lock().unwrap().extend(text);
    }

    fn malloc(&self, size: u64) -> u64 {
        self.memory(size as usize)
    }

    fn free(&self, _address: u64) {}

    fn texture(&self, _number: u64) -> Option<std::sync::Arc<cuda_cpu::exec::Texture>> {
        None
    }

    fn processors(&self) -> usize {
        2
    }
}

impl Test {
    /// Zeroed memory.
    pub fn memory(&self, bytes: usize) -> u64 {
        let memory = vec![0u128; bytes.div_ceil(16)].into_boxed_slice();
        let at = memory.as_ptr() as u64;
        let regions = &mut self.regions.lock().unwrap();
        regions.push((memory, bytes.next_multiple_of(8)));
        at
    }

    /// Memory with these values in it.
    pub fn put<T: Copy>(&self, values: &[T]) -> u64 {
        let at = self.memory(std::mem::size_of_val(values));
        // SAFETY: there is room for them.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), at as *mut T, values.len()) };
        at
    }

    /// What is there now.
    pub fn get<T: Copy>(&self, at: u64, n: usize) -> Vec<T> {
        assert!(self.region(at).unwrap().end >= at + (n * size_of::<T>()) as u64);
        // SAFETY: it is memory of this test's, long enough.
        unsafe { std::slice::from_raw_parts(at as *const T, n) }.to_vec()
    }

    /// Memory for a module's variables, with what they begin with.
    pub fn variables(&self, module: &ptx::Module) -> HashMap<String, u64> {
        let mut all = HashMap::new();
        for v in module
            .variables
            .iter()
            .filter(|v| v.space != ptx::Space::Shared)
        {
            let at = self.memory(v.size().max(8));
            for (i, init) in v.init.iter().enumerate() {
                let ptx::Init::Bits(bits) = init else {
                    panic!("an address")
                };
                let bytes = v.ty.bytes();
                // SAFETY: there is room for all elements.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        bits.to_le_bytes().as_ptr(),
                        (at as *mut u8).add(i * bytes),
                        bytes,
                    )
                };
            }
            all.insert(v.name.to_owned(), at);
        }
        all
    }

    /// Runs a text's only kernel, or the one that is named.
    pub fn run(
        &self,
        text: &str,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        parameters: &[u64],
    ) -> Result<(), Fault> {
        let module = ptx::parse(text).unwrap();
        let program = Program::new(&module, &self.variables(&module));
        let bytes: Vec<u8> = parameters.iter().flat_map(|p| p.to_le_bytes()).collect();
        let launch = Launch {
            program: &program,
            kernel: program.find(name).expect("the kernel"),
            grid,
            block,
            shared: 1024,
            parameters: &bytes,
            id: 1,
            cooperative: false,
        };
        run(&launch, self)
    }
}
