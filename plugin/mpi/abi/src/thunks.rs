//! A library that calls an operator's function does not say for which operator. So each operator has a function of its own, a
//! *thunk*, which adds its own address to the arguments.

/// As many operators there are at one time, at most.
pub const OPERATORS: usize = 4096;

/// Declares a module with so many thunks, of functions with up to four words, for a function that has the thunk's address as
/// its fifth.
#[macro_export]
macro_rules! thunks {
    ($name:ident: $n:expr => $to:ident) => {
        /// Thunks, by their numbers and their addresses.
        mod $name {
            use super::*;

            const SIZE: usize = 16;

            extern "C" {
                #[link_name = concat!("thunks_", stringify!($name))]
                static TABLE: [[u8; SIZE]; $n];
            }

            core::arch::global_asm!(
                ".pushsection .text.thunks, \"ax\", @progbits",
                ".balign 16",
                concat!(".globl thunks_", stringify!($name)),
                concat!(".hidden thunks_", stringify!($name)),
                concat!("thunks_", stringify!($name), ":"),
                ".rept {n}",
                "5: lea r8, [rip + 5b]",
                "jmp {to}",
                ".balign {size}",
                ".endr",
                ".popsection",
                n = const $n,
                size = const SIZE,
                to = sym super::$to,
            );

            /// The address of a thunk.
            pub fn address(number: usize) -> usize {
                // SAFETY: only its address is taken.
                unsafe { (&raw const TABLE[number]) as usize }
            }

            /// The number of a thunk.
            pub fn number(address: usize) -> usize {
                // SAFETY: as above.
                (address - unsafe { (&raw const TABLE) as usize }) / SIZE
            }
        }
    };
}
