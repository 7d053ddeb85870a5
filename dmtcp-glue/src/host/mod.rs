//! The embedded host: who takes the checkpoints of a job and brings its processes back.
//!
//! Threads: `service` answers the plugin, `checkpoint` does what rank 0 orders, `listen` (with one
//! thread a connection) talks to other ranks and to the `splitproc` command. All of them are tasks of
//! a lower half: never stopped, never saved.

mod arrival;
mod checkpoint;
mod coordinator;
mod frame;
mod gather;
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
mod stop;
mod trigger;
mod turn;

use coordinator::{Job, Work};
use launch::Settings;
use lh_loader::lhinfo::{self, HalfStart};
use mailbox::Channel;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    abort_job(1);
    std::process::exit(1);
}

/// Tells the launcher to end the other ranks too, and with which code: when a rank just exits, the others may wait
/// in MPI_Init for ever, or be killed before they give a code of their own.
///
/// PMI-1's `abort` on the inherited descriptor; other launchers end a job whose rank exits with an error.
pub fn abort_job(code: i32) {
    let fd = std::env::var("PMI_FD").ok().and_then(|fd| fd.parse().ok());
    if let Some(fd) = fd {
        let deadline = Instant::now() + Duration::from_secs(2);
        while unread(libc::STDERR_FILENO) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let order = format!("cmd=abort exitcode={code}\n");
        // SAFETY: writes a constant; a closed descriptor gives an error, which changes nothing.
        unsafe { libc::write(fd, order.as_ptr().cast(), order.len()) };
    }
}

/// Bytes in a pipe that its reader has not taken; 0 for anything else. A launcher that is told to abort forgets
/// what it has not read of a rank's last words.
fn unread(fd: i32) -> i32 {
    let mut unread = 0;
    // SAFETY: both calls write to live variables of the type that they expect.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO {
            libc::ioctl(fd, libc::FIONREAD, &mut unread);
        }
    }
    unread
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
        match hold::hold(&settings.dir) {
            // For as long as this process lives.
            Ok(file) => std::mem::forget(file),
            Err(error) => fatal(&format!("{error:#}")),
        }
    }
    trigger::claim(&settings);
    let (work, queue) = channel();
    let job = Job::new(settings.mpi, settings.timeout, work);
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
        tick(Arc::clone(job), seconds);
    }
    checkpoint::serve(job, settings, events, &queue);
}

/// Rank 0: asks for a checkpoint every so often.
fn tick(job: Arc<Job>, every: Duration) {
    let tick = move || loop {
        std::thread::sleep(every);
        if job.place().is_some_and(|(rank, _)| rank == 0) {
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
