//! Kinds of `membarrier` that the program has registered for: without that each is refused.

use crate::sys::raw;
use serde::{Deserialize, Serialize};

/// Commands, as in linux/membarrier.h.
const QUERY: usize = 0;
const GET_REGISTRATIONS: usize = 1 << 9;
/// Those that register: global, private, with a core's instructions, with restartable sequences.
const REGISTER: [usize; 4] = [1 << 2, 1 << 4, 1 << 6, 1 << 8];

/// What it has registered for, as a mask of commands; `None`: the kernel does not tell (before Linux 6.3).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fences(Option<usize>);

fn membarrier(command: usize) -> std::io::Result<usize> {
    // SAFETY: membarrier has no memory arguments.
    unsafe { raw(libc::SYS_membarrier, [command, 0, 0, 0, 0, 0]) }
}

impl Fences {
    /// Asks the kernel.
    pub fn capture() -> Self {
        Fences(membarrier(GET_REGISTRATIONS).ok())
    }

    /// Registers again. Where it is not known for what, for all that there is: what is not used has no effect.
    pub fn install(&self, warn: &mut dyn FnMut(String)) {
        let there = membarrier(QUERY).unwrap_or(0);
        let wanted = self.0.unwrap_or(there);
        for command in REGISTER.into_iter().filter(|c| wanted & c != 0) {
            if let Err(error) = membarrier(command) {
                warn(format!(
                    "the program used membarrier, which can't be registered for again ({command:#x}): {error}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_not_known_all_kinds_are_registered() {
        let Fences(Some(_)) = Fences::capture() else {
            println!("not run: the kernel does not tell");
            return;
        };
        let mut said = Vec::new();
        Fences(None).install(&mut |text| said.push(text));
        let there = membarrier(QUERY).unwrap();
        let all = REGISTER.into_iter().fold(0, |mask, c| mask | c & there);
        assert_eq!((Fences::capture().0, said), (Some(all), Vec::new()));
    }
}
