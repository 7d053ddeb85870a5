//! Messages that the drain took out of the lower half before the application asked for them.
//! Later receives and probes look here first, in the order of arrival.

use super::abi::*;
use super::lower::Fail;
use super::model::{datatype, lock, Comm, Locked};
use super::{handle, packed, sync};
use crate::gate;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A drained message.
#[derive(Debug)]
pub struct Message {
    /// Identity of the communicator.
    pub comm: u64,
    /// Rank of the sender in it.
    pub source: i32,
    /// Tag.
    pub tag: i32,
    /// Packed contents.
    pub bytes: Vec<u8>,
    /// Whom to tell when it is matched, and by which number: it was sent synchronously.
    pub ack: Option<(i32, i32)>,
}

static QUEUE: Locked<Vec<Message>> = Locked::new(Vec::new());
static LEN: AtomicUsize = AtomicUsize::new(0);

/// Is there any?
#[inline(always)]
pub fn any() -> bool {
    gate::heeds::<{ gate::DRAINED }, 0>()
}

/// How many there are.
pub fn count() -> usize {
    LEN.load(Relaxed)
}

/// Adds a drained message.
pub fn push(message: Message) {
    let guard = lock();
    QUEUE.get(&guard).push(message);
    LEN.fetch_add(1, Relaxed);
    gate::heed(gate::DRAINED, true);
}

fn matches(m: &Message, comm: &Comm, source: i32, tag: i32) -> bool {
    m.comm == comm.id.load(Relaxed)
        && (source == ANY_SOURCE || source == m.source)
        && (tag == ANY_TAG || tag == m.tag)
}

/// Takes the first message that matches.
///
/// # Safety
/// In a call that must complete, without the model's lock.
pub unsafe fn take(comm: &Comm, source: i32, tag: i32) -> Option<Message> {
    let guard = lock();
    let queue = QUEUE.get(&guard);
    let i = queue.iter().position(|m| matches(m, comm, source, tag))?;
    let message = queue.remove(i);
    if LEN.fetch_sub(1, Relaxed) == 1 {
        gate::heed(gate::DRAINED, false);
    }
    drop(guard);
    if let Some(ack) = message.ack {
        sync::matched(ack);
    }
    Some(message)
}

/// Marks the message of a communicator, source and tag that has `later` others behind it, if it is here, as
/// one to be answered.
pub fn mark(comm: u64, source: i32, tag: i32, later: usize, ack: (i32, i32)) -> bool {
    let guard = lock();
    let alike = |m: &&mut Message| m.comm == comm && m.source == source && m.tag == tag;
    let found = QUEUE.get(&guard).iter_mut().filter(alike).rev().nth(later);
    found.map(|m| m.ack = Some(ack)).is_some()
}

/// The status of the first message that matches, which stays.
pub fn peek(comm: &Comm, source: i32, tag: i32) -> Option<Status> {
    let guard = lock();
    QUEUE
        .get(&guard)
        .iter()
        .find(|m| matches(m, comm, source, tag))
        .map(Message::status)
}

impl Message {
    /// What a receive of it reports.
    pub fn status(&self) -> Status {
        let mut s = Status {
            source: self.source,
            tag: self.tag,
            ..Status::EMPTY
        };
        s.set_count(self.bytes.len() as u64);
        s
    }

    /// Unpacks it into the application's buffer: the MPI code of the receive.
    ///
    /// # Safety
    /// The buffer must hold `n` elements of the datatype.
    pub unsafe fn deliver(
        &self,
        buf: usize,
        n: i32,
        t: i32,
        status: &mut Status,
    ) -> Result<i32, Fail> {
        *status = self.status();
        let size = datatype::sizes(t)?.size.max(0) as usize;
        let room = size * n.max(0) as usize;
        let len = self.bytes.len().min(room);
        if size > 0 && len > 0 {
            unpack(&self.bytes[..len], buf, t, size)?;
        }
        if self.bytes.len() > room {
            status.set_count(room as u64);
            return Ok(ERR_TRUNCATE);
        }
        Ok(SUCCESS)
    }

    /// The same: the status of the receive, with its code.
    ///
    /// # Safety
    /// As for [`Self::deliver`].
    pub unsafe fn received(&self, buf: usize, n: i32, t: i32) -> Result<Status, Fail> {
        let mut status = Status::EMPTY;
        let error = self.deliver(buf, n, t, &mut status)?;
        Ok(Status { error, ..status })
    }
}

unsafe fn unpack(bytes: &[u8], buf: usize, t: i32, size: usize) -> Result<(), Fail> {
    if t & KIND_MASK == 0x4c00_0000 {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), buf as *mut u8, bytes.len());
        return Ok(());
    }
    // A last element that is not complete is unpacked from a padded copy of the packed buffer: first
    // the buffer as it is now, then the message over it.
    let whole = bytes.len().is_multiple_of(size);
    let elements = bytes.len().div_ceil(size) as i32;
    let lower = handle::datatype(t)?;
    let code = if whole {
        packed::unpack(bytes, buf, elements, lower)
    } else {
        let mut padded = vec![0u8; elements as usize * size];
        packed::pack(buf, elements, lower, &mut padded);
        padded[..bytes.len()].copy_from_slice(bytes);
        packed::unpack(&padded, buf, elements, lower)
    };
    match code {
        SUCCESS => Ok(()),
        code => Err(Fail::Code(code)),
    }
}
