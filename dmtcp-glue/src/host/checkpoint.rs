//! One checkpoint, from the request to the commit.
//!
//! Every rank goes through the same steps, and a vote of all ends each: the plugin's cut (PRESUSPEND);
//! threads stopped and nothing found that can't be saved; image written; manifest committed. The first
//! refusal anywhere lets all go on, and its reason is what the requester gets.

use super::coordinator::{Answer, Failed, Job, Order, Outcome, Work};
use super::durable::Written;
use super::frame::Key;
use super::launch::Settings;
use super::mailbox::Channel;
use super::stop::Stopped;
use super::turn::{self, Turn};
use super::{device, disk, save, stop, EVENT_BOUND, STOPPED};
use anyhow::{anyhow, Context, Result};
use restart::image::{Progress, Summary};
use restart::launcher;
use restart::manifest::{self, ImageEntry, Manifest};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events of the plugin's helper.
const PRESUSPEND: u32 = 1;
const RESUME: u32 = 2;
/// A requester takes its answer within this.
const ANSWER_BOUND: Duration = Duration::from_secs(5);
/// How long threads may take to stop when an obstacle has been seen while they ran.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// Time between two signs of life to the other ranks.
const BEAT: Duration = Duration::from_secs(1);
/// Signals that come while a checkpoint is taken, or so soon after its beginning, belong to it: a launcher
/// or a batch system sends one to every rank.
const TOGETHER: Duration = Duration::from_secs(1);

/// A rank's vote: it can go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Vote {
    /// After saving: length and fingerprint of the image.
    image: Option<(u64, u32)>,
    /// After saving: how long the threads have been stopped.
    seconds: f64,
}

/// Serves the queue for ever.
pub fn serve(job: &Arc<Job>, settings: &Arc<Settings>, events: Channel, queue: &Receiver<Work>) {
    let mut last: Option<(Instant, bool)> = None;
    while let Ok(work) = queue.recv() {
        job.set_busy(true);
        let mut run = Run {
            job,
            settings,
            events,
            begun: Instant::now(),
            reply: None,
        };
        match work {
            Work::Request { stop, reply } => {
                run.reply = reply;
                last = Some((run.begun, stop));
                run.lead(stop);
            }
            Work::Signal { stop, at } => {
                let together =
                    |(begun, stopped): (Instant, bool)| at < begun + TOGETHER && stopped == stop;
                if !last.is_some_and(together) {
                    last = Some((run.begun, stop));
                    run.lead(stop);
                    if stop {
                        // Still here: it was not taken.
                        job.pass_on();
                    }
                }
            }
            Work::Order(order) if job.begin(order.attempt) => {
                if let Err(error) = run.take_part(&order) {
                    super::say(&format!("no checkpoint was taken: {error:#}"));
                }
            }
            Work::Order(_) => {}
        }
        job.set_busy(false);
    }
}

/// The allgather of one of the attempt's steps.
fn key(order: &Order, phase: u32) -> Key {
    Key {
        attempt: order.attempt,
        phase,
        seq: 0,
    }
}

struct Run<'a> {
    job: &'a Arc<Job>,
    settings: &'a Arc<Settings>,
    events: Channel,
    begun: Instant,
    reply: Option<Sender<Answer>>,
}

