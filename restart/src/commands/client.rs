//! A running job: `job.json` in the checkpoint directory, and how to talk to it.
//!
//! Rank 0's host listens on TCP. A client sends JSON lines, first `{"token":"…"}` and then its request,
//! and reads one line for each request. job.json has mode 0600, so who can read it may ask.

use super::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

/// The file's name.
pub const FILE: &str = "job.json";
/// How long a request that does not wait for its end waits for its beginning.
const BEGIN: Duration = Duration::from_secs(5);
/// How long one of the job's addresses may take to answer.
const CONNECT: Duration = Duration::from_secs(5);

/// What `job.json` says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// Where rank 0 listens: `host:port`.
    pub address: String,
    /// All addresses of the listener, best first.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What a client must know, hexadecimal.
    pub token: String,
    /// Rank 0's pid.
    #[serde(default)]
    pub pid: u32,
    /// Number of ranks.
    #[serde(default)]
    pub ranks: u32,
    /// The program.
    #[serde(default)]
    pub program: String,
    /// When it was started or restarted, seconds since 1970.
    #[serde(default)]
    pub started: u64,
}

/// What the host answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
    /// The generation that was taken.
    #[serde(default)]
    pub generation: Option<u64>,
    /// How long it took.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// Bytes of all images.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Whether a checkpoint is being taken.
    #[serde(default)]
    pub busy: bool,
    /// Ranks that are connected.
    #[serde(default)]
    pub connected: u32,
    /// Number of ranks.
    #[serde(default)]
    pub ranks: u32,
    /// Ranks whose connection is lost.
    #[serde(default)]
    pub lost: Vec<u32>,
}

/// A line that comes before the reply.
#[derive(Deserialize)]
struct Step {
    done: u64,
    total: u64,
}

/// A read has waited for as long as it may.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

impl Job {
    /// Reads the job.json of a checkpoint directory; `None` if there is none.
    pub fn load(dir: &Path) -> Result<Option<Job>, Failure> {
        let path = dir.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(Failure::new(
                    1,
                    format!("{}: cannot read it: {e}", path.display()),
                ))
            }
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| {
            let what = "not a job's description";
            Failure::new(
                1,
                format!(
                    "{}: {what}: {e}; remove it if no job is running",
                    path.display()
                ),
            )
        })
    }

    /// Sends a request. With `wait`, waits for the reply, at most `timeout` if given; without, for its beginning.
    pub fn ask(
        &self,
        request: &Value,
        wait: bool,
        timeout: Option<Duration>,
    ) -> Result<Reply, Failure> {
        self.ask_watching(request, wait, timeout, |_, _| {})
    }

    /// The same; `progress(done, total)` is told how far the job is, if the request asks for that.
    pub fn ask_watching(
        &self,
        request: &Value,
        wait: bool,
        timeout: Option<Duration>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Reply, Failure> {
        let stream = self.connect()?;
        let talk = self.talk(&stream, request, wait, timeout, &mut progress);
        talk.map_err(|e| {
            let why = if e.kind() == io::ErrorKind::Other {
                e.to_string()
            } else if is_timeout(&e) {
                "it did not answer in time; the checkpoint may still be taken, look at `splitproc status`".into()
            } else {
                format!("it gave no answer ({e}); it may have ended, look at its own messages")
            };
            Failure::new(1, format!("the job at {}: {why}", self.address))
        })
    }

    fn connect(&self) -> Result<TcpStream, Failure> {
        let mut error = io::Error::other("it has no address");
        // On rank 0's own machine the loopback is among them; the rest are tried in their order.
        let names = std::iter::once(&self.address)
            .chain(self.addresses.iter().filter(|a| **a != self.address));
        for name in names {
            match name.to_socket_addrs() {
                Ok(addresses) => {
                    for address in addresses {
                        match TcpStream::connect_timeout(&address, CONNECT) {
                            Ok(stream) => return Ok(stream),
                            Err(e) => error = e,
                        }
                    }
                }
                Err(e) => error = e,
            }
        }
        let text = format!(
            "the job does not answer at {} ({error}): it has ended, or cannot be reached from this machine",
            self.address
        );
        Err(Failure::new(1, text))
    }

    fn talk(
        &self,
        mut stream: &TcpStream,
        request: &Value,
        wait: bool,
        timeout: Option<Duration>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> io::Result<Reply> {
        let token = serde_json::json!({ "token": self.token });
        stream.write_all(format!("{token}\n{request}\n").as_bytes())?;
        let begun = Reply {
            ok: true,
            ..Reply::default()
        };
        let timeout = if wait { timeout } else { Some(BEGIN) };
        let deadline = timeout.map(|t| Instant::now() + t);
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        loop {
            let left = deadline.map_or(BEGIN, |d| d.saturating_duration_since(Instant::now()));
            stream.set_read_timeout(Some(left.clamp(Duration::from_millis(1), BEGIN)))?;
            match lines.read_line(&mut line) {
                Err(e) if is_timeout(&e) => {
                    if self.is_stopped() {
                        return Err(io::Error::other(format!(
                            "its process {0} is stopped, by ^Z, SIGSTOP or a debugger; `kill -CONT {0}` lets it go on, and then take the checkpoint",
                            self.pid
                        )));
                    }
                    if deadline.is_none_or(|d| Instant::now() < d) {
                        continue;
                    }
                    // Another checkpoint is under way, and this one comes after it.
                    return if wait { Err(e) } else { Ok(begun) };
                }
                read => read?,
            };
            if line.is_empty() {
                let what = "it closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            match serde_json::from_str::<Step>(&line) {
                Ok(_) if !wait => return Ok(begun),
                Ok(step) => progress(step.done, step.total),
                Err(_) => return Ok(serde_json::from_str(&line)?),
            }
            line.clear();
        }
    }

    /// Is rank 0, if it is on this machine, stopped?
    fn is_stopped(&self) -> bool {
        let about = |what: &str| format!("/proc/{}/{what}", self.pid);
        let ours = std::fs::read_link(about("exe")).is_ok_and(|exe| exe.ends_with("lh-loader"));
        let stat = std::fs::read_to_string(about("stat")).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        ours && matches!(state, Some('T' | 't'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_request_is_two_lines_and_a_reply_is_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let job = Job {
            address,
            token: "ab".into(),
            ..Job::default()
        };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let got = [
                lines.next().unwrap().unwrap(),
                lines.next().unwrap().unwrap(),
            ];
            stream
                .write_all(b"{\"ok\":true,\"generation\":3,\"bytes\":9,\"seconds\":0.5}\n")
                .unwrap();
            got
        });
        let request = serde_json::json!({ "checkpoint": { "stop": true } });
        let reply = job.ask(&request, true, None).unwrap();
        assert_eq!(
            (reply.ok, reply.generation, reply.bytes, reply.seconds),
            (true, Some(3), Some(9), Some(0.5))
        );
        assert_eq!(
            server.join().unwrap(),
            [r#"{"token":"ab"}"#, r#"{"checkpoint":{"stop":true}}"#]
        );
        let error = job.ask(&request, true, None).unwrap_err().error.to_string();
        // A process that another test is starting may have the closed socket until it executes its program.
        assert!(error.contains("answer"), "{error}");
    }
}
