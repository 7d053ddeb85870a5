//! `splitproc checkpoint`: asks a running job for one.

use super::cli::Checkpoint;
use super::client::Job;
use super::progress::Bar;
use super::{print, size, Failure, Outcome};
use std::time::Duration;

/// Runs the command.
pub fn run(args: &Checkpoint) -> Outcome {
    let dir = args.job.as_ref().unwrap_or(&args.ckpt_dir);
    let Some(job) = Job::load(dir)? else {
        let text = "no job runs with this checkpoint directory; start one with `splitproc launch --ckpt-dir DIR -- PROGRAM`";
        return Err(Failure::new(1, format!("{}: {text}", dir.display())));
    };
    let request = serde_json::json!({ "checkpoint": { "stop": args.stop, "progress": true, "wait": args.wait } });
    let mut bar = Bar::new("checkpoint");
    let timeout = args.timeout.map(Duration::from_secs);
    let reply = job.ask_watching(&request, args.wait, timeout, |done, total| {
        bar.show(done, total);
    })?;
    bar.end();
    if !reply.ok {
        let reason = reply.reason.unwrap_or_else(|| "it did not say why".into());
        return Err(Failure::new(
            1,
            format!("no checkpoint was taken: {reason}"),
        ));
    }
    match reply.generation {
        Some(generation) => print(&format!(
            "generation {generation}: {} in {:.2} s\n",
            size(reply.bytes.unwrap_or(0)),
            reply.seconds.unwrap_or(0.0)
        )),
        None => Ok(()),
    }
}
