//! What the plugin may ask: exchange between ranks, the way to rank 0, a line on stderr.

use super::coordinator::{Failed, Job};
use super::device;
use super::frame::pack;
use super::launch::Settings;
use super::mailbox::Channel;
use super::net::{self, Contact, JobFile};
use std::io::Write;
use std::sync::Arc;

/// Allgather.
const EXCHANGE: u32 = 1;
/// This host's contact.
const LISTEN: u32 = 2;
/// Rank, size and rank 0's contact.
const CONNECT: u32 = 3;
/// Bytes for stderr.
const LOG: u32 = 4;
/// Device memory for the next image.
const SAVE_DEVICES: u32 = 5;
/// Device memory to fill from the image.
const FILL_DEVICES: u32 = 6;

/// The service thread's state.
pub struct Service {
    job: Arc<Job>,
    settings: Arc<Settings>,
    contact: Option<Contact>,
}

impl Service {
    /// A service for this job.
    pub fn new(job: Arc<Job>, settings: Arc<Settings>) -> Self {
        Service {
            job,
            settings,
            contact: None,
        }
    }

    /// Makes the job known, if this is its first process, and starts to answer.
    pub fn start(mut self, channel: Channel) {
        if self.settings.env_rank == 0 {
            match self.listen() {
                Ok(_) => self.publish(u32::from(self.settings.alone)),
                Err(failed) => cannot_ask(&failed.message),
            }
        }
        let serve = move || loop {
            let (op, bytes) = channel.receive();
            let answer = self.answer(op, &bytes);
            match &answer {
                Ok(out) => channel.reply(0, out),
                Err(failed) => channel.reply(failed.errno.into(), failed.message.as_bytes()),
            }
            // The requester copies the bytes before it sets the channel idle.
            channel.wait_taken();
        };
        if let Err(error) = std::thread::Builder::new()
            .name("service".into())
            .spawn(serve)
        {
            super::fatal(&format!("can't start the host's threads: {error}"));
        }
    }

    fn answer(&mut self, op: u32, bytes: &[u8]) -> Result<Vec<u8>, Failed> {
        match op {
            EXCHANGE => self.job.exchange(bytes.to_vec()).map(|parts| pack(&parts)),
            LISTEN => self.listen(),
            CONNECT => self.connect(bytes).map(|()| Vec::new()),
            LOG => {
                // Nobody is left to tell when stderr is gone.
                let _ = std::io::stderr().write_all(bytes);
                Ok(Vec::new())
            }
            SAVE_DEVICES => device::announce(bytes).map(|()| Vec::new()),
            FILL_DEVICES => {
                device::fill(self.settings.restore.as_deref(), bytes).map(|()| Vec::new())
            }
            _ => Err(Failed::new(
                libc::EINVAL,
                format!("there is no service {op}"),
            )),
        }
    }

    /// Listens, if it does not yet, and gives the contact.
    fn listen(&mut self) -> Result<Vec<u8>, Failed> {
        let contact = match &self.contact {
            Some(contact) => contact.clone(),
            None => net::listen(&self.job, self.job.mpi).map_err(failed)?,
        };
        let blob = serde_json::to_vec(&contact).map_err(|e| failed(e.into()))?;
        self.contact = Some(contact);
        Ok(blob)
    }

    fn connect(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let damaged = || Failed::new(libc::EINVAL, "CONNECT without rank and size");
        let (rank, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (size, blob) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (rank, size) = (u32::from_le_bytes(*rank), u32::from_le_bytes(*size));
        if rank > 0 {
            let contact: Contact = serde_json::from_slice(blob).map_err(|e| failed(e.into()))?;
            net::connect(&self.job, rank, size, &contact).map_err(failed)?;
        }
        self.job.join(rank, size).map_err(|e| failed(e.into()))?;
        if rank == 0 {
            self.listen()?;
            self.publish(size);
        }
        Ok(())
    }

    /// Writes `job.json`. The program runs without it too: on a full disk, say.
    fn publish(&self, ranks: u32) {
        let Some(contact) = &self.contact else {
            return;
        };
        let addresses: Vec<String> = contact.addresses.iter().map(ToString::to_string).collect();
        let file = JobFile {
            address: addresses.first().cloned().unwrap_or_default(),
            addresses,
            token: contact.token.clone(),
            pid: std::process::id(),
            ranks,
            program: self.settings.argv.first().cloned().unwrap_or_default(),
            started: self.settings.started,
        };
        if let Err(error) = net::write_job(&self.settings.dir, &file) {
            cannot_ask(&format!("{error:#}"));
        }
    }
}

fn cannot_ask(why: &str) {
    super::say(&format!(
        "`splitproc checkpoint` can't ask for checkpoints: {why}"
    ));
}

fn failed(error: anyhow::Error) -> Failed {
    Failed::new(libc::EIO, format!("{error:#}"))
}
