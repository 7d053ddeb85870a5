//! A restart on another kind of device than the program began on: the CPU's, a GPU, another GPU.
//!
//! What the program has must be possible there: kernels come as PTX, for an architecture that the device has. What the driver
//! places (variables, managed memory, texture objects) must come back where it was; the replay checks that.

use super::device;
use super::model::{self, Kind};
use super::module;

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`, `_MINOR`.
const CAPABILITY: [usize; 2] = [75, 76];

/// What a device is called, and its compute capability.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    capability: [i32; 2],
}

fn known(device: &device::Device) -> Known {
    let end = device.name.iter().position(|b| *b == 0);
    let name = &device.name[..end.unwrap_or(device.name.len())];
    Known {
        name: String::from_utf8_lossy(name).into_owned(),
        capability: CAPABILITY.map(|a| device.attributes[a].unwrap_or(0)),
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
        Some(image) => runs_on(&module::text(image)?, now.capability),
        None => Ok(()),
    })
}

/// Does PTX run on a device of this compute capability?
fn runs_on(ptx: &str, [major, minor]: [i32; 2]) -> Result<(), String> {
    let mut lines = ptx.lines();
    let target = lines.find_map(|l| l.trim_start().strip_prefix(".target"));
    let target = target.and_then(|t| t.split([',', ' ', '\t']).find(|w| !w.is_empty()));
    let target = target.ok_or("a module's PTX names no target")?;
    let number = target.strip_prefix("sm_").unwrap_or(target);
    let digits = number.trim_end_matches(|c: char| !c.is_ascii_digit());
    let wanted: i32 = digits
        .parse()
        .map_err(|_| format!("a module's PTX is for {target}"))?;
    let has = 10 * major + minor;
    // sm_90a has what no other architecture has.
    let fits = match digits == number {
        true => wanted <= has,
        false => wanted == has,
    };
    match fits {
        true => Ok(()),
        false => Err(format!(
            "a module's PTX is for {target}, and the device has compute capability {major}.{minor}"
        )),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_runs_on_its_architecture_and_on_later_ones() {
        let of = |target: &str, capability| {
            let text = format!("// x\n.version 7.0\n.target {target}\n");
            runs_on(&text, capability)
        };
        assert_eq!(of("sm_70", [9, 0]), Ok(()));
        assert_eq!(of("sm_90, debug", [9, 0]), Ok(()));
        assert_eq!(of("sm_90a", [9, 0]), Ok(()));
        for (target, capability) in [("sm_90", [8, 6]), ("sm_90a", [10, 0]), ("sm_100f", [9, 0])] {
            assert!(of(target, capability).unwrap_err().contains(target));
        }
        assert!(runs_on(".version 7.0", [9, 0]).is_err());
    }
}
