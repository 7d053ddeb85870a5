//! What a process holds besides memory (`tests/c/state.c`, `kernel.c`, `refused.c`): each kind comes back from a
//! restart, or its checkpoint is refused by name and the program goes on. Never is anything lost silently.

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};
use tests::{program, splitproc, text, Job, Scratch};

/// A program that holds a thing of this kind, at its checkpoint.
fn start(source: &str, name: &str) -> (Scratch, Job) {
    let scratch = Scratch::new(&format!("state-{name}"));
    let app = program(source, source, &["-lrt"]);
    let go = scratch.file("go");
    let mut job = Job::launch(&scratch, 0, &app, [name.as_ref(), go.as_os_str()]);
    job.must_reach(1);
    (scratch, job)
}

/// A restart brings it back.
fn restored(source: &str, name: &str) {
    let (scratch, mut job) = start(source, name);
    job.checkpoint(&scratch);
    job.kill();
    // Twice: what is saved of a restarted process is as good.
    let mut job = Job::restart(&scratch, 0);
    job.checkpoint_once_up(&scratch);
    job.kill();
    std::fs::write(scratch.file("go"), "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish().ok();
    assert_eq!(text(&done.stdout), "ok\n", "after a restart");
}

/// The checkpoint is refused, with these words, and the program goes on.
fn refused(source: &str, name: &str, words: &[&str]) {
    let (scratch, mut job) = start(source, name);
    // Twice: that it was looked at must not hide it.
    for _ in 0..2 {
        job.try_checkpoint(&scratch).fails_with(words);
    }
    std::fs::write(scratch.file("go"), "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ready\nok\n", "it goes on");
}

macro_rules! restored {
    ($($test:ident $source:literal $name:literal;)*) => {
        $(#[test]
        fn $test() {
            restored($source, $name);
        })*
    };
}

macro_rules! refused {
    ($($test:ident $source:literal $name:literal $words:expr;)*) => {
        $(#[test]
        fn $test() {
            refused($source, $name, &$words);
        })*
    };
}

restored! {
    files_their_offsets_and_flags "state" "file";
    private_mappings_and_protections "state" "mappings";
    an_alternate_stack_and_signal_actions "state" "altstack";
    directory_umask_and_limits "state" "limits";
    the_program_break "state" "brk";
    threads_that_wait_and_their_ids "state" "threads";
    clocks_and_whatever_goes_by_an_id "state" "ids";
    a_command_line "kernel" "command-line";
    all_descriptors_are_closed "room" "closed";
    guard_regions "room" "guards";
    code_on_the_stack "room" "nested";
    a_stack_that_grows_with_its_limit "room" "stack";
    address_space_by_the_tib "room" "addresses";
    a_child_with_the_number_of_a_thread "room" "child";
    a_pending_signal "state" "pending";
    a_pipe_with_contents "state" "pipe";
    a_socketpair_with_contents "state" "socketpair";
    an_eventfd "state" "eventfd";
    an_epoll "state" "epoll";
    copies_of_descriptors "kernel" "copies";
    a_deleted_file "state" "deleted";
    files_without_names "state" "nameless";
    mappings_that_may_more_than_descriptors "state" "weaker";
    closed_standard_streams "state" "closed";
    a_memfd "state" "memfd";
    shared_memory "state" "shared";
    an_interval_timer "state" "itimer";
    a_timerfd "state" "timerfd";
    signals_with_their_values "kernel" "queued";
    a_timer_that_signals "kernel" "timer-signal";
    a_timer_with_a_thread "kernel" "timer-thread";
    an_inotify_with_watches "kernel" "inotify";
    a_signalfd "kernel" "signalfd";
    an_open_directory_and_a_path "kernel" "directory";
    processors_policy_and_nice "kernel" "schedule";
    settings_of_prctl "kernel" "prctl";
    kinds_of_membarrier "kernel" "membarrier";
    locks_on_files "kernel" "locks";
    advice_about_memory "kernel" "advice";
    one_file_in_many_places "kernel" "aliases";
    a_listening_socket "kernel" "listening";
    messages_and_ends_of_streams "kernel" "pairs";
    vector_registers "kernel" "registers";
    threads_that_are_being_born "births" "births";
    threads_without_the_main_one "headless" "headless";
}

refused! {
    a_connected_tcp_socket "state" "tcp" ["connected TCP socket", "127.0.0.1"];
    a_held_robust_mutex "refused" "robust" ["robust mutex"];
    priority_inheritance "refused" "pi" ["priority-inheritance"];
    a_system_v_segment "refused" "sysv" ["System V"];
    a_message_queue "refused" "queue" ["fd", "kernel-"];
    a_child "refused" "child" ["child process", "refused"];
    a_userfaultfd "refused" "userfaultfd" ["userfaultfd"];
    an_io_uring "refused" "io_uring" ["fd"];
    an_aio_context "refused" "aio" ["asynchronous I/O"];
    a_device "refused" "device" ["/dev/kmsg"];
    a_seccomp_filter "refused" "seccomp" ["seccomp"];
    descriptors_in_a_socket "refused" "rights" ["descriptors"];
    an_empty_packet_in_a_socket "refused" "empty-packet" ["empty message"];
    an_empty_datagram_in_a_socket "refused" "empty-datagram" ["empty message"];
    an_epoll_of_a_closed_number "refused" "lost-watch" ["epoll"];
    a_named_pipe "refused" "fifo" ["fifo"];
    a_udp_socket "refused" "udp" ["UDP"];
    a_directory_that_is_gone "refused" "lost-directory" ["working directory"];
    a_file_under_another_name "refused" "other-name" ["one"];
    memory_shared_with_another_process "refused" "shared" ["shared with process"];
}

/// After a reboot, and after the program itself has gone on from the checkpoint and changed it.
#[test]
fn memory_that_has_a_name_is_as_it_was() {
    let (scratch, mut job) = start("room", "named");
    let name = scratch.file("go").display().to_string().replace('/', "-");
    let file = Path::new("/dev/shm").join(name);
    assert_eq!(std::fs::metadata(&file).expect("it has a name").len(), 8192);
    job.checkpoint(&scratch);
    job.kill();
    std::fs::write(&file, [b'?'; 8192]).expect("it is changed");
    let mut job = Job::restart(&scratch, 0);
    job.checkpoint_once_up(&scratch);
    job.kill();
    std::fs::remove_file(&file).expect("it is gone");
    std::fs::write(scratch.file("go"), "").expect("the go file");
    assert_eq!(
        text(&Job::restart(&scratch, 0).finish().ok().stdout),
        "ok\n"
    );
}

/// libc counts threads, and ends the process with the last one that it knows.
#[test]
fn the_last_thread_ends_the_process() {
    let (scratch, job) = start("headless", "headless");
    std::fs::write(scratch.file("go"), "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ready\nok\n");
}

#[test]
fn another_user() {
    // SAFETY: has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        refused("refused", "user", &["user"]);
    } else {
        println!("not run: only root can change its user");
    }
}

