//! Where things are: the windows of `lh-loader/src/layout.rs`, read from `/proc/PID/maps`.

use tests::{example, wait_for, Job, Scratch, LIMIT};

const WINDOW: usize = 1 << 40;
const LOWER: usize = 0x2000_0000_0000;
const MPI: usize = LOWER + WINDOW;
const UPPER: usize = 0x3000_0000_0000;

struct Mapping {
    start: usize,
    end: usize,
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

fn check(all: &[Mapping], restarted: bool) {
    let real_mpi = |m: &&Mapping| {
        let file = m.name.rsplit('/').next().unwrap_or_default();
        [
            "libmpich.so",
            "libmpi.so",
            "libucp.so",
            "libucs.so",
            "libuct.so",
        ]
        .iter()
        .any(|n| file.starts_with(n))
            && !m.name.contains("/fronts/")
    };
    let mpi: Vec<_> = all.iter().filter(real_mpi).collect();
    assert!(!mpi.is_empty(), "the MPI library is loaded");
    for m in mpi {
        assert!(
            inside(m, MPI),
            "{} at {:#x} is outside the MPI half's window",
            m.name,
            m.start
        );
    }
    // After a restart the upper half's files are anonymous memory, filled from the image.
    let named: &[usize] = if restarted {
        &[LOWER, MPI]
    } else {
        &[LOWER, MPI, UPPER]
    };
    for &window in named {
        let libc = all
            .iter()
            .any(|m| inside(m, window) && m.executable && m.name.ends_with("/libc.so.6"));
        assert!(libc, "no libc in the window at {window:#x}");
    }
    // Nothing lies outside all windows but what the kernel put there.
    for m in all {
        let known = [0x1000_0000_0000, LOWER, MPI, UPPER]
            .iter()
            .any(|&w| inside(m, w))
            || (0x2f00_0000_0000..0x3000_0000_0000).contains(&m.start)
            || m.name.starts_with("[stack")
            || m.name.starts_with("[v")
            || m.name.ends_with("/lh-loader")
            || m.name == "[heap]";
        assert!(known, "{:#x}-{:#x} {} is nobody's", m.start, m.end, m.name);
    }
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
    let ranks = wait_for("two ranks", LIMIT, || {
        Some(job.ranks()).filter(|r| r.len() == 2)
    });
    for &pid in &ranks {
        check(&maps(pid), false);
    }
    job.checkpoint(&scratch);
    job.kill();
    let mut job = Job::restart(&scratch, 2);
    job.must_reach(3);
    for pid in job.ranks() {
        check(&maps(pid), true);
    }
}
