//! States that a checkpoint can find an MPI program in (`tests/c/traps.c`), one by one: the program
//! must go on from each of them, both in its own process and after a restart.

use std::path::PathBuf;
use tests::{program, text, Job, Scratch};

fn trap(name: &str, ranks: usize) {
    let app: PathBuf = program("traps", "traps", &[]);
    for restart in [false, true] {
        let scratch = Scratch::new(&format!("trap-{name}-{ranks}"));
        let go = scratch.file("go");
        let mut job = Job::launch(&scratch, ranks, &app, [name.as_ref(), go.as_os_str()]);
        job.must_reach(1);
        job.checkpoint(&scratch);
        if restart {
            job.kill();
            std::fs::write(&go, "").expect("the go file");
            let done = Job::restart(&scratch, ranks).finish().ok();
            assert_eq!(text(&done.stdout), "ok\n", "after a restart");
        } else {
            std::fs::write(&go, "").expect("the go file");
            let done = job.finish().ok();
            assert_eq!(text(&done.stdout), "ready\nok\n", "going on");
        }
    }
}

macro_rules! traps {
    ($($name:ident $trap:literal;)*) => {
        $(#[test]
        fn $name() {
            trap($trap, 2);
        })*
    };
}

traps! {
    a_message_in_flight "in_flight";
    a_probe_finds_a_drained_message "probe";
    a_receive_posted_before_and_matched_after "posted";
    wildcards_keep_the_order_of_messages "order";
    an_8_mib_send_and_a_barrier_pending "large";
    communicators_over_one_group_do_not_mix "communicators";
    a_non_contiguous_message_and_a_freed_datatype "datatypes";
    a_non_blocking_collective_in_flight "icollective";
    persistent_requests_started_and_not "persistent";
    topology_operator_attribute_error_handler "objects";
    the_others_wait_in_a_barrier "busy_barrier";
    the_others_wait_in_an_allreduce "busy_allreduce";
    the_others_wait_in_a_receive "busy_recv";
    the_others_wait_for_a_request "busy_wait";
    a_thread_that_talks_all_the_time "multiple";
}

#[test]
fn three_ranks_in_flight() {
    trap("in_flight", 3);
}

#[test]
fn three_ranks_with_two_of_them_in_a_barrier() {
    trap("busy_barrier", 3);
}
