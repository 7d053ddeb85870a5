//! Which CUDA device the lower half has.

use super::cli::Cuda;
use super::Failure;
use std::ffi::{c_int, CStr};

/// The machine's own driver; `dlopen` finds it.
pub const DRIVER: &str = "libcuda.so.1";

/// Libraries of CUDA's that a program needs.
const NEEDED: [&str; 2] = ["libcudart.so.", "libcuda.so."];

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The machine's GPU, through its driver.
    Gpu,
    /// Its processors.
    Cpu,
}

/// Does a program that needs this library want CUDA?
pub fn needed_by(soname: &str) -> bool {
    NEEDED.iter().any(|n| soname.starts_with(n))
}

/// The device for `--cuda`; `None`: the process has no CUDA half. `needed`: the program wants CUDA.
pub fn device(wish: Cuda, needed: bool) -> Result<Option<Device>, Failure> {
    match wish {
        Cuda::None => Ok(None),
        Cuda::Cpu => Ok(Some(Device::Cpu)),
        Cuda::Auto if !needed => Ok(None),
        Cuda::Auto => Ok(Some(gpu().map_or(Device::Cpu, |()| Device::Gpu))),
        Cuda::Gpu => match gpu() {
            Ok(()) => Ok(Some(Device::Gpu)),
            Err(why) => Err(Failure::new(
                1,
                format!("--cuda gpu: {why}; install NVIDIA's driver, or say --cuda cpu"),
            )),
        },
    }
}

/// The device for a restart: as the job had it.
pub fn device_for_restart(wish: Cuda, had: Option<&str>) -> Result<Option<Device>, Failure> {
    let refused = |text: String| Err(Failure::new(1, text));
    let had = match had {
        None => return Ok(None),
        Some("gpu") => Device::Gpu,
        Some("cpu") => Device::Cpu,
        Some(other) => {
            return refused(format!(
                "this job had a CUDA device that is not known here: {other}"
            ))
        }
    };
    match (wish, had) {
        (Cuda::None, _) => refused("--cuda none: this job was checkpointed with CUDA and cannot go on without it".into()),
        // Whether its objects can go to another kind of device, only the program's model knows.
        (Cuda::Cpu, _) | (Cuda::Auto, Device::Cpu) => Ok(Some(Device::Cpu)),
        (Cuda::Gpu, Device::Cpu) => device(wish, true),
        (_, Device::Gpu) => match gpu() {
            Ok(()) => Ok(Some(Device::Gpu)),
            Err(why) => refused(format!(
                "this job was checkpointed on a GPU: {why}; restart it on a machine that has one, or try --cuda cpu"
            )),
        },
    }
}

/// Is there a driver that works, and a device? Found out in a child: a driver that was opened leaves much behind.
fn gpu() -> Result<(), &'static str> {
    const REASONS: [&str; 3] = [
        "there is no NVIDIA driver here (libcuda.so.1)",
        "NVIDIA's driver does not work here (cuInit fails)",
        "there is no GPU here",
    ];
    // SAFETY: this process has one thread; the child opens the driver and ends at once.
    let status = unsafe {
        match libc::fork() {
            0 => libc::_exit(probe()),
            child => {
                let mut status = 0;
                if child < 0 || libc::waitpid(child, &raw mut status, 0) != child {
                    return Err("no child process can be made to look for a GPU");
                }
                status
            }
        }
    };
    match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
        Some(0) => Ok(()),
        Some(n) => Err(REASONS.get(n as usize - 1).copied().unwrap_or(REASONS[1])),
        None => Err(REASONS[1]),
    }
}

/// 0, or the number of what is missing.
fn probe() -> c_int {
    type Init = unsafe extern "C" fn(u32) -> c_int;
    type Count = unsafe extern "C" fn(*mut c_int) -> c_int;
    // SAFETY: the driver's functions have these types; its constructors may run in this process, which ends.
    unsafe {
        let driver = libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW);
        let find = |name: &CStr| libc::dlsym(driver, name.as_ptr()) as usize;
        if driver.is_null() || find(c"cuInit") == 0 || find(c"cuDeviceGetCount") == 0 {
            return 1;
        }
        let init = std::mem::transmute::<usize, Init>(find(c"cuInit"));
        let count = std::mem::transmute::<usize, Count>(find(c"cuDeviceGetCount"));
        let mut n = 0;
        match init(0) {
            0 if count(&raw mut n) == 0 && n > 0 => 0,
            0 => 3,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_there_where_it_is_wanted() {
        assert_eq!(device(Cuda::Auto, false).unwrap(), None);
        assert_eq!(device(Cuda::None, true).unwrap(), None);
        assert_eq!(device(Cuda::Cpu, false).unwrap(), Some(Device::Cpu));
        assert!(device(Cuda::Auto, true).unwrap().is_some());
        assert!(
            needed_by("libcudart.so.13")
                && needed_by("libcuda.so.1")
                && !needed_by("libcublas.so.13")
        );
    }

    #[test]
    fn a_restart_has_the_device_that_the_job_had() {
        let of = |wish, had| device_for_restart(wish, had).map_err(|f| f.error.to_string());
        assert_eq!(of(Cuda::Auto, None), Ok(None));
        assert_eq!(of(Cuda::Auto, Some("cpu")), Ok(Some(Device::Cpu)));
        // Or another kind, if that is wished for and there.
        assert_eq!(of(Cuda::Cpu, Some("gpu")), Ok(Some(Device::Cpu)));
        if gpu().is_err() {
            let refused = of(Cuda::Auto, Some("gpu")).unwrap_err();
            assert!(refused.contains("try --cuda cpu"), "{refused}");
            assert!(of(Cuda::Gpu, Some("cpu")).is_err());
        }
        assert!(of(Cuda::None, Some("cpu"))
            .unwrap_err()
            .contains("without it"));
    }
}
