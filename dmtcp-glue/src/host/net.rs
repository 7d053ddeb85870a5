//! Connections: the listener with its token, and the way to rank 0.

use super::coordinator::{Answer, Job, Outcome, Work, WRITE_TIMEOUT};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{mpsc, Arc};
use std::time::Duration;

/// A client has this long to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line that is read from a control connection.
const LINE: u64 = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach a listener: what LISTEN gives the plugin, opaque to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Where it listens, best first.
    pub addresses: Vec<SocketAddr>,
    /// The job's token in hex.
    pub token: String,
}

/// First line of a connection.
#[derive(Default, Serialize, Deserialize)]
struct Hello {
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rank: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(flatten)]
    request: serde_json::Map<String, Value>,
}

/// 32 random bytes in hex.
fn token() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    // SAFETY: the kernel writes at most the buffer's length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != bytes.len() as isize {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Compares without telling, by the time it takes, how much was right.
fn same(a: &str, b: &str) -> bool {
    let differ = |(x, y): (u8, u8)| u32::from(x ^ y);
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .map(differ)
            .fold(0, |all, d| all | d)
            == 0
}

/// Starts to listen: on all addresses of the machine for a job of several ranks, else on the loopback.
pub fn listen(job: &Arc<Job>, everywhere: bool) -> Result<Contact> {
    let bind = if everywhere {
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::LOCALHOST
    };
    let listener = TcpListener::bind((bind, 0)).context("can't listen for the other ranks")?;
    let port = listener.local_addr()?.port();
    let mut addresses = if everywhere {
        own_addresses()
    } else {
        Vec::new()
    };
    addresses.push(Ipv4Addr::LOCALHOST);
    let contact = Contact {
        addresses: addresses
            .into_iter()
            .map(|a| SocketAddr::from((a, port)))
            .collect(),
        token: token().context("can't make a token")?,
    };
    let (job, token) = (Arc::clone(job), contact.token.clone());
    std::thread::Builder::new()
        .name("listen".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let (job, token) = (Arc::clone(&job), token.clone());
                let serve = move || {
                    // A client that went away in the middle has nobody left to tell.
                    let _ = serve(&job, &token, stream);
                };
                let _ = std::thread::Builder::new().name("peer".into()).spawn(serve);
            }
        })?;
    Ok(contact)
}

/// This machine's IPv4 addresses, without the loopback.
fn own_addresses() -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `getifaddrs` makes a list that is walked while it is valid and freed once; an address is
    // read as IPv4 only where its family says so.
    unsafe {
        if libc::getifaddrs(&mut first) != 0 {
            return found;
        }
        let mut at = first;
        while let Some(entry) = at.as_ref() {
            if !entry.ifa_addr.is_null() && (*entry.ifa_addr).sa_family == libc::AF_INET as u16 {
                let v4 = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
                let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                let up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
                if up && !address.is_loopback() {
                    found.push(address);
                }
            }
            at = entry.ifa_next;
        }
        libc::freeifaddrs(first);
    }
    found
}

/// One connection to the listener.
fn serve(job: &Arc<Job>, token: &str, stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(HELLO_TIMEOUT))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    let line = read_line(&mut from)?;
    let hello: Hello = serde_json::from_str(&line).unwrap_or_default();
    if !same(&hello.token, token) {
        return answer(
            &mut to,
            &Outcome::refused("authentication failed: wrong token"),
        );
    }
    if let Some(rank) = hello.rank {
        let size = job.place().map_or(hello.size, |(_, size)| Some(size));
        if rank == 0 || hello.size != size || size.is_none_or(|s| rank >= s) {
            let reason = format!("there is no rank {rank} in this job");
            return answer(&mut to, &Outcome::refused(reason));
        }
        answer(
            &mut to,
            &Outcome {
                ok: true,
                ..Outcome::default()
            },
        )?;
        from.get_ref().set_read_timeout(None)?;
        job.serve_rank(rank, to, from);
        return Ok(());
    }
    from.get_ref().set_read_timeout(None)?;
    if !hello.request.is_empty() {
        control(job, &hello.request, &mut to)?;
    }
    loop {
        let line = read_line(&mut from)?;
        if line.trim().is_empty() {
            return Ok(());
        }
        match serde_json::from_str(&line) {
            Ok(request) => control(job, &request, &mut to)?,
            Err(_) => answer(&mut to, &Outcome::refused("not a request"))?,
        }
    }
}

