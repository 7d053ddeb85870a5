//! The plugin under a stand-in for DMTCP (`tests/c/dmtcp_host.c`): the interface, the order of events, checkpoints and
//! restarts, where there is no DMTCP.

use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{
    bin, half_libraries, lines, mpirun, program, run, splitproc, text, wait_for, Case, Job,
    Moments, Scratch, LIMIT, STACK_PROTECTORS,
};

/// DMTCP 5's plugin interface.
const API_4: &str = "-DAPI=4";

/// The stand-in, built with flags.
fn host(flags: &[&str]) -> PathBuf {
    let name = format!("dmtcp_host{}.so", flags.concat());
    program(
        "dmtcp_host",
        &name,
        &[&["-shared", "-fPIC"], flags].concat(),
    )
}

/// One life of a job: its processes have met in a folder of their own.
struct Life<'a> {
    scratch: &'a Scratch,
    folder: PathBuf,
    ranks: usize,
    job: Job,
}

/// A program with plugins and the stand-in preloaded, in `folder`.
fn preloaded(plugins: &[PathBuf], host: &Path, folder: &Path) -> Command {
    std::fs::create_dir_all(folder).expect("the host's folder");
    let mut list = std::ffi::OsString::from("LD_PRELOAD=");
    for plugin in plugins {
        list.push(plugin);
        list.push(":");
    }
    list.push(host);
    let mut command = Command::new("env");
    command.arg(list).env("HOST_DIR", folder);
    command
}

fn plugin() -> Vec<PathBuf> {
    vec![bin("libsplitproc.so")]
}

impl<'a> Life<'a> {
    fn begin(scratch: &'a Scratch, folder: PathBuf, ranks: usize, command: Command) -> Self {
        let job = Job::start(scratch, command);
        Self {
            scratch,
            folder,
            ranks,
            job,
        }
    }

    fn launch(
        scratch: &'a Scratch,
        ranks: usize,
        api: &str,
        env: &[(&str, &str)],
        app: &[&str],
    ) -> Self {
        let folder = scratch.file("life-0");
        let mut command = preloaded(
            &plugin(),
            &host(&api.split(' ').collect::<Vec<_>>()),
            &folder,
        );
        command.envs(env.iter().copied()).args(app);
        command.current_dir(scratch.path());
        Self::begin(scratch, folder, ranks, mpirun(ranks, command))
    }

    /// Sends one letter to all ranks' hosts at once, and waits for what each answers; `None` has ended.
    #[track_caller]
    fn ask(&self, letter: u8) -> Vec<Option<u8>> {
        let ranks = 0..self.ranks.max(1);
        let sockets: Vec<_> = ranks
            .map(|rank| {
                let path = self.folder.join(format!("run-{rank}"));
                wait_for("the host to listen", LIMIT, || connect(&path))
            })
            .collect();
        for mut socket in &sockets {
            // Where one rank has ended the launcher ends the others: that one does not answer.
            let _ = socket.write_all(&[letter]);
        }
        let answer = |mut socket: std::fs::File| {
            let mut byte = [0];
            (socket.read(&mut byte).ok()? == 1).then_some(byte[0])
        };
        sockets.into_iter().map(answer).collect()
    }

    #[track_caller]
    fn checkpoint(&self) {
        let answers = self.ask(b'c');
        assert!(
            answers.iter().all(|a| *a == Some(b'c')),
            "no checkpoint: {answers:?}\n{}",
            text(&self.job.stderr())
        );
    }

    /// Ends the processes at once; what they had written to stdout.
    #[track_caller]
    fn kill(self) -> Vec<u8> {
        self.ask(b'k');
        self.job.kill()
    }

