//! Where the processor keeps which registers when the kernel saves them all (XSAVE). Saved signal frames have this
//! layout; the kernel of a processor with another one would take the wrong bytes for registers, or none, without a word.

use serde::{Deserialize, Serialize};
use std::arch::x86_64::{__cpuid_count, _xgetbv};

/// The leaf of `cpuid` that tells.
const LEAF: u32 = 0xd;

/// What XSAVE writes in its standard format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The components that the kernel has turned on.
    pub xcr0: u64,
    /// Bytes of the whole area.
    pub size: u32,
    /// Those components that have a place of their own.
    pub components: Vec<Component>,
}

/// Some registers, such as the upper halves of AVX's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its bit in XCR0.
    pub bit: u32,
    /// Where it begins.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
}

impl Layout {
    /// This processor's; empty where it has no XSAVE.
    pub fn here() -> Self {
        if !is_x86_feature_detected!("xsave") {
            return Self::default();
        }
        // SAFETY: the processor has XSAVE, and the kernel has turned it on.
        let xcr0 = unsafe { _xgetbv(0) };
        // x87 and SSE, bits 0 and 1, always begin the area.
        let component = |bit| {
            let leaf = __cpuid_count(LEAF, bit);
            Component {
                bit,
                offset: leaf.ebx,
                size: leaf.eax,
            }
        };
        Layout {
            xcr0,
            size: __cpuid_count(LEAF, 0).ebx,
            components: (2..63)
                .filter(|bit| xcr0 >> bit & 1 == 1)
                .map(component)
                .collect(),
        }
    }

    /// What is not the same in another layout, for people.
    pub fn differs(&self, here: &Layout) -> Option<String> {
        if self.xcr0 != here.xcr0 {
            return Some(format!("XCR0 was {:#x} and is {:#x}", self.xcr0, here.xcr0));
        }
        let mut both = self.components.iter().zip(&here.components);
        if let Some((was, is)) = both.find(|(was, is)| was != is) {
            return Some(format!(
                "component {} had {} bytes at {} and has {} at {}",
                was.bit, was.size, was.offset, is.size, is.offset
            ));
        }
        let bytes = format!("the area had {} bytes and has {}", self.size, here.size);
        (self != here).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_named() {
        let here = Layout::here();
        assert_eq!(here.differs(&here), None);
        let mut other = here.clone();
        other.size += 64;
        assert!(other.differs(&here).unwrap().contains("the area had"));
        let component = Component {
            bit: 9,
            offset: 2432,
            size: 8,
        };
        let moved = Component {
            offset: 2688,
            ..component
        };
        other.components = vec![moved];
        let saved = Layout {
            components: vec![component],
            ..other.clone()
        };
        assert_eq!(
            saved.differs(&other).unwrap(),
            "component 9 had 8 bytes at 2432 and has 8 at 2688"
        );
        other.xcr0 = 1 << 62;
        assert!(saved
            .differs(&other)
            .unwrap()
            .contains("0x4000000000000000"));
    }

    #[test]
    fn this_processors_layout_makes_sense() {
        let here = Layout::here();
        assert_eq!(here.xcr0 & 3, 3, "x87 and SSE");
        // Legacy area and header come first.
        assert!(here
            .components
            .iter()
            .all(|c| c.size > 0 && c.offset >= 576));
        let end = here.components.iter().map(|c| c.offset + c.size).max();
        assert!(here.size >= end.unwrap_or(576));
    }
}