/// Answers one control request; one that wants to know gets lines of progress before. One that does not wait gets
/// the first of them as its answer, or the refusal.
fn control(job: &Job, request: &serde_json::Map<String, Value>, to: &mut TcpStream) -> Result<()> {
    if request.contains_key("status") {
        return answer(to, &job.status());
    }
    let Some(wanted) = request.get("checkpoint") else {
        return answer(to, &Outcome::refused("not a request"));
    };
    let flag = |name, otherwise| {
        let flag = wanted.get(name).and_then(Value::as_bool);
        flag.unwrap_or(otherwise)
    };
    let (stop, progress, wait) = (
        flag("stop", false),
        flag("progress", false),
        flag("wait", true),
    );
    let (reply, answers) = mpsc::channel();
    let reply = Some(reply);
    job.submit(Work::Request { stop, reply });
    for one in answers {
        match one {
            Answer::Progress(done, total) if progress || !wait => {
                answer(to, &serde_json::json!({ "done": done, "total": total }))?;
                if !wait {
                    // Nobody hears what comes of it: then it is said on the job's stderr.
                    return Ok(());
                }
            }
            Answer::Progress(..) => {}
            Answer::Done(outcome) => return answer(to, &outcome),
        }
    }
    answer(to, &Outcome::refused("the program has ended"))
}

fn read_line(from: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    from.by_ref().take(LINE).read_line(&mut line)?;
    Ok(line)
}

fn answer(to: &mut TcpStream, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line)?;
    Ok(())
}

/// Connects this host, rank `rank` of `size`, to rank 0's; again, for as long as the process lives, when the
/// connection is lost.
pub fn connect(job: &Arc<Job>, rank: u32, size: u32, contact: &Contact) -> Result<()> {
    let (mut to, mut from) = dial(rank, size, contact)?;
    job.attach(to.try_clone()?);
    let (job, contact) = (Arc::clone(job), contact.clone());
    let serve = move || loop {
        job.serve_upstream(to, from);
        let mut pause = Duration::from_millis(50);
        (to, from) = loop {
            std::thread::sleep(pause);
            match dial(rank, size, &contact) {
                Ok(connection) => break connection,
                Err(_) => pause = (pause * 2).min(CONNECT_TIMEOUT),
            }
        };
    };
    std::thread::Builder::new()
        .name("rank 0".into())
        .spawn(serve)?;
    Ok(())
}

/// One connection to rank 0's host.
fn dial(rank: u32, size: u32, contact: &Contact) -> Result<(TcpStream, BufReader<TcpStream>)> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in &contact.addresses {
        let stream = match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(HELLO_TIMEOUT))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut to = stream.try_clone()?;
        let hello = Hello {
            token: contact.token.clone(),
            rank: Some(rank),
            size: Some(size),
            request: serde_json::Map::new(),
        };
        answer(&mut to, &hello)?;
        let mut from = BufReader::new(stream);
        let reply: Outcome = serde_json::from_str(&read_line(&mut from)?)
            .with_context(|| format!("rank 0's host at {address} answers nonsense"))?;
        if !reply.ok {
            bail!(
                "rank 0's host at {address}: {}",
                reply.reason.unwrap_or_default()
            );
        }
        from.get_ref().set_read_timeout(None)?;
        return Ok((to, from));
    }
    bail!(
        "rank 0's host can't be reached at any of {:?}: {last}",
        contact.addresses
    )
}

/// The file that names the running job, for the `splitproc` command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobFile {
    /// Where control requests go.
    pub address: String,
    /// All addresses of the listener.
    pub addresses: Vec<String>,
    /// The token.
    pub token: String,
    /// Rank 0's pid.
    pub pid: u32,
    /// Ranks, 0 while they are not known.
    pub ranks: u32,
    /// The program.
    pub program: String,
    /// Seconds since 1970.
    pub started: u64,
}

/// Writes `job.json`.
pub fn write_job(dir: &Path, file: &JobFile) -> Result<()> {
    restart::manifest::make_dir(dir)?;
    let text = serde_json::to_vec_pretty(file)?;
    restart::manifest::replace(&dir.join("job.json"), &text)?;
    Ok(())
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
