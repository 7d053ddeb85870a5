//! What hosts say to each other: length-prefixed frames over an authenticated connection.
//!
//! ```text
//! length u32 │ kind u8 │ attempt u64 │ phase u32 │ seq u32 │ bound u32 │ body …
//! ```
//!
//! Numbers are little-endian; `length` counts everything behind itself. Kinds: `GATHER` (a rank's part
//! of an allgather, to rank 0), `GATHERED` (its result, to every rank: one byte 1 and the parts, each
//! u32 length + bytes; or 0 and a message), `CHECKPOINT` (rank 0 to all: JSON of an `Order`), `REFUSE` (to
//! rank 0: this attempt can't go on; a message), `ALIVE` (who waits or works says so), `ASK` (to rank 0: a
//! signal asks for a checkpoint; one byte, 1: and for the program's end), `PASS` (rank 0 to all: a SIGTERM
//! that asked for one is the program's).

use std::io::{self, Read, Write};

/// A rank's part of an allgather.
pub const GATHER: u8 = 1;
/// The allgather's result.
pub const GATHERED: u8 = 2;
/// Take part in a checkpoint.
pub const CHECKPOINT: u8 = 3;

/// This attempt can't go on.
pub const REFUSE: u8 = 4;
/// Who waits or works says so.
pub const ALIVE: u8 = 5;
/// A signal asks for a checkpoint.
pub const ASK: u8 = 6;
/// A SIGTERM is the program's.
pub const PASS: u8 = 7;

const HEAD: usize = 21;
/// Longest frame that is accepted.
const LIMIT: usize = 1 << 30;

/// Which allgather: the checkpoint attempt, the phase in it, and a count within the phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Checkpoint attempts since the hosts started.
    pub attempt: u64,
    /// 0: an exchange of the plugin's; else the host's vote of that number.
    pub phase: u32,
    /// Exchanges before this one in the same attempt and phase.
    pub seq: u32,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of the kinds above.
    pub kind: u8,
    /// Which allgather.
    pub key: Key,
    /// Seconds that rank 0 waits for the others.
    pub bound: u32,
    /// The rest.
    pub body: Vec<u8>,
}

/// Says it of the connection.
fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "its connection is closed"),
        _ => error,
    }
}

impl Frame {
    /// A frame without a bound.
    pub fn new(kind: u8, key: Key, body: Vec<u8>) -> Self {
        Frame {
            kind,
            key,
            bound: 0,
            body,
        }
    }

    /// Writes the frame in one piece.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(4 + HEAD + self.body.len());
        bytes.extend_from_slice(&((HEAD + self.body.len()) as u32).to_le_bytes());
        bytes.push(self.kind);
        bytes.extend_from_slice(&self.key.attempt.to_le_bytes());
        bytes.extend_from_slice(&self.key.phase.to_le_bytes());
        bytes.extend_from_slice(&self.key.seq.to_le_bytes());
        bytes.extend_from_slice(&self.bound.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        to.write_all(&bytes)?;
        to.flush()
    }

    /// Reads one frame.
    pub fn read(mut from: impl Read) -> io::Result<Frame> {
        let mut four = [0; 4];
        from.read_exact(&mut four).map_err(closed)?;
        let len = u32::from_le_bytes(four) as usize;
        if !(HEAD..=LIMIT).contains(&len) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame of impossible length",
            ));
        }
        let mut bytes = vec![0; len];
        from.read_exact(&mut bytes).map_err(closed)?;
        let word = |at: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(four)
        };
        Ok(Frame {
            kind: bytes[0],
            key: Key {
                attempt: u64::from(word(1)) | u64::from(word(5)) << 32,
                phase: word(9),
                seq: word(13),
            },
            bound: word(17),
            body: bytes[HEAD..].to_vec(),
        })
    }
}

/// Writes parts one behind the other, each with its length.
pub fn pack(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 4).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Reads what `pack` wrote.
pub fn unpack(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_at_checked(4)?;
        let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
        let (part, rest) = rest.split_at_checked(len)?;
        parts.push(part.to_vec());
        bytes = rest;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_parts_come_back() {
        let frame = Frame {
            kind: GATHER,
            key: Key {
                attempt: 1 << 40,
                phase: 2,
                seq: 3,
            },
            bound: 60,
            body: b"abc".to_vec(),
        };
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        assert_eq!(Frame::read(bytes.as_slice()).unwrap(), frame);
        assert!(Frame::read([0xff_u8; 40].as_slice()).is_err());
        assert!(Frame::read(&bytes[..10]).is_err());
        let parts = vec![b"a".to_vec(), Vec::new(), b"bcd".to_vec()];
        assert_eq!(unpack(&pack(&parts)), Some(parts));
        assert_eq!(unpack(&[1, 0, 0]), None);
        assert_eq!(unpack(&[2, 0, 0, 0, 9]), None);
    }
}