/// What was written after the checkpoint stays, and the restart says so, with both sizes.
#[test]
fn a_log_that_has_grown() {
    let (scratch, mut job) = start("state", "log");
    job.checkpoint(&scratch);
    job.kill();
    let log = scratch.file("log.txt");
    std::fs::write(&log, "before\nafter\n").expect("the log");
    let later = SystemTime::now() + Duration::from_secs(10);
    let file = std::fs::File::options().write(true).open(&log);
    file.and_then(|f| f.set_modified(later))
        .expect("the log's time");
    std::fs::write(scratch.file("go"), "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish().ok();
    let said = text(&done.stderr);
    assert!(
        said.contains("log.txt has grown") && said.contains("from 7 to 13 bytes"),
        "{said}"
    );
    let lines = std::fs::read_to_string(&log).expect("the log");
    assert_eq!(lines, "before\nafter\nagain\n");
}

/// Pages of a file that are not on the disk; `None` where the kernel does not tell (before Linux 6.5).
fn unwritten(file: &Path) -> Option<u64> {
    const CACHESTAT: libc::c_long = 451;
    let file = std::fs::File::open(file).expect("the file");
    let (all, mut counts) = ([0_u64; 2], [0_u64; 5]);
    // SAFETY: the kernel reads a range and writes five counts.
    let done = unsafe {
        let (range, to) = (all.as_ptr(), counts.as_mut_ptr());
        libc::syscall(CACHESTAT, file.as_raw_fd(), range, to, 0)
    };
    (done == 0).then_some(counts[1] + counts[2])
}

/// A restart after a power failure goes on where the files end that were written before.
#[test]
fn what_was_written_is_on_disk_with_the_image() {
    let (scratch, mut job) = start("kernel", "unsynced");
    let files = ["written.txt", "mapped.txt"].map(|name| scratch.file(name));
    let unwritten = || files.each_ref().map(|f| unwritten(f));
    if unwritten().iter().any(|n| n.unwrap_or(0) == 0) {
        println!("not run: the kernel does not tell, or the files are in memory");
        return;
    }
    job.checkpoint(&scratch);
    assert_eq!(unwritten(), [Some(0), Some(0)]);
}

/// Forbids the calling thread, and what it starts, to compare descriptors, as a container does.
fn forbid_kcmp() -> std::io::Result<()> {
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(jump, libc::SYS_kcmp as u32, 0, 1),
        step(give, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        step(give, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the kernel reads the filter.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// What the command starts is checkpointed, killed and restarted, and then finds all as it was.
#[track_caller]
fn survives(scratch: &Scratch, command: Command, go: &Path) {
    let mut job = Job::start(scratch, command);
    job.must_reach(1);
    job.checkpoint(scratch);
    job.kill();
    std::fs::write(go, "").expect("the go file");
    let done = Job::restart(scratch, 0).finish().ok();
    assert_eq!(text(&done.stdout), "ok\n");
}

/// Which descriptors are copies of which is found out by trial.
#[test]
fn copies_of_descriptors_in_a_container() {
    let scratch = Scratch::new("state-container");
    let (app, go) = (program("kernel", "kernel", &["-lrt"]), scratch.file("go"));
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(app);
    command.arg("copies").arg(&go).current_dir(scratch.path());
    // SAFETY: only makes system calls.
    unsafe { command.pre_exec(forbid_kcmp) };
    survives(&scratch, command, &go);
}

/// A command whose input is a pipe into which a shell writes this, and that then stays open.
fn with_input(scratch: &Scratch, input: &str, command: Command) -> Job {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "rm -f in; mkfifo -m 600 in; exec 3<>in; printf \"$0\" >&3; exec \"$@\" <&3",
    ]);
    shell.arg(input).arg(command.get_program());
    shell.args(command.get_args()).current_dir(scratch.path());
    Job::start(scratch, shell)
}

/// A file that is read as standard input goes on where it was, whatever the restart's is.
#[test]
fn a_file_that_is_read_as_standard_input() {
    let scratch = Scratch::new("state-input");
    std::fs::write(scratch.file("in"), "one\ntwo\n").expect("the input");
    let (app, go) = (program("state", "state", &["-lrt"]), scratch.file("go"));
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" <in", "sh"]);
    let command = splitproc(["launch", "--ckpt-dir"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.arg(scratch.ckpt()).arg("--").arg(app);
    shell.arg("input").arg(&go).current_dir(scratch.path());
    survives(&scratch, shell, &go);
}

/// What a pipe holds that the program has not read is in no image: that is said.
#[test]
fn input_in_a_pipe_that_is_not_read() {
    let scratch = Scratch::new("state-unread");
    let (app, go) = (program("state", "state", &["-lrt"]), scratch.file("go"));
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(app);
    command.arg("input").arg(&go);
    let mut job = with_input(&scratch, "one\ntwo\n", command);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.checkpoint(&scratch);
    let said = text(&job.stderr());
    assert_eq!(
        said.matches("has not read all of its standard input")
            .count(),
        1,
        "{said}"
    );
    job.kill();
}

/// A program that waits for input is restarted with another pipe, and other files for its output.
#[test]
fn the_standard_streams_are_those_of_the_restart() {
    let scratch = Scratch::new("state-streams");
    let script = "read first; echo \"out $first\"; read second; echo \"out $second\"; echo \"err $second\" >&2";
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).args(["--", "sh", "-c", script]);
    let mut job = with_input(&scratch, "one\n", command);
    job.must_reach(1);
    job.checkpoint(&scratch);
    assert_eq!(text(&job.kill()), "out one\n");
    let mut command = splitproc(["restart"]);
    command.arg(scratch.ckpt());
    let done = with_input(&scratch, "two\n", command).finish().ok();
    assert_eq!(
        (text(&done.stdout), text(&done.stderr)),
        ("out two\n".into(), "err two\n".into())
    );
}

/// What others see of a process: its command line, what `ps` makes of it, and its environment but for the test's mark.
fn shown(pid: i32) -> [String; 3] {
    let file = |name| text(&std::fs::read(format!("/proc/{pid}/{name}")).expect("a process"));
    let mut ps = Command::new("ps");
    let args = ps.args(["-ww", "-o", "args=", "-p", &pid.to_string()]);
    let environment = file("environ");
    let others = environment.split('\0').filter(|v| !v.starts_with("E2E_"));
    [
        file("cmdline"),
        text(&args.output().expect("ps").stdout),
        others.collect::<Vec<_>>().join("\n"),
    ]
}

#[test]
fn others_see_the_program_s_own_command_line() {
    let scratch = Scratch::new("state-shown");
    let app = program("state", "state", &["-lrt"]);
    let args = ["brk".into(), scratch.file("never")];
    let mut command = Command::new(&app);
    command.args(&args).current_dir(scratch.path());
    let mut native = Job::start(&scratch, command);
    native.must_reach(1);
    let expected = shown(native.pid());
    assert!(expected[1].contains("brk"), "{expected:?}");
    native.kill();
    let mut job = Job::launch(&scratch, 0, &app, args);
    job.must_reach(1);
    assert_eq!(shown(job.pid()), expected, "under launch");
    job.checkpoint(&scratch);
    job.kill();
    let job = Job::restart(&scratch, 0);
    tests::wait_for("the restarted program", tests::LIMIT, || {
        (shown(job.pid())[0] == expected[0]).then_some(())
    });
    assert_eq!(shown(job.pid()), expected, "after a restart");
}

/// A tracer would hold the threads that are stopped for a checkpoint.
#[test]
fn a_traced_program_is_refused_until_it_is_let_go() {
    let (scratch, mut job) = start("state", "mappings");
    let (pid, none) = (job.pid(), std::ptr::null_mut::<libc::c_void>());
    // SAFETY: tracing a child has no effect on this process's memory.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, none, none), 0);
        job.try_checkpoint(&scratch)
            .fails_with(&["traces the program"]);
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none), 0);
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, libc::__WALL), pid);
        assert!(libc::WIFSTOPPED(status));
        assert_eq!(libc::ptrace(libc::PTRACE_DETACH, pid, none, none), 0);
    }
    job.checkpoint(&scratch);
    std::fs::write(scratch.file("go"), "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ready\nok\n");
}
