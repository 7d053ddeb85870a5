//! The embedded host: who takes the checkpoints of a job and brings its processes back.
//!
//! Threads: `service` answers the plugin, `checkpoint` does what rank 0 orders, `listen` (with one
//! thread a connection) talks to other ranks and to the `splitproc` command. All of them are tasks of
//! a lower half: never stopped, never saved.

mod arrival;
mod checkpoint;
mod code;
mod coordinator;
mod device;
mod disk;
mod durable;
mod frame;
mod gather;
mod guards;
mod hold;
mod launch;
mod mailbox;
mod maps;
mod memory;
mod net;
mod peers;
mod restore;
mod save;
mod service;
mod shared;
mod stop;
mod trigger;
mod turn;

use coordinator::{Job, Work};
use launch::Settings;
use lh_loader::lhinfo::{self, HalfStart};
use mailbox::Channel;
use restart::launcher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Exit code of a program that was told to stop after its checkpoint.
pub const STOPPED: i32 = 85;
/// The plugin's bounds are shorter than this: whoever answers later never does.
pub const EVENT_BOUND: Duration = Duration::from_secs(900);

/// Says something to the user.
pub fn say(message: &str) {
    eprintln!("splitproc: {message}");
}

/// Ends the process with a message: a restart that can't go on.
pub fn fatal(message: &str) -> ! {
    say(message);
    launcher::abort_job(1, Duration::ZERO);
    std::process::exit(1);
}

/// Starts the host's threads, then gives the kernel's main thread back to the loader.
///
/// # Safety
/// `start` is what the loader passed; called once.
pub unsafe fn run(start: *mut HalfStart) -> ! {
    // SAFETY: the loader's static; only the host writes `go`, and it is atomic.
    let half = unsafe { &*start };
    // SAFETY: the loader has mapped lhInfo before it loaded this half.
    crate::sys::init(unsafe { lhinfo::get() }.raw_syscall.load(Ordering::Acquire));
    let settings = match Settings::from_env(half.restore != 0) {
        Ok(settings) => Arc::new(settings),
        Err(error) => fatal(&format!("{error:#}")),
    };
    if settings.env_rank == 0 {
        match hold::hold(&settings.dir, half.restore != 0) {
            // For as long as this process lives.
            Ok(file) => std::mem::forget(file),
            Err(error) => fatal(&format!("{error:#}")),
        }
    }
    trigger::claim(&settings);
    let (work, queue) = channel();
    let job = Job::new(settings.mpi, settings.alone, settings.timeout, work);
    let go = &half.go;
    let (known, wait) = channel();
    let begin = move || begin(&job, &settings, queue, go, &known);
    if let Err(error) = std::thread::Builder::new()
        .name("checkpoint".into())
        .spawn(begin)
    {
        fatal(&format!("can't start the host's threads: {error}"));
    }
    // Whoever sees the program run may ask for a checkpoint.
    if half.restore == 0 && wait.recv().is_err() {
        fatal("the host's first thread has ended");
    }
    // SAFETY: gives this thread back, as the loader expects.
    unsafe { (half.ready)(start) }
}

/// The checkpoint thread: at a restart it first brings the process back. Tells `known` once the job can be asked.
fn begin(
    job: &Arc<Job>,
    settings: &Arc<Settings>,
    queue: Receiver<Work>,
    go: &'static AtomicU32,
    known: &Sender<()>,
) {
    // SAFETY: lhInfo is mapped for the life of the process.
    let (events, services) = unsafe {
        let info = lhinfo::ptr();
        (
            Channel::new(&raw mut (*info).events),
            Channel::new(&raw mut (*info).services),
        )
    };
    let restored = settings.restore.as_deref().map(|image| {
        restore::memory(image, settings).unwrap_or_else(|error| {
            fatal(&format!(
                "can't restart from {}: {error:#}",
                image.display()
            ))
        })
    });
    let service = service::Service::new(Arc::clone(job), Arc::clone(settings));
    service.start(services);
    // Nobody waits for it in a restart.
    let _ = known.send(());
    if let Some(restored) = restored {
        if let Err(error) = restored.revive(go, events) {
            fatal(&format!("can't restart: {error:#}"));
        }
    }
    trigger::start(job, settings);
    if let Some(seconds) = settings.interval {
        tick(Arc::clone(job), settings.env_rank, seconds);
    }
    checkpoint::serve(job, settings, events, &queue);
}

/// Rank 0: asks for a checkpoint every so often, unless one is under way.
fn tick(job: Arc<Job>, env_rank: u32, every: Duration) {
    let mut told = false;
    let tick = move || loop {
        std::thread::sleep(every);
        if job.is_busy() {
            continue;
        }
        let rank = job.place().map(|(rank, _)| rank);
        // Before MPI_Init none can be taken: that is said once.
        if rank == Some(0) || rank.is_none() && env_rank == 0 && !told {
            told = rank.is_none();
            let (stop, reply) = (false, None);
            job.submit(Work::Request { stop, reply });
        }
    };
    let made = std::thread::Builder::new()
        .name("interval".into())
        .spawn(tick);
    if made.is_err() {
        say("--interval: can't start a thread");
    }
}

/// Wakes everybody who waits on a word of lhInfo.
pub fn wake(word: &AtomicU32) {
    mailbox::futex_wake(word);
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |t| t.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_ask_for_nothing_while_a_checkpoint_is_under_way() {
        let (work, queue) = channel();
        let job = Job::new(false, true, Duration::ZERO, work);
        job.set_busy(true);
        tick(Arc::clone(&job), 0, Duration::from_millis(1));
        assert!(queue.recv_timeout(Duration::from_millis(200)).is_err());
        job.set_busy(false);
        assert!(queue.recv_timeout(Duration::from_secs(60)).is_ok());
    }
}
