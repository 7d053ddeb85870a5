//! libsplitproc.so's functions.
#![allow(missing_docs, clashing_extern_declarations)]

include!(concat!(env!("OUT_DIR"), "/canonical.rs"));
