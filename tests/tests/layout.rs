//! Where things are: the windows of `lh-loader/src/layout.rs`, read from `/proc/PID/maps`.

use tests::{example, half_libraries, program, wait_for, Job, Scratch, LIMIT};

const WINDOW: usize = 1 << 40;
const LOADER: usize = 0x1000_0000_0000;
const LOWER: usize = 0x2000_0000_0000;
const MPI: usize = LOWER + WINDOW;
const ONE: usize = MPI + WINDOW;
const TWO: usize = ONE + WINDOW;
const UPPER: usize = 0x3000_0000_0000;

struct Mapping {
    start: usize,
    end: usize,
    readable: bool,
    executable: bool,
    name: String,
}

fn maps(pid: i32) -> Vec<Mapping> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the rank's maps");
    let parse = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?;
        Some(Mapping {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            readable: rights.contains('r'),
            executable: rights.contains('x'),
            name: fields.nth(3).unwrap_or_default().trim().to_string(),
        })
    };
    text.lines()
        .map(|line| parse(line).expect("a line of maps"))
        .collect()
}

fn inside(m: &Mapping, window: usize) -> bool {
    m.start >= window && m.end <= window + WINDOW
}

/// The mappings of files whose names begin so, fronts left out.
fn of_files<'a>(all: &'a [Mapping], names: &'a [&str]) -> impl Iterator<Item = &'a Mapping> {
    all.iter().filter(|m| {
        let file = m.name.rsplit('/').next().unwrap_or_default();
        names.iter().any(|n| file.starts_with(n)) && !m.name.contains("/fronts/")
    })
}

/// A library is in each of these windows, and nowhere else.
fn only_in(all: &[Mapping], names: &[&str], windows: &[usize]) {
    for &window in windows {
        let here = of_files(all, names).any(|m| inside(m, window));
        assert!(here, "{names:?} is not in the window at {window:#x}");
    }
    for m in of_files(all, names) {
        let there = windows.iter().any(|&w| inside(m, w));
        assert!(there, "{} at {:#x} is in another's window", m.name, m.start);
    }
}

fn check(all: &[Mapping], lower: &[usize], restarted: bool) {
    let real = [
        "libmpich.so",
        "libmpi.so",
        "libucp.so",
        "libucs.so",
        "libuct.so",
    ];
    only_in(all, &real, &[MPI]);
    // After a restart the upper half's files are anonymous memory, filled from the image.
    let upper = [UPPER];
    let named = lower.iter().chain(if restarted { &[][..] } else { &upper });
    for &window in named {
        let libc = all
            .iter()
            .any(|m| inside(m, window) && m.executable && m.name.ends_with("/libc.so.6"));
        assert!(libc, "no libc in the window at {window:#x}");
    }
    // Nothing lies outside all windows but what the kernel put there.
    for m in all {
        let known = lower.iter().chain(&[LOADER, UPPER]).any(|&w| inside(m, w))
            || (0x2f00_0000_0000..0x3000_0000_0000).contains(&m.start)
            || m.name.starts_with("[stack")
            || m.name.starts_with("[v")
            || m.name.ends_with("/lh-loader")
            || m.name == "[heap]";
        assert!(known, "{:#x}-{:#x} {} is nobody's", m.start, m.end, m.name);
    }
}

/// Bytes that can be read in a window.
fn used(all: &[Mapping], window: usize) -> usize {
    let here = all.iter().filter(|m| m.readable && inside(m, window));
    here.map(|m| m.end - m.start).sum()
}

fn ranks(job: &Job, count: usize) -> Vec<i32> {
    wait_for("the ranks", LIMIT, || {
        Some(job.ranks()).filter(|r| r.len() == count)
    })
}

#[test]
fn every_half_is_in_its_window() {
    let scratch = Scratch::new("maps");
    let mut job = Job::launch(
        &scratch,
        2,
        &example("heat2d"),
        ["-t", "4", "128", "20000", "20"],
    );
    job.must_reach(3);
    for pid in ranks(&job, 2) {
        check(&maps(pid), &[LOWER, MPI], false);
    }
    job.checkpoint(&scratch);
    job.kill();
    let mut job = Job::restart(&scratch, 2);
    job.must_reach(3);
    for pid in job.ranks() {
        check(&maps(pid), &[LOWER, MPI], true);
    }
}

/// Three lower halves beside the host, each time after one of them has had a reason to map memory.
#[test]
fn no_byte_of_a_lower_half_lies_outside_its_window() {
    let scratch = Scratch::new("maps-3");
    let dir = half_libraries();
    let half = dir.join("half.so");
    let app = program("layout", "layout", &[]);
    let library = |name| ["--half".into(), format!("{name}={}", half.display())];
    let options = [library("one"), library("two")].concat();
    let go = scratch.file("go");
    let args = [go.as_os_str(), dir.as_os_str()];
    let mut job = Job::launch_with(&scratch, 2, &options, &app, args);
    let lower = [LOWER, MPI, ONE, TWO];
    let mut before = Vec::new();
    let stages = ["init", "traffic", "threads", "memory", "dlopen"];
    for (i, stage) in stages.iter().enumerate() {
        job.must_reach(i + 1);
        let now: Vec<Vec<Mapping>> = ranks(&job, 2).into_iter().map(maps).collect();
        for all in &now {
            check(all, &lower, false);
            only_in(all, &["half.so"], &[ONE, TWO]);
        }
        if *stage == "memory" {
            grown(&before, &now);
        }
        if *stage == "dlopen" {
            now.iter()
                .for_each(|all| only_in(all, &["late.so"], &[TWO]));
            break;
        }
        before = now;
        std::fs::write(scratch.file(format!("go-{stage}")), "").expect("the go file");
    }
    job.checkpoint(&scratch);
    job.kill();
    let restarted = Job::restart(&scratch, 2);
    wait_for("the restarted ranks' halves", LIMIT, || {
        let all: Vec<_> = restarted.ranks().into_iter().map(maps).collect();
        let upper = |all: &Vec<Mapping>| used(all, UPPER) > 0;
        (all.len() == 2 && all.iter().all(upper)).then_some(())
    });
    std::fs::write(scratch.file("go-dlopen"), "").expect("the go file");
    for pid in restarted.ranks() {
        check(&maps(pid), &lower, true);
    }
    restarted.finish().ok();
}

/// Half `one` has taken 256 MiB and `two` 128, in blocks and in the arenas of threads of their own: in their windows.
fn grown(before: &[Vec<Mapping>], now: &[Vec<Mapping>]) {
    const MIB: usize = 1 << 20;
    for (before, now) in before.iter().zip(now) {
        let more = |window| used(now, window).saturating_sub(used(before, window)) / MIB;
        let [one, two, mpi, upper] = [ONE, TWO, MPI, UPPER].map(more);
        assert!(one >= 250 && two >= 125, "one {one} MiB, two {two} MiB");
        assert!(mpi + upper < 16, "MPI {mpi} MiB, the program {upper} MiB");
    }
}
