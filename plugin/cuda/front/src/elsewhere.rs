//! A restart on another kind of device than the program began on: the CPU's, a GPU, another GPU.
//!
//! What the program has must be possible there: kernels come as PTX, for an architecture that the device has. What the driver
//! places (variables, managed memory, texture objects) must come back where it was; the replay checks that.

use super::device;
use super::model::{self, Kind};
use super::module;
use cuda_fatbin::target::runs_on;

/// What a device is called, and its compute capability.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    capability: u32,
}

fn known(device: &device::Device) -> Known {
    let end = device.name.iter().position(|b| *b == 0);
    let name = &device.name[..end.unwrap_or(device.name.len())];
    Known {
        name: String::from_utf8_lossy(name).into_owned(),
        capability: device.architecture(),
    }
}

/// The devices that the program has first seen, and those that are here.
fn both() -> [Vec<Known>; 2] {
    // SAFETY: the half is initialised; this is the helper thread.
    let now = unsafe { device::all() };
    let then = model::lock().devices.iter().map(known).collect();
    [then, now.iter().map(known).collect()]
}

/// The first device that is not what it was.
fn changed() -> Option<(Known, Known)> {
    let [then, now] = both();
    then.into_iter().zip(now).find(|(then, now)| then != now)
}

/// Refuses devices of another kind that can't run what the program has.
///
/// # Errors
/// What can't be run there, and why.
pub fn check() -> Result<(), String> {
    let Some((_, now)) = changed() else {
        return Ok(());
    };
    let model = model::lock();
    let modules = model.live.values();
    let mut modules = modules.filter(|e| matches!(e.kind, Kind::Module | Kind::Library));
    modules.try_for_each(|entry| match module::image(&entry.record) {
        Some(image) => runs_on(&module::text(image, now.capability)?, now.capability),
        None => Ok(()),
    })
}

/// What went wrong in a restart, with the devices if they are not the same.
pub fn told(why: String) -> String {
    match changed() {
        Some((then, now)) => format!(
            "{why} (the program began on {:?}, and this is {:?}: a restart on another kind of device needs kernels in PTX, and \
             neither variables of modules, nor managed memory, nor textures)",
            then.name, now.name
        ),
        None => why,
    }
}
