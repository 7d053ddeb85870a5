//! Exchange between ranks, over the coordinator's key-value store.
//!
//! A rank sets one of two keys of its own, in turn, to `SEQUENCE HEX` and reads everybody's until they have the same
//! number. Two keys are enough: who sets the third value has seen everybody's second, so everybody had
//! read the first. Only ranks take part; what else belongs to the computation is not waited for.

use super::kin;
use super::prompt::Prompt;
use crate::host::{self, Host, HostError};
use crate::symbols;
use dmtcp_glue::abi::{self, CxxString, KvGet, KvSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a rank that does not come is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the ranks wait for each other before they look at themselves again, or say for whom.
const MEETING: Duration = Duration::from_secs(10);
/// Exchanges in one attempt at a cut have numbers in a range of their own.
const ATTEMPT: u64 = 1 << 32;

/// The coordinator as host.
pub struct Coordinator;

struct Job {
    rank: u32,
    size: u32,
    /// The same on all ranks of this job, and no other's.
    id: String,
    sequence: u64,
}

static JOB: Mutex<Option<Job>> = Mutex::new(None);

/// What the ranks' images of the newest checkpoint have in common.
static MARK: AtomicU64 = AtomicU64::new(0);

/// The ranks agree on a mark of the checkpoint that all are ready for. A rank that has said its word here is bound by
/// it, however long the others take, unless one of them has started over and so never said it: a rank that gave up
/// while another has read its word would start over alone.
pub fn mark() -> Result<(), String> {
    let all = Coordinator.all(&host::random::<8>(), true)?;
    let mark = all[0].as_slice().try_into();
    MARK.store(mark.map_or(0, u64::from_ne_bytes), Ordering::Relaxed);
    Ok(())
}

/// Tells the user, once, of another MPI job under the same coordinator: DMTCP takes both into one checkpoint, and waits
/// for both at a restart. The first rank asks before a cut and after it, so that at least one job sees the other's name.
pub fn look_for_others(checkpoint: u32) -> Result<(), String> {
    const NAMES: &str = "splitproc.jobs";
    static TOLD: AtomicBool = AtomicBool::new(false);
    let job = JOB.lock().unwrap_or_else(|e| e.into_inner());
    let Some(job) = job.as_ref().filter(|job| job.rank == 0 && job.size > 1) else {
        return Ok(());
    };
    let key = checkpoint.to_string();
    let other = get(NAMES, &key)?.is_some_and(|name| name != job.id);
    if other && !TOLD.swap(true, Ordering::Relaxed) {
        eprintln!(
            "splitproc: another MPI job runs under the same DMTCP coordinator: this checkpoint holds both, and a restart \
             waits until both are started; give each job a coordinator of its own"
        );
    }
    set(NAMES, &key, &job.id)
}

/// The first rank of which this holds.
pub fn first_that(holds: bool) -> Result<Option<usize>, String> {
    if !crate::mpi::active() {
        return Ok(holds.then_some(0));
    }
    let all = Coordinator.all(&[u8::from(holds)], false)?;
    Ok(all.iter().position(|said| said == &[1]))
}

/// A string for a C++ function that only reads it. The bytes end with a NUL.
fn cxx(bytes: &[u8]) -> CxxString {
    CxxString {
        data: bytes.as_ptr().cast(),
        len: bytes.len() - 1,
        short: [0; 16],
    }
}

fn function(symbol: &std::ffi::CStr) -> Result<usize, String> {
    let missing =
        || "this DMTCP has no key-value store that splitproc knows; use 4.2 or 5.0".into();
    symbols::find(symbol).ok_or_else(missing)
}

pub fn set(id: &str, key: &str, value: &str) -> Result<(), String> {
    let set = function(abi::KV_SET)?;
    let [id, key, value] = [id, key, value].map(|s| format!("{s}\0"));
    // SAFETY: the function has this type and reads the strings before it returns.
    let failed = unsafe {
        let set = core::mem::transmute::<usize, KvSet>(set);
        set(
            &cxx(id.as_bytes()),
            &cxx(key.as_bytes()),
            &cxx(value.as_bytes()),
            core::ptr::null_mut(),
        )
    };
    match failed {
        0 => Ok(()),
        code => Err(format!("DMTCP's coordinator refused a value (code {code})")),
    }
}

/// The value of a key; `None`: it has none.
pub fn get(id: &str, key: &str) -> Result<Option<String>, String> {
    /// One string for all answers: DMTCP's allocator makes it as long as it must be, and it is never freed.
    struct Answer(CxxString);
    // SAFETY: used under the lock only.
    unsafe impl Send for Answer {}
    static ANSWER: Mutex<Answer> = Mutex::new(Answer(CxxString {
        data: core::ptr::null(),
        len: 0,
        short: [0; 16],
    }));
    let get = function(abi::KV_GET)?;
    let [id, key] = [id, key].map(|s| format!("{s}\0"));
    let mut answer = ANSWER.lock().unwrap_or_else(|e| e.into_inner());
    let answer = &mut answer.0;
    if answer.data.is_null() {
        answer.data = (&raw const answer.short).cast();
    }
    // SAFETY: the function has this type; the answer is a C++ string that lies still, and has `len` characters.
    unsafe {
        let get = core::mem::transmute::<usize, KvGet>(get);
        if get(&cxx(id.as_bytes()), &cxx(key.as_bytes()), answer) != 0 {
            return Ok(None);
        }
        let bytes = std::slice::from_raw_parts(answer.data.cast::<u8>(), answer.len);
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// Asks again and again, ever more slowly, until `done` gives a result or the time is up.
pub fn poll<T>(
    limit: Duration,
    mut done: impl FnMut() -> Result<Option<T>, String>,
) -> Result<Option<T>, String> {
    let begin = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(result) = done()? {
            return Ok(Some(result));
        }
        if begin.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// All ranks begin an attempt at a cut together, and agree on its number.
pub fn meet() -> Result<(), String> {
    let mut job = JOB.lock().unwrap_or_else(|e| e.into_inner());
    let Some(job) = job.as_mut().filter(|_| crate::mpi::active()) else {
        return Ok(());
    };
    let mut attempt = job.sequence / ATTEMPT + 1;
    let (id, rank, size) = (job.id.clone(), job.rank, job.size);
    let key = attempt_key(rank);
    set(&id, &key, &attempt.to_string())?;
    let mut absent = 0;
    let together = poll(MEETING, || {
        for other in 0..size {
            match attempt_of(&id, other)? {
                Some(n) if n == attempt => {}
                Some(n) if n > attempt => {
                    attempt = n;
                    set(&id, &key, &attempt.to_string())?;
                    return Ok(None);
                }
                _ => {
                    absent = other;
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    })?;
    job.sequence = attempt * ATTEMPT;
    let missing = || {
        format!("rank {absent} has not come to the checkpoint; is it under the same coordinator?")
    };
    together.ok_or_else(missing)
}

/// The key under which a rank has the number of its attempt.
fn attempt_key(rank: u32) -> String {
    format!("attempt.{rank}")
}

/// The number of a rank's newest attempt.
fn attempt_of(id: &str, rank: u32) -> Result<Option<u64>, String> {
    Ok(get(id, &attempt_key(rank))?.and_then(|n| n.parse().ok()))
}

impl Coordinator {
    /// What all ranks say. Who is `bound` waits until all have said it.
    fn all(&self, bytes: &[u8], bound: bool) -> Result<Vec<Vec<u8>>, String> {
        let mut job = JOB.lock().unwrap_or_else(|e| e.into_inner());
        let Some(job) = job.as_mut() else {
            return Ok(vec![bytes.to_vec()]);
        };
        job.sequence += 1;
        let sequence = job.sequence;
        let key = |rank: u32| format!("{}.{rank}", sequence % 2);
        let mut value = format!("{sequence} ");
        for byte in bytes {
            let _ = write!(value, "{byte:02x}");
        }
        set(&job.id, &key(job.rank), &value)?;
        let _answers = Prompt::begin();
        let said = |rank: u32| {
            let value = get(&job.id, &key(rank))?;
            if let Some((number, hex)) = value.as_deref().and_then(|v| v.split_once(' ')) {
                if number.parse() == Ok(sequence) {
                    return unhex(hex).map(Some);
                }
            }
            match attempt_of(&job.id, rank)? {
                Some(n) if n > sequence / ATTEMPT => Err(format!("rank {rank} has started over")),
                _ => Ok(None),
            }
        };
        let one = |rank: u32| {
            if rank == job.rank {
                return Ok(bytes.to_vec());
            }
            let begin = Instant::now();
            loop {
                if let Some(said) = poll(MEETING, || said(rank))? {
                    return Ok(said);
                }
                let waited = begin.elapsed();
                let late = format!("rank {rank} has not answered for {} s", waited.as_secs());
                if bound {
                    eprintln!("splitproc: the checkpoint waits: {late}; has it ended?");
                } else if waited > LIMIT {
                    return Err(late);
                }
            }
        };
        (0..job.size).map(one).collect()
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let damaged = || "a value of another rank's is damaged".to_string();
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| damaged())?;
            u8::from_str_radix(pair, 16).map_err(|_| damaged())
        })
        .collect()
}

impl Host for Coordinator {
    fn exchange(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, HostError> {
        self.all(bytes, false).map_err(|message| HostError {
            errno: libc::ETIMEDOUT,
            message,
        })
    }

    /// A name for the job.
    fn listen(&self) -> Result<Vec<u8>, HostError> {
        let mut name = String::from("splitproc.");
        for byte in host::random::<16>() {
            let _ = write!(name, "{byte:02x}");
        }
        Ok(name.into_bytes())
    }

    fn connect(&self, rank: u32, size: u32, blob: &[u8]) -> Result<(), HostError> {
        let mut job = JOB.lock().unwrap_or_else(|e| e.into_inner());
        *job = Some(Job {
            rank,
            size,
            id: String::from_utf8_lossy(blob).into_owned(),
            sequence: 0,
        });
        kin::becomes(rank, size);
        Ok(())
    }

    fn checkpoint(&self) -> Vec<u8> {
        MARK.load(Ordering::Relaxed).to_ne_bytes().to_vec()
    }
}
