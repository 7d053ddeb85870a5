//! What a process holds besides memory (`tests/c/state.c`): each kind comes back from a restart, or
//! its checkpoint is refused with the reason and the program goes on. Never is anything lost silently.

use tests::{program, text, Job, Scratch};

use Promise::{OrRefused, Restored};

/// What is promised for a kind.
#[derive(PartialEq)]
enum Promise {
    /// A restart brings it back.
    Restored,
    /// A restart brings it back, or the checkpoint is refused with one of these words.
    OrRefused(&'static [&'static str]),
}

fn kind(name: &str, promise: Promise) {
    let scratch = Scratch::new(&format!("state-{name}"));
    let app = program("state", "state", &[]);
    let go = scratch.file("go");
    let mut job = Job::launch(&scratch, 0, &app, [name.as_ref(), go.as_os_str()]);
    job.must_reach(1);
    let asked = job.try_checkpoint(&scratch);
    if !asked.status.success() {
        let why = text(&asked.stderr);
        let Promise::OrRefused(words) = promise else {
            panic!("refused: {why}")
        };
        assert!(
            words.iter().any(|w| why.contains(w)),
            "the resource is not named: {why}"
        );
        std::fs::write(&go, "").expect("the go file");
        assert_eq!(text(&job.finish().ok().stdout), "ready\nok\n", "it goes on");
        println!("refused: {why}");
        return;
    }
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish().ok();
    assert_eq!(text(&done.stdout), "ok\n", "after a restart");
}

macro_rules! kinds {
    ($($test:ident $name:literal $promise:expr;)*) => {
        $(#[test]
        fn $test() {
            kind($name, $promise);
        })*
    };
}

kinds! {
    files_their_offsets_and_flags "file" Restored;
    private_mappings_and_protections "mappings" Restored;
    an_alternate_stack_and_signal_actions "altstack" Restored;
    directory_umask_and_limits "limits" Restored;
    the_program_break "brk" Restored;
    threads_that_wait_and_their_ids "threads" Restored;
    clocks_and_whatever_goes_by_an_id "ids" Restored;
    a_pending_signal "pending" OrRefused(&["signal"]);
    a_pipe_with_contents "pipe" OrRefused(&["pipe"]);
    a_socketpair_with_contents "socketpair" OrRefused(&["socket"]);
    an_eventfd "eventfd" OrRefused(&["eventfd"]);
    an_epoll "epoll" OrRefused(&["epoll"]);
    a_deleted_file "deleted" OrRefused(&["deleted"]);
    a_memfd "memfd" OrRefused(&["memfd"]);
    shared_memory "shared" OrRefused(&["shared", "dev/zero"]);
    an_interval_timer "itimer" OrRefused(&["timer"]);
    a_timerfd "timerfd" OrRefused(&["timerfd"]);
}