impl Run<'_> {
    /// Rank 0: numbers the generation, orders it and says how it went.
    fn lead(&mut self, stop: bool) {
        let ordered = match self.job.obstacle(self.settings.timeout) {
            Some(reason) => Err(anyhow!(reason)),
            None => self.prepare(),
        };
        let result = ordered.and_then(|generation| {
            let order = self.job.announce(generation, stop);
            if let Some(reply) = &self.reply {
                let _ = reply.send(Answer::Progress(0, 0));
            }
            let taken = self.take_part(&order);
            if taken.is_err() && !disk::hangs() {
                let folder = manifest::generation_dir(&self.settings.dir, generation);
                let _ = self.on_disk(0, move |_| {
                    // Without a manifest what the ranks wrote is of no use to anybody.
                    if !folder.join(manifest::FILE).try_exists()? {
                        std::fs::remove_dir_all(folder)?;
                    }
                    Ok(())
                });
            }
            taken
        });
        if let Err(error) = result {
            if !self.answer(&Outcome::refused(format!("{error:#}"))) {
                super::say(&format!("no checkpoint was taken: {error:#}"));
            }
        }
    }

    fn prepare(&self) -> Result<u64> {
        disk::check()?;
        self.on_disk(0, |settings| {
            manifest::make_dir(&settings.dir)?;
            Ok(manifest::next_generation(&settings.dir)?)
        })
    }

    /// Does something in the checkpoint directory. The other ranks wait in this phase of the attempt.
    fn on_disk<T: Send + 'static>(
        &self,
        phase: u32,
        work: impl FnOnce(&Settings) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.waits_for(&self.settings.dir.display().to_string(), phase, work)
    }

    /// The same with another disk's files.
    fn waits_for<T: Send + 'static>(
        &self,
        what: &str,
        phase: u32,
        work: impl FnOnce(&Settings) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let settings = Arc::clone(self.settings);
        let beat = self.beat(phase);
        let still = move || {
            beat();
            false
        };
        disk::work(what, self.patience(), still, move || work(&settings))?
    }

    /// How long the disk may do nothing.
    fn patience(&self) -> Duration {
        self.settings.timeout * 2
    }

    /// Lets the ranks know, when it is called often, that this one is at work.
    fn beat(&self, phase: u32) -> impl Fn() + use<'_> {
        let (job, attempt) = (self.job, self.job.attempt());
        let told = Cell::new(Instant::now());
        move || {
            if phase != 0 && told.get().elapsed() >= BEAT {
                told.set(Instant::now());
                let seq = 0;
                job.alive(Key {
                    attempt,
                    phase,
                    seq,
                });
            }
        }
    }

    /// Tells the requester; false: there is none, or it does not wait.
    fn answer(&mut self, outcome: &Outcome) -> bool {
        self.job.record(outcome);
        let answer = |reply: &Sender<Answer>| reply.send(Answer::Done(outcome.clone())).is_ok();
        self.reply.as_ref().is_some_and(answer)
    }

    /// Waits until the requester's connection has taken the answer: then it hangs up.
    fn wait_answered(&self) {
        let until = Instant::now() + ANSWER_BOUND;
        let listens = |reply: &Sender<Answer>| reply.send(Answer::Progress(0, 0)).is_ok();
        while self.reply.as_ref().is_some_and(listens) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Every rank: one checkpoint. Afterwards the program runs on, or has ended.
    fn take_part(&mut self, order: &Order) -> Result<()> {
        let turn = turn::take();
        let result = self.steps(order, &turn);
        stop::release();
        device::end();
        match self.events.request(RESUME, &[], EVENT_BOUND) {
            Some((0, _)) => {}
            Some((_, why)) => super::say(&format!(
                "the plugin can't resume: {}",
                String::from_utf8_lossy(&why)
            )),
            None => super::say("the plugin does not answer: no checkpoint can be taken any more"),
        }
        result
    }

    fn steps(&mut self, order: &Order, turn: &Result<Turn>) -> Result<()> {
        let timeout = self.settings.timeout;
        let folder = manifest::generation_dir(&self.settings.dir, order.generation);
        let mut objects = Vec::new();
        let turn = turn.as_ref().map_err(|why| anyhow!("{why:#}"));
        let cut = turn.and_then(|_| {
            objects = self.presuspend()?;
            disk::check()?;
            let folder = folder.clone();
            self.on_disk(1, move |_| Ok(manifest::make_dir(&folder)?))
        });
        self.vote(order, 1, self.bound(), cut)?;

        let since = Instant::now();
        let (stopped, refusal) = match self.stop(timeout) {
            Ok(stopped) => (Some(stopped), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.vote(order, 2, timeout * 2, refusal)?;
        let stopped = stopped.context("threads are stopped")?;

        let (rank, size) = self.job.place().context("the rank is known")?;
        let place = save::Place {
            rank,
            size,
            generation: order.generation,
        };
        let progress = Arc::new(Progress::default());
        let saved = self.while_alive(&folder, &progress, {
            let (folder, settings) = (folder.clone(), Arc::clone(self.settings));
            let (slots, progress) = (stopped.slots().to_vec(), Arc::clone(&progress));
            move || {
                let written = Written::find()?;
                // Beside the image, which takes longer.
                std::thread::scope(|scope| {
                    let thread = std::thread::Builder::new();
                    let synced = thread.spawn_scoped(scope, || written.sync())?;
                    let saved = save::save(&folder, place, &settings, &slots, &objects, &progress)?;
                    let synced = synced.join();
                    synced.map_err(|_| anyhow!("the files' thread has ended"))??;
                    Ok(saved)
                })
            }
        });
        let votes = self.vote_saved(order, saved, since)?;

        let committed = match rank {
            0 => self.commit(order, &votes),
            _ => Ok(()),
        };
        let outcome = (rank == 0 && committed.is_ok()).then(|| self.outcome(order, &votes));
        let mut last = self.vote(order, 4, timeout, committed).map(|_| ());
        if let Some(outcome) = &outcome {
            // The generation is complete, whatever has become of the other ranks since.
            self.tidy(order, std::mem::replace(&mut last, Ok(())));
            self.answer(outcome);
        }
        if order.stop && last.is_ok() {
            self.wait_answered();
            // mpirun gives the code of the rank that ends first, and kills the ranks that are left; what code those
            // have then is chance. So rank 0 alone says it: it tells the launcher to end the job with this code, and
            // ends. The others wait in a vote in which rank 0 has no part: its end, or the launcher's
            // SIGKILL, ends that wait.
            if rank != 0 {
                let _ = self.vote(order, 5, timeout, Ok(()));
            } else if size > 1 {
                launcher::abort_job(STOPPED, Duration::ZERO);
            }
            // SAFETY: ends the process at once; the program is saved and must not run on.
            unsafe { libc::_exit(STOPPED) };
        }
        drop(stopped);
        last
    }

    /// Rank 0, after the last vote on a generation that is committed: older ones go, unless a rank was lost meanwhile.
    fn tidy(&self, order: &Order, last: Result<()>) {
        let prune = |settings: &Settings| {
            let pruned = manifest::prune(&settings.dir, settings.keep);
            pruned
                .map(drop)
                .context("old checkpoints could not be removed")
        };
        if let Err(error) = last.and_then(|()| self.on_disk(5, prune)) {
            let generation = order.generation;
            super::say(&format!(
                "generation {generation} is complete, but: {error:#}"
            ));
        }
    }

    /// Stops the threads, if nothing is found that can't be saved.
    ///
    /// It is looked for before, while the program runs: that takes time. But what is being made or closed just then may
    /// look like an obstacle, so only one that is still there when the threads are stopped counts.
    fn stop(&self, timeout: Duration) -> Result<Stopped> {
        let Err(before) = self.on_disk(2, |s| save::obstacles(s, false)) else {
            self.waits_for("the program's files", 2, |_| Written::find()?.sync())?;
            return stop::stop(timeout);
        };
        // Who can't be stopped soon, as under a debugger, is the obstacle itself.
        let Ok(stopped) = stop::stop(timeout.min(SECOND_LOOK)) else {
            return Err(before);
        };
        self.on_disk(2, |s| save::obstacles(s, true))?;
        Ok(stopped)
    }

    /// How long a cut may take.
    fn bound(&self) -> Duration {
        EVENT_BOUND + self.settings.timeout
    }

    /// The plugin's cut; gives what it says of MPI's objects.
    fn presuspend(&self) -> Result<Vec<u8>> {
        let seconds = self.settings.timeout.as_secs().to_ne_bytes();
        match self.events.request(PRESUSPEND, &seconds, self.bound()) {
            Some((0, objects)) => Ok(objects),
            Some((_, why)) => Err(anyhow!("{}", String::from_utf8_lossy(&why))),
            None => Err(anyhow!("the plugin does not answer")),
        }
    }

    /// Does the long part of a checkpoint, and lets the ranks and the requester know that it goes on. When the disk hangs
    /// it is given up, and reads the program's memory no more.
    fn while_alive<T: Send + 'static>(
        &self,
        folder: &Path,
        progress: &Progress,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, beat) = (&self.reply, self.beat(3));
        let mut last = (0, 0);
        let went_on = || {
            beat();
            let now = progress.now();
            if let Some(reply) = reply {
                // The requester may have gone away.
                let _ = reply.send(Answer::Progress(now.0, now.1));
            }
            std::mem::replace(&mut last, now) != now
        };
        let what = folder.display().to_string();
        let done = disk::work(&what, self.patience(), went_on, work);
        if done.is_err() {
            progress.abandon();
        }
        done?
    }

    /// Ends a step: goes on when every rank can.
    fn vote(
        &self,
        order: &Order,
        phase: u32,
        bound: Duration,
        result: Result<()>,
    ) -> Result<Vec<Vote>> {
        self.cast(order, phase, bound, result.map(|()| Vote::default()))
    }

    fn vote_saved(
        &self,
        order: &Order,
        saved: Result<Summary>,
        since: Instant,
    ) -> Result<Vec<Vote>> {
        let vote = saved.map(|summary| Vote {
            image: Some((summary.bytes, summary.crc)),
            seconds: since.elapsed().as_secs_f64(),
        });
        self.cast(order, 3, self.settings.timeout, vote)
    }

    fn cast(
        &self,
        order: &Order,
        phase: u32,
        bound: Duration,
        vote: Result<Vote>,
    ) -> Result<Vec<Vote>> {
        let key = key(order, phase);
        let vote = match vote {
            Ok(vote) => vote,
            Err(error) => {
                let reason = match self.job.place() {
                    Some((rank, 2..)) => format!("rank {rank}: {error:#}"),
                    _ => format!("{error:#}"),
                };
                let failed = Failed::new(libc::ECANCELED, reason);
                self.job.refuse(key, &failed);
                return Err(anyhow!(failed.message));
            }
        };
        let parts = self
            .job
            .gather(key, serde_json::to_vec(&vote)?, bound)
            .map_err(|failed| anyhow!(failed.message))?;
        parts
            .iter()
            .map(|part| serde_json::from_slice(part).context("a rank's vote makes no sense"))
            .collect()
    }

    /// Rank 0, when all images are on disk: the manifest.
    fn commit(&self, order: &Order, votes: &[Vote]) -> Result<()> {
        let images = (0_u32..).zip(votes).map(|(rank, vote)| {
            let (bytes, crc) = vote.image.unwrap_or_default();
            ImageEntry {
                rank,
                file: manifest::image_name(rank),
                bytes,
                crc,
            }
        });
        let manifest = Manifest {
            version: manifest::VERSION,
            job: format!("{}-{}", self.settings.started, std::process::id()),
            generation: order.generation,
            ranks: votes.len() as u32,
            program: self.settings.argv.first().cloned().unwrap_or_default(),
            argv: self.settings.argv.clone(),
            created: super::now(),
            seconds: votes.iter().map(|v| v.seconds).fold(0.0, f64::max),
            mpi: self.settings.mpi_library(),
            cuda: self.settings.cuda_device(),
            images: images.collect(),
        };
        self.on_disk(4, move |settings| Ok(manifest.commit(&settings.dir)?))
    }

    fn outcome(&self, order: &Order, votes: &[Vote]) -> Outcome {
        Outcome {
            ok: true,
            reason: None,
            generation: Some(order.generation),
            seconds: Some(self.begun.elapsed().as_secs_f64()),
            bytes: Some(
                votes
                    .iter()
                    .filter_map(|v| v.image)
                    .map(|(bytes, _)| bytes)
                    .sum(),
            ),
        }
    }
}
