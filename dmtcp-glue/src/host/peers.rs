//! Connections between hosts: rank 0's to every rank, and a rank's to rank 0.

use super::coordinator::{Failed, Job, Order, Peer, Work};
use super::frame::{Frame, ASK, CHECKPOINT, GATHERED, PASS};
use std::io;
use std::net::TcpStream;
use std::time::Instant;

impl Job {
    /// Rank 0: a rank has connected, perhaps anew. Serves it until the connection ends.
    pub fn serve_rank(&self, rank: u32, to: TcpStream, from: impl io::Read) {
        let number = {
            let mut state = self.lock();
            state.connections += 1;
            let number = state.connections;
            state.peers.insert(rank, Peer { number, to });
            state.gone.remove(&rank);
            number
        };
        self.changed.notify_all();
        let mut from = from;
        let error = loop {
            let frame = match Frame::read(&mut from) {
                Ok(frame) => frame,
                Err(error) => break error,
            };
            match self.take_part(rank, frame) {
                Ok(()) => {}
                Err(frame) if frame.kind == ASK => {
                    let stop = frame.body == [1];
                    let at = Instant::now();
                    self.submit(Work::Signal { stop, at });
                }
                Err(_) => break io::Error::other("an unexpected frame"),
            }
        };
        let mut state = self.lock();
        if state.peers.get(&rank).is_none_or(|p| p.number != number) {
            return;
        }
        state.peers.remove(&rank);
        let message = format!("the connection to rank {rank} is lost: {error}");
        state.gone.insert(rank, error.to_string());
        drop(state);
        self.fail_all(&Failed::new(libc::ENOTCONN, message));
    }

    /// Another rank: the connection to rank 0 stands. Serves it until it ends.
    pub fn serve_upstream(&self, to: TcpStream, from: impl io::Read) {
        {
            let mut state = self.lock();
            state.upstream = Some(to);
            state.lost = None;
        }
        self.changed.notify_all();
        let mut from = from;
        let error = loop {
            let frame = match Frame::read(&mut from) {
                Ok(frame) => frame,
                Err(error) => break error,
            };
            self.lock().heard = Some(Instant::now());
            match frame.kind {
                GATHERED => self.take_result(&frame),
                CHECKPOINT => match serde_json::from_slice::<Order>(&frame.body) {
                    Ok(order) => {
                        self.lock().ordered = order.attempt;
                        self.changed.notify_all();
                        self.submit(Work::Order(order));
                    }
                    Err(error) => break error.into(),
                },
                PASS => super::trigger::pass_on(),
                super::frame::ALIVE => self.changed.notify_all(),
                _ => break io::Error::other("an unexpected frame"),
            }
        };
        let mut state = self.lock();
        state.upstream = None;
        state.lost = Some(format!("the connection to rank 0 is lost: {error}"));
        drop(state);
        self.changed.notify_all();
    }

    /// A signal has asked this rank for a checkpoint: rank 0 takes it.
    ///
    /// # Errors
    /// Rank 0 is not known or can't be reached.
    pub fn ask(&self, stop: bool) -> Result<(), String> {
        let state = self.lock();
        if state.rank == 0 || !state.joined {
            drop(state);
            let at = Instant::now();
            self.submit(Work::Signal { stop, at });
            return Ok(());
        }
        let frame = Frame::new(ASK, Default::default(), vec![u8::from(stop)]);
        match &state.upstream {
            Some(to) => frame
                .write(to)
                .map_err(|error| format!("rank 0 can't be asked: {error}")),
            None => Err(state.lost.clone().unwrap_or_default()),
        }
    }

    /// Rank 0: the checkpoint that a SIGTERM asked for is not taken; the signal is the program's.
    pub fn pass_on(&self) {
        let state = self.lock();
        state.send_to_all(&Frame::new(PASS, Default::default(), Vec::new()));
        drop(state);
        super::trigger::pass_on();
    }
}
