//! What the plugin asks of its host: exchange between ranks, and the way to the other ranks.
//!
//! The plugin does not know which host it has: the embedded one, asked through lhInfo's mailbox, or DMTCP
//! (see `dmtcp::kvdb`), which sets itself when it starts.

use crate::raw;
use core::sync::atomic::Ordering;
use lh_loader::lhinfo;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Services of the host; see `lhinfo::Mailbox`.
const EXCHANGE: u32 = 1;
const LISTEN: u32 = 2;
const CONNECT: u32 = 3;
const SAVE_DEVICES: u32 = 5;
const FILL_DEVICES: u32 = 6;

/// The host bounds its own waits; this is the bound on the host.
const PATIENCE: Duration = Duration::from_secs(600);

/// The host could not do it.
#[derive(Debug, Clone)]
pub struct HostError {
    /// An error number.
    pub errno: i32,
    /// What happened, for a person.
    pub message: String,
}

/// What every host can do.
pub trait Host: Sync {
    /// See [`exchange`].
    ///
    /// # Errors
    /// See [`exchange`].
    fn exchange(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, HostError>;
    /// See [`listen`].
    ///
    /// # Errors
    /// See [`listen`].
    fn listen(&self) -> Result<Vec<u8>, HostError>;
    /// See [`connect`].
    ///
    /// # Errors
    /// See [`connect`].
    fn connect(&self, rank: u32, size: u32, blob: &[u8]) -> Result<(), HostError>;
    /// See [`save_devices`].
    ///
    /// # Errors
    /// See [`save_devices`].
    fn save_devices(&self, _pieces: &[u8]) -> Result<bool, HostError> {
        Ok(false)
    }
    /// See [`fill_devices`].
    ///
    /// # Errors
    /// See [`fill_devices`].
    fn fill_devices(&self, _pieces: &[u8]) -> Result<(), HostError> {
        Ok(())
    }
    /// See [`checkpoint`].
    fn checkpoint(&self) -> Vec<u8> {
        Vec::new()
    }
}

static HOST: OnceLock<&'static dyn Host> = OnceLock::new();

/// Makes `host` this process's host, before anything is asked.
pub fn set(host: &'static dyn Host) {
    // The first one stays.
    let _ = HOST.set(host);
}

fn host() -> &'static dyn Host {
    *HOST.get_or_init(|| &Mailbox)
}

/// The embedded host: a lower half, asked through lhInfo.
struct Mailbox;

static LINE: Mutex<()> = Mutex::new(());

/// Sends one request and waits for its reply.
fn ask(op: u32, bytes: &[u8]) -> Result<Vec<u8>, HostError> {
    let _one_at_a_time = LINE.lock().unwrap_or_else(|e| e.into_inner());
    // SAFETY: lhInfo is mapped; the mailbox is this thread's while it holds the lock and the state is 0, and
    // the host reads `bytes` before it replies.
    unsafe {
        let mail = &raw mut (*lhinfo::ptr()).services;
        let state = &(*mail).state;
        (*mail).op = op;
        (*mail).arg = bytes.as_ptr() as usize;
        (*mail).len = bytes.len();
        state.store(1, Ordering::Release);
        raw::futex_wake(state);
        while state.load(Ordering::Acquire) == 1 {
            if !raw::futex_wait(state, 1, Some(PATIENCE)) {
                let message = format!(
                    "the host half has not answered for {} s",
                    PATIENCE.as_secs()
                );
                return Err(HostError {
                    errno: libc::ETIMEDOUT,
                    message,
                });
            }
        }
        let out = match (*mail).out_len {
            0 => Vec::new(),
            n => std::slice::from_raw_parts((*mail).out as *const u8, n).to_vec(),
        };
        let errno = (*mail).result as i32;
        state.store(0, Ordering::Release);
        if errno == 0 {
            return Ok(out);
        }
        let message = String::from_utf8_lossy(&out).into_owned();
        Err(HostError { errno, message })
    }
}

/// Every rank gives bytes and gets everybody's, in rank order.
///
/// # Errors
/// A rank did not come in time or its connection is gone; the message names it.
pub fn exchange(bytes: &[u8]) -> Result<Vec<Vec<u8>>, HostError> {
    host().exchange(bytes)
}

/// What the other ranks need to find this one, opaque; only rank 0's is used.
///
/// # Errors
/// The host can't listen.
pub fn listen() -> Result<Vec<u8>, HostError> {
    host().listen()
}

/// Tells the host its rank, the job's size and rank 0's [`listen`] bytes.
///
/// # Errors
/// Rank 0 can't be reached.
pub fn connect(rank: u32, size: u32, blob: &[u8]) -> Result<(), HostError> {
    host().connect(rank, size, blob)
}

/// Names device memory, as `lhinfo::Piece`s, that the host is to copy by itself while it writes the image. False: this host
/// saves what is in the process and nothing else.
///
/// # Errors
/// There is too little memory to copy it through; the message has the figures.
pub fn save_devices(pieces: &[u8]) -> Result<bool, HostError> {
    host().save_devices(pieces)
}

/// In a restart: has the host fill this device memory, the same that it saved.
///
/// # Errors
/// The image is damaged, or the driver refuses.
pub fn fill_devices(pieces: &[u8]) -> Result<(), HostError> {
    host().fill_devices(pieces)
}

/// In a restart: what the images of one checkpoint have in common, and no others; nothing, where the host has no mark of
/// its own for it.
pub fn checkpoint() -> Vec<u8> {
    host().checkpoint()
}

/// Bytes that nobody else draws.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes so many bytes.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    bytes
}

impl Host for Mailbox {
    fn exchange(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, HostError> {
        let reply = ask(EXCHANGE, bytes)?;
        let mut parts = Vec::new();
        let mut rest = &reply[..];
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let len = u32::from_le_bytes(*len) as usize;
            let Some((part, tail)) = tail.split_at_checked(len) else {
                let message = "the host's reply is malformed".into();
                return Err(HostError {
                    errno: libc::EPROTO,
                    message,
                });
            };
            parts.push(part.to_vec());
            rest = tail;
        }
        Ok(parts)
    }

    fn listen(&self) -> Result<Vec<u8>, HostError> {
        ask(LISTEN, &[])
    }

    fn save_devices(&self, pieces: &[u8]) -> Result<bool, HostError> {
        ask(SAVE_DEVICES, pieces).map(|_| true)
    }

    fn fill_devices(&self, pieces: &[u8]) -> Result<(), HostError> {
        ask(FILL_DEVICES, pieces).map(|_| ())
    }

    fn connect(&self, rank: u32, size: u32, blob: &[u8]) -> Result<(), HostError> {
        let mut bytes = Vec::with_capacity(8 + blob.len());
        bytes.extend_from_slice(&rank.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(blob);
        ask(CONNECT, &bytes).map(|_| ())
    }
}
