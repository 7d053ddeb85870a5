//! `splitproc status`: what the jobs of checkpoint directories do.

use super::cli::Status;
use super::client::{Job, Reply};
use super::{ago, print, size, Failure, Outcome};
use restart::manifest::{self, Manifest};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// What is known of one directory.
struct Found {
    job: Option<Job>,
    alive: Option<Reply>,
    complete: Vec<u64>,
    incomplete: Vec<u64>,
    last: Option<Manifest>,
}

/// Runs the command.
pub fn run(args: &Status) -> Outcome {
    let mut text = String::new();
    let mut all = Vec::new();
    for dir in &args.dirs {
        let found = look(dir)?;
        if args.json {
            all.push(json(dir, &found));
        } else {
            describe(&mut text, dir, &found);
        }
    }
    if args.json {
        text = format!("{:#}\n", serde_json::Value::Array(all));
    }
    print(&text)
}

fn look(dir: &Path) -> Result<Found, Failure> {
    let generations = manifest::generations(dir)?;
    let of = |complete| {
        generations
            .iter()
            .filter(|(_, c)| *c == complete)
            .map(|(g, _)| *g)
            .collect::<Vec<_>>()
    };
    let job = Job::load(dir)?;
    let request = serde_json::json!({ "status": {} });
    let alive = job
        .as_ref()
        .and_then(|j| j.ask(&request, true, Some(Duration::from_secs(5))).ok())
        .filter(|r| r.ok);
    let complete = of(true);
    let last = match complete.is_empty() {
        true => None,
        false => Some(manifest::latest_complete(dir)?),
    };
    Ok(Found {
        job,
        alive,
        complete,
        incomplete: of(false),
        last,
    })
}

fn state(found: &Found) -> &'static str {
    match &found.alive {
        Some(reply) if reply.busy => "checkpointing",
        Some(_) => "running",
        None => "not running",
    }
}

fn json(dir: &Path, found: &Found) -> serde_json::Value {
    let job = found.job.as_ref();
    serde_json::json!({
        "dir": dir,
        "state": state(found),
        "program": job.map(|j| &j.program).or(found.last.as_ref().map(|m| &m.program)),
        "ranks": ranks(found),
        "pid": job.map(|j| j.pid),
        "started": job.map(|j| j.started),
        "complete": found.complete,
        "incomplete": found.incomplete,
        "last": found.last,
    })
}

/// The live job knows best, then its last checkpoint.
fn ranks(found: &Found) -> u32 {
    let sources = [
        found.alive.as_ref().map(|r| r.ranks),
        found.last.as_ref().map(|m| m.ranks),
        found.job.as_ref().map(|j| j.ranks),
    ];
    sources.into_iter().flatten().find(|&n| n != 0).unwrap_or(0)
}

fn describe(out: &mut String, dir: &Path, found: &Found) {
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<16}{value}");
    };
    line("job", format!("{} ({})", dir.display(), state(found)));
    if let Some(program) = found
        .job
        .as_ref()
        .map(|j| &j.program)
        .or(found.last.as_ref().map(|m| &m.program))
    {
        line("program", program.clone());
    }
    let lost = found.alive.as_ref().map_or(&[][..], |r| &r.lost);
    let list = |g: &[u32]| g.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    line(
        "ranks",
        match lost {
            [] => ranks(found).to_string(),
            lost => format!("{}, lost: {}", ranks(found), list(lost)),
        },
    );
    if let (Some(job), true) = (&found.job, found.alive.is_some()) {
        line(
            "started",
            format!("{} (rank 0 has pid {})", ago(job.started), job.pid),
        );
    }
    match &found.last {
        Some(m) => line(
            "last checkpoint",
            format!(
                "generation {}, {}, {}, took {:.2} s",
                m.generation,
                ago(m.created),
                size(m.bytes()),
                m.seconds
            ),
        ),
        None => line("last checkpoint", "none".into()),
    }
    let list = |g: &[u64]| g.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    if !found.complete.is_empty() {
        line("complete", list(&found.complete));
    }
    if !found.incomplete.is_empty() {
        line("incomplete", list(&found.incomplete));
    }
}