    /// The images' next life, by `splitproc dmtcp-restart`.
    #[track_caller]
    fn restart(scratch: &'a Scratch, ranks: usize, number: usize) -> Self {
        let tool = program("dmtcp_restart", "dmtcp_restart", &[]);
        let mut path = std::ffi::OsString::from(tool.parent().expect("a folder"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let folder = scratch.file(format!("life-{number}"));
        std::fs::create_dir_all(&folder).expect("the host's folder");
        let before = scratch.file(format!("life-{}", number - 1));
        let command = if before.join("rank-0-of-1.dmtcp").exists() || ranks > 1 {
            let mut command = splitproc(["dmtcp-restart"]);
            command.arg(before).env("PATH", path);
            command
        } else {
            let mut command = Command::new(tool);
            command.arg(before.join("ckpt_0.dmtcp"));
            command
        };
        let mut command = mpirun(ranks, command);
        command.env("HOST_DIR", &folder);
        Self::begin(scratch, folder, ranks, command)
    }

    /// Checkpointed, killed and restarted.
    #[track_caller]
    fn restarted(self, number: usize) -> (Vec<u8>, Self) {
        self.checkpoint();
        let (scratch, ranks) = (self.scratch, self.ranks);
        let so_far = self.kill();
        (so_far, Self::restart(scratch, ranks, number))
    }
}

/// A connection to a host's socket, whose messages have bounds.
fn connect(path: &Path) -> Option<std::fs::File> {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: an address is plain data.
    let mut at: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    at.sun_family = libc::AF_UNIX as u16;
    for (to, from) in at.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the socket is ours alone from here on, and the address outlives the call.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        let socket = OwnedFd::from_raw_fd(fd);
        let len = size_of_val(&at) as u32;
        let limit = libc::timeval {
            tv_sec: LIMIT.as_secs() as i64,
            tv_usec: 0,
        };
        let (value, size) = ((&raw const limit).cast(), size_of_val(&limit) as u32);
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, value, size);
        (libc::connect(fd, (&raw const at).cast(), len) == 0).then(|| socket.into())
    }
}

/// Checkpointed at a random moment, killed and restarted, and that again: the output is an undisturbed run's.
fn killed_and_restarted(scratch: &Scratch, case: &Case, api: &str, halves: &str) {
    let mut random = Moments::new();
    let mut app = vec![case.app.to_str().expect("a path")];
    app.extend(case.args.iter().map(String::as_str));
    let mut life = Life::launch(scratch, case.ranks, api, &[("SPLITPROC_LH", halves)], &app);
    for number in 1..3 {
        let more = random.pick(1, lines(&case.expected) / 4);
        println!("life {number}: after {more} lines");
        life.job.must_reach(more);
        let (so_far, next) = life.restarted(number);
        if number == 1 {
            case.check_killed(&so_far);
        }
        life = next;
    }
    let done = life.job.finish().ok();
    case.check_restarted(scratch, &done.stdout);
}

fn heat2d(ranks: usize, api: &str) {
    let scratch = Scratch::new(&format!("plugin-heat2d-{ranks}"));
    let case = Case::heat2d_of(&scratch, ranks, 1, 1024);
    killed_and_restarted(&scratch, &case, api, "");
}

#[test]
fn heat2d_under_api_3() {
    heat2d(0, "-DAPI=3");
}

#[test]
fn heat2d_under_api_4() {
    heat2d(0, API_4);
}

#[test]
fn heat2d_on_2_ranks_with_a_launcher() {
    heat2d(2, API_4);
}

#[test]
fn threads_beside_a_lower_half() {
    let scratch = Scratch::new("plugin-threads");
    let case = Case::threads(&scratch);
    killed_and_restarted(&scratch, &case, API_4, "mpi");
}

/// A mode of `crossing.c` in two halves, on one way: ready, a checkpoint, killed and restarted; then all must be as it
/// should be. The events of both lives.
fn crossing(mode: &str, threads: usize, way: &str) -> [Vec<String>; 2] {
    let scratch = Scratch::new(&format!("plugin-{mode}-{way}"));
    let app = program("crossing", "crossing", &[STACK_PROTECTORS]);
    let halves = half_libraries();
    let half = halves.join("half.so").display().to_string();
    let (go, count) = (scratch.file("go"), threads.to_string());
    let args: [&Path; 5] = [&app, mode.as_ref(), &go, &halves, count.as_ref()];
    let args = args.map(|a| a.to_str().expect("a path"));
    let list = format!("one={half},two={half}");
    let env = [("SPLITPROC_LH", list.as_str()), ("SPLITPROC_CROSSING", way)];
    let mut life = Life::launch(&scratch, 0, API_4, &env, &args);
    life.job.must_reach(1);
    let (_, life) = life.restarted(1);
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(
        text(&life.job.finish().ok().stdout),
        "ok\n",
        "{mode}, {way}"
    );
    ["life-0", "life-1"].map(|life| trace(&scratch.file(life)))
}

#[test]
fn threads_that_call_lower_halves_on_the_shared_fs() {
    for (mode, threads) in [
        ("tls", 6),
        ("try", 8),
        ("idle", 8),
        ("signals", 4),
        ("callbacks", 6),
    ] {
        crossing(mode, threads, "shared");
    }
}

#[test]
fn threads_that_call_lower_halves_on_borrowed_tcbs() {
    for (mode, threads) in [("tls", 6), ("try", 8), ("signals", 4)] {
        crossing(mode, threads, "borrowed");
    }
}

