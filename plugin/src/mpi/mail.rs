//! Messages of the model's own, between ranks, on our own communicator: copies that the sender does not wait for.
//!
//! They are messages like any other, so the drain and a restart know them.

use super::abi::*;
use super::bsend::{self, Owner};
use super::complete::test_one;
use super::lower::{Fail, Outcome};
use super::start::{self, Message};
use super::{probe, sync};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::*};

/// A thread looks for messages.
static LOOKING: AtomicBool = AtomicBool::new(false);

/// Sends a rank of the world some bytes.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn send(to: i32, tag: i32, bytes: &[u8]) -> Outcome {
    let m = Message {
        buf: bytes.as_ptr() as usize,
        n: bytes.len() as i32,
        t: BYTE,
        peer: to,
        tag,
    };
    bsend::copy(Owner::Ours, m, sync::comm()?)
}

/// Takes the messages with a tag that have come from a rank of the world, or from any, until `with` has had enough. Nothing
/// while another thread does so.
///
/// Libraries look through all that has come before, of any tag.
///
/// # Safety
/// In a call that must complete.
pub unsafe fn take(
    source: i32,
    tag: i32,
    mut with: impl FnMut(i32, Vec<u8>) -> ControlFlow<()>,
) -> Result<(), Fail> {
    if LOOKING.swap(true, Acquire) {
        return Ok(());
    }
    let outcome = (|| {
        let ours = sync::comm()?;
        let mut status = Status::EMPTY;
        while probe::look(ours, source, tag, &mut status)? {
            let mut bytes = vec![0u8; status.count() as usize];
            let m = Message {
                buf: bytes.as_mut_ptr() as usize,
                n: bytes.len() as i32,
                t: BYTE,
                peer: status.source,
                tag,
            };
            let mut request = start::post_recv(ours, m)?;
            while test_one(&mut request, &mut status).is_none() {}
            if with(m.peer, bytes).is_break() {
                break;
            }
        }
        Ok(())
    })();
    LOOKING.store(false, Release);
    outcome
}