/// DMTCP does not stop a thread that ends, but waits for it: the gate must not hold it.
#[test]
fn threads_that_end_while_a_checkpoint_begins() {
    crossing("short", 8, "shared");
}

/// The events that rank 0's plugins were told of, with their names.
fn trace(folder: &Path) -> Vec<String> {
    let file = std::fs::read(folder.join("trace-0")).expect("the trace");
    text(&file).lines().map(str::to_owned).collect()
}

#[test]
fn events_come_in_dmtcps_order() {
    let forward =
        |event: &str| ["splitproc", "host", "splitproc-launcher"].map(|p| format!("{event} {p}"));
    let back = |event: &str| {
        let mut all = forward(event);
        all.reverse();
        all
    };
    let [first, second] = crossing("tls", 3, "auto");
    let expected = [
        forward("INIT"),
        forward("RUNNING"),
        forward("PRESUSPEND"),
        forward("PRECHECKPOINT"),
        back("RESUME"),
        forward("RUNNING"),
    ];
    assert_eq!(first, expected.concat());
    let expected = [back("RESTART"), forward("RUNNING"), back("EXIT")];
    assert_eq!(second, expected.concat());
}

#[test]
fn a_program_that_wants_the_hosts_signal_does_not_get_it() {
    let scratch = Scratch::new("plugin-signal");
    let app = program("takes_signal", "takes_signal", &[]);
    let go = scratch.file("go");
    let app = [&app, &go].map(|p| p.to_str().expect("a path"));
    let mut life = Life::launch(&scratch, 0, API_4, &[("SPLITPROC_LH", "mpi")], &app);
    life.job.must_reach(1);
    let life = life.restarted(1).1;
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(text(&life.job.finish().ok().stdout), "ok\n");
}

#[test]
fn ranks_that_have_not_called_mpi_init() {
    let scratch = Scratch::new("plugin-early");
    let app = program("late_init", "late_init", &[]);
    let go = scratch.file("go");
    let app = [&app, &go, &go, &go].map(|p| p.to_str().expect("a path"));
    let mut life = Life::launch(&scratch, 2, API_4, &[], &app);
    for number in 1..3 {
        if number == 1 {
            life.job.must_reach(2);
        }
        life = life.restarted(number).1;
    }
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(text(&life.job.finish().ok().stdout), "sum 1\nsum 1\n");
}

/// MPI_Init can't be left before all ranks have called it: the checkpoint waits, and the program goes on.
#[test]
fn one_rank_in_mpi_init_while_another_has_not_called_it() {
    let scratch = Scratch::new("plugin-one-early");
    let app = program("late_init", "late_init", &[]);
    let (there, go, end) = (scratch.path(), scratch.file("go"), scratch.file("end"));
    let app = [&app, there, &go, &end].map(|p| p.to_str().expect("a path"));
    let mut life = Life::launch(&scratch, 2, API_4, &[], &app);
    life.job.must_reach(2);
    let late = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        std::fs::write(&go, "").expect("the go file");
    });
    let life = life.restarted(1).1;
    late.join().expect("the file is written");
    std::fs::write(&end, "").expect("the end file");
    life.job.finish().ok();
}

/// DMTCP's own thread, which prepares a checkpoint, can't make others, as it takes for windows.
#[test]
fn one_sided_operations() {
    let scratch = Scratch::new("plugin-windows");
    let (app, go) = (program("trap_rma", "trap_rma", &[]), scratch.file("go"));
    let app = [app.as_path(), "fences".as_ref(), go.as_path()].map(|a| a.to_str().expect("a path"));
    let mut life = Life::launch(&scratch, 2, API_4, &[], &app);
    life.job.must_reach(1);
    let life = life.restarted(1).1;
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(text(&life.job.finish().ok().stdout), "ok\n");
}

/// A thread that ends is not stopped, and its destructors may call MPI.
#[test]
fn destructors_that_call_mpi() {
    const ROUNDS: usize = 60;
    let scratch = Scratch::new("plugin-destructors");
    let app = program("destructors", "destructors", &["-pthread"]);
    let app = [app.to_str().expect("a path"), &ROUNDS.to_string()];
    let mut life = Life::launch(&scratch, 2, API_4, &[], &app);
    let mut random = Moments::new();
    for number in 1..4 {
        life.job.must_reach(random.pick(1, ROUNDS / 6));
        life = life.restarted(number).1;
    }
    let expected: String = (0..ROUNDS).map(|i| format!("2 {}\n", 4 * i)).collect();
    let done = life.job.finish().ok();
    assert!(
        expected.ends_with(&text(&done.stdout)),
        "{}",
        text(&done.stdout)
    );
}

/// Ranks that fork all the time, each waiting for its child and all for each other, while checkpoints are taken: no
/// fork comes at a wrong moment, and no child is stopped before its rank.
#[test]
fn ranks_that_have_children() {
    const ITERATIONS: usize = 40;
    let scratch = Scratch::new("plugin-children");
    let app = program("children", "children", &[]);
    let count = ITERATIONS.to_string();
    let app = [app.to_str().expect("a path"), &count, "plain"];
    let mut life = Life::launch(&scratch, 2, API_4, &[], &app);
    for checkpoints in 1..5 {
        life.job.must_reach(4 * checkpoints);
        life.checkpoint();
    }
    let done = life.job.finish().ok();
    let expected: String = (0..ITERATIONS).map(|i| format!("{i} 12\n")).collect();
    assert!(
        expected.ends_with(&text(&done.stdout)),
        "{}",
        text(&done.stdout)
    );
    assert_eq!(text(&done.stderr), "");
}

/// A later DMTCP may not have the functions that forks are known by.
#[test]
fn a_dmtcp_that_hides_its_forks_is_told_of() {
    let scratch = Scratch::new("plugin-hidden");
    let app = program("forks", "forks", &[]);
    let app = [app.to_str().expect("a path")];
    let life = Life::launch(&scratch, 0, "-DAPI=4 -DWITHOUT_LOCK", &[], &app);
    let done = life.job.finish().ok();
    assert_eq!(text(&done.stdout), "plain 3 calls 70\n");
    let told = text(&done.stderr)
        .matches("does not let a plugin see its forks")
        .count();
    assert_eq!(told, 1, "{}", text(&done.stderr));
}

/// A program under a host, which is refused with DMTCP's code.
fn refused(plugins: &[PathBuf], flags: &[&str], halves: &str, words: &[&str]) {
    let scratch = Scratch::new("plugin-refused");
    let mut command = preloaded(plugins, &host(flags), &scratch.file("life-0"));
    command.arg("true").env("SPLITPROC_LH", halves);
    let done = run(&scratch, command);
    assert_eq!(done.status.code(), Some(99), "{}", text(&done.stderr));
    done.fails_with(words);
}

#[test]
fn another_plugin_interface_is_refused() {
    let words = ["another plugin api", "use one of these"];
    refused(&plugin(), &["-DAPI=5"], "", &words);
    let words = ["no dmtcp_register_plugin", "use dmtcp 4.2 or 5.0"];
    refused(&plugin(), &[API_4, "-DWITHOUT_REGISTER"], "", &words);
}

/// The program goes on, and stderr says why there is no checkpoint.
#[test]
fn a_dmtcp_without_a_key_value_store_is_told_of() {
    let scratch = Scratch::new("plugin-store");
    let app = program("late_init", "late_init", &[]);
    let (there, end) = (scratch.path(), scratch.file("end"));
    let app = [&app, there, there, &end].map(|p| p.to_str().expect("a path"));
    let mut life = Life::launch(&scratch, 1, "-DAPI=4 -DWITHOUT_STORE", &[], &app);
    life.job.must_reach(2);
    let socket = life.folder.join("run-0");
    let mut host = wait_for("the host to listen", LIMIT, || connect(&socket));
    host.write_all(b"c").expect("the host takes requests");
    wait_for("the reason", LIMIT, || {
        let words = "the checkpoint waits: this DMTCP has no key-value store";
        text(&life.job.stderr()).contains(words).then_some(())
    });
    std::fs::write(&end, "").expect("the end file");
    life.job.finish().ok();
}

#[test]
fn a_plugin_that_is_loaded_twice_is_refused() {
    let other = half_libraries().join("libsplitproc.so");
    std::fs::copy(bin("libsplitproc.so"), &other).expect("a copy");
    let twice = [plugin(), vec![other]].concat();
    let words = ["loaded twice", "bin/libsplitproc.so", "--with-plugin"];
    refused(&twice, &[API_4], "", &words);
}

#[test]
fn a_plugin_without_its_programs_beside_it_is_refused() {
    let alone = half_libraries().join("alone");
    std::fs::create_dir_all(&alone).expect("a folder");
    let alone = alone.join("libsplitproc.so");
    std::fs::copy(bin("libsplitproc.so"), &alone).expect("a copy");
    let words = ["is not there", "beside it"];
    refused(std::slice::from_ref(&alone), &[API_4], "mpi", &words);
    refused(&[alone], &[API_4], "x=libm.so.6", &words);
}
