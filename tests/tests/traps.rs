//! States that a checkpoint can find an MPI program in (`tests/c/trap*.c`), one by one: the program must go on
//! from each of them, both in its own process and after a restart.

use std::path::{Path, PathBuf};
use tests::{mpirun, program, run, text, Job, Mpi, Scratch};

fn trap(source: &str, name: &str, ranks: usize) {
    let app: PathBuf = program(source, source, &[]);
    for restart in [false, true] {
        let scratch = Scratch::new(&format!("trap-{name}-{ranks}"));
        let job = trapped(&scratch, Mpi::Mpich, &app, name, ranks);
        if restart {
            job.kill();
            restarted(&scratch, Mpi::Mpich, ranks);
        } else {
            gone_on(&scratch, job);
        }
    }
}

/// The same over Open MPI, and from each MPI library to the other: the program goes on over `from`, and is restarted from
/// the same checkpoint over each of `to`.
fn trap_over(from: Mpi, to: &[Mpi], source: &str, name: &str, ranks: usize) {
    let app: PathBuf = program(source, source, &[]);
    let scratch = Scratch::new(&format!("trap-{name}-{ranks}-{from:?}"));
    let job = trapped(&scratch, from, &app, name, ranks);
    gone_on(&scratch, job);
    for mpi in to {
        forget_marks(&scratch);
        restarted(&scratch, *mpi, ranks);
    }
}

/// It runs into the trap over `from`, is killed after the checkpoint, and restarted over each of `to`.
fn trap_killed(from: Mpi, to: &[Mpi], source: &str, name: &str, ranks: usize) {
    let app: PathBuf = program(source, source, &[]);
    let scratch = Scratch::new(&format!("trap-{name}-{ranks}-{from:?}"));
    trapped(&scratch, from, &app, name, ranks).kill();
    for mpi in to {
        forget_marks(&scratch);
        restarted(&scratch, *mpi, ranks);
    }
}

/// What the program has told since the checkpoint, by files, is still to come.
fn forget_marks(scratch: &Scratch) {
    let files = std::fs::read_dir(scratch.path()).expect("the folder");
    for file in files.map(|f| f.expect("a file").path()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("go") {
            std::fs::remove_file(&file).expect("a file of the program's");
        }
    }
}

/// A job that has run into the trap, and a checkpoint of it.
fn trapped(scratch: &Scratch, mpi: Mpi, app: &Path, name: &str, ranks: usize) -> Job {
    let go = scratch.file("go");
    // What a restart's own environment has is not the program's.
    std::env::set_var("TRAP_VALUE", "before");
    let mut args = vec![name.as_ref(), go.as_os_str()];
    if ranks == 3 {
        args.push("multiple".as_ref());
    }
    let mut job = Job::launch_over(scratch, (mpi, ranks), app, args);
    job.must_reach(1);
    job.checkpoint(scratch);
    job
}

fn gone_on(scratch: &Scratch, job: Job) {
    std::fs::write(scratch.file("go"), "").expect("the go file");
    let done = job.finish().ok();
    assert_eq!(text(&done.stdout), "ready\nok\n", "going on");
}

fn restarted(scratch: &Scratch, mpi: Mpi, ranks: usize) {
    std::env::set_var("TRAP_VALUE", "after");
    std::fs::write(scratch.file("go"), "").expect("the go file");
    let done = Job::restart_over(scratch, mpi, ranks).finish().ok();
    assert_eq!(text(&done.stdout), "ok\n", "after a restart");
}

/// Traps over MPICH.
macro_rules! traps {
    ($source:literal $ranks:literal: $($name:ident $trap:literal;)*) => {
        $(over_mpich! { $source $ranks $name $trap })*
    };
}

/// Traps over both MPI libraries.
macro_rules! traps_over_both {
    ($source:literal $ranks:literal: $($name:ident $trap:literal;)*) => { $(
        over_mpich! { $source $ranks $name $trap }
        over_open_mpi! { $source $ranks $name $trap }
    )* };
}

macro_rules! over_mpich {
    ($source:literal $ranks:literal $name:ident $trap:literal) => {
        #[test]
        fn $name() {
            trap($source, $trap, $ranks);
        }
    };
}

macro_rules! over_open_mpi {
    ($source:literal $ranks:literal $name:ident $trap:literal) => {
        mod $name {
            #[test]
            fn over_open_mpi() {
                use super::{trap_over, Mpi::*};
                trap_over(OpenMpi, &[OpenMpi, Mpich], $source, $trap, $ranks);
            }
        }
    };
}

/// Traps of which the ranks talk over TCP until they are killed. They do not end there, for natively too MPICH 4.0 now and
/// then does not come out of MPI_Finalize then.
macro_rules! traps_over_tcp {
    ($source:literal $ranks:literal: $($name:ident $trap:literal;)*) => { $(
        mod $name {
            use super::{trap_killed, Mpi::*};

            #[test]
            fn mpich_over_tcp() {
                trap_killed(MpichTcp, &[Mpich, OpenMpiTcp], $source, $trap, $ranks);
            }

            #[test]
            fn open_mpi_over_tcp() {
                trap_killed(OpenMpiTcp, &[OpenMpiTcp, Mpich], $source, $trap, $ranks);
            }
        }
    )* };
}

traps_over_tcp! { "trap_p2p" 2: large_messages_in_flight "buffered"; }

traps_over_both! { "traps" 2:
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

traps_over_both! { "traps" 3:
    three_ranks_in_flight "in_flight";
    three_ranks_with_two_of_them_in_a_barrier "busy_barrier";
}

traps_over_both! { "trap_p2p" 2:
    synchronous_sends_are_not_complete_before_they_are_matched "synchronous";
    a_rank_blocked_in_ssend "blocked_ssend";
    a_rank_blocked_in_a_large_send "blocked_send";
    nobody_as_source_and_destination "proc_null";
    buffered_sends_in_the_buffer "buffered";
    a_message_that_a_matched_probe_took "matched";
    completion_calls_over_requests_of_all_kinds "completion";
    a_wait_for_many_requests_half_of_them_complete "together";
    messages_to_addresses_that_a_datatype_has "bottom";
    messages_whose_statuses_nobody_wants "ignored";
    a_wait_for_receives_of_which_one_has_failed "failed";
    cancelled_and_freed_receives "cancelled";
    contents_that_fit_in_part_and_packed_ones "odd_sizes";
    ready_sends_to_receives_posted_before "ready";
}

traps_over_both! { "trap_p2p" 3: two_waits_for_receives_of_which_one_has_failed "failed"; }

traps_over_both! { "trap_look" 2:
    receives_that_are_tested_again_and_again "tested";
    messages_that_are_looked_for_again_and_again "probed";
    the_others_test_and_look "busy";
}

traps_over_both! { "trap_alike" 2:
    the_others_wait_for_receives_of_one_kind "windows";
    the_others_wait_for_receives_of_one_kind_with_statuses "statuses";
    receives_of_one_kind_of_which_one_has_failed "failed";
    receives_that_are_tested_without_statuses "tested";
    receives_of_one_kind_and_of_others "mixed";
    the_others_wait_for_receives_of_several_kinds "owed";
    the_others_wait_for_receives_in_another_order "turned";
}

traps_over_both! { "trap_alike" 3: threads_wait_for_receives_of_one_kind "windows"; }

traps_over_both! { "trap_coll" 2:
    the_others_wait_for_all_requests "busy_waitall";
    the_others_wait_for_any_request "busy_waitany";
    the_others_wait_for_some_requests "busy_waitsome";
    the_others_wait_in_probes "busy_probe";
    the_others_wait_in_an_allreduce_with_their_own_operator "busy_user_op";
    collectives_pending_on_freed_objects "pending";
    collectives_in_place "in_place";
    the_root_waits_in_a_reduction_in_place "busy_reduce_in_place";
    a_duplication_in_flight "idup";
    threads_in_calls_of_many_kinds "threads";
}

traps_over_both! { "trap_coll" 3:
    the_others_wait_in_an_allreduce_in_place "busy_allreduce_in_place";
    the_others_wait_in_a_scan_in_place "busy_scan_in_place";
    intercommunicators_and_groups "intercomm";
    a_communicator_that_the_others_have_freed "freed_elsewhere";
    communicators_made_by_threads_in_different_orders "makers";
}

traps_over_both! { "trap_objects" 2:
    attributes_and_their_functions "attributes";
    topologies_and_their_collectives "topologies";
    derived_types_and_what_they_were_made_of "types";
    handlers_info_and_handles_after_their_end "handles";
    arguments_and_environment "environment";
    what_the_library_has_told_of_itself "told";
    many_operators "operators";
    hints_of_communicators "hints";
    error_codes_deleted_and_added_again "deleted";
}

traps_over_both! { "trap_bounds" 2: datatypes_whose_bounds_are_the_librarys "bounds"; }

traps_over_both! { "trap_rma" 2: operations_between_fences "fences"; }
over_mpich! { "trap_rma" 2 the_others_wait_in_a_fence "busy_fence" }
over_mpich! { "trap_rma" 2 the_others_wait_for_post_and_complete "busy_pscw" }
over_mpich! { "trap_rma" 2 one_rank_accesses_others_that_do_something_else "alone" }
over_mpich! { "trap_rma" 2 a_lock_that_the_others_wait_for "wanted_lock" }
over_mpich! { "trap_rma" 2 counters_under_locks_of_both_kinds "contention" }
traps_over_both! { "trap_rma" 2: one_sided_operations_with_requests "requests"; }
over_mpich! { "trap_rma" 2 datatypes_of_the_programs_own_at_the_target "derived" }
traps_over_both! { "trap_rma" 2: values_got_and_added_to_by_derived_datatypes "got"; }
traps_over_both! { "trap_rma" 2: several_values_with_their_places_at_once "places"; }
traps_over_both! { "trap_rma" 2: memory_attached_to_a_window "dynamic"; }
over_mpich! { "trap_rma" 2 memory_shared_in_pages "shared_apart" }
over_mpich! { "trap_rma" 2 memory_shared_without_a_call "shared_loop" }
traps_over_both! { "trap_rma" 2: what_a_window_knows_of_itself "objects"; }
over_mpich! { "trap_rma" 2 threads_in_one_sided_operations "threads" }
over_mpich! { "trap_rma" 3 accesses_to_all_others_exposed "pscw" }
over_mpich! { "trap_rma" 2 exclusive_locks_held_all_round "locks" }
over_mpich! { "trap_rma" 3 everything_locked_by_everybody "lock_all" }
over_mpich! { "trap_rma" 3 memory_shared_in_one_piece "shared" }
over_mpich! { "trap_rma" 3 windows_that_not_all_have_made_or_freed "made_late" }
over_mpich! { "trap_rma" 3 windows_of_some_ranks_in_another_order "some_ranks" }

over_open_mpi! { "trap_rma" 2 accesses_to_all_others_exposed "pscw" }
over_open_mpi! { "trap_rma" 2 everything_locked_by_everybody "lock_all" }
over_open_mpi! { "trap_rma" 2 memory_shared_in_one_piece "shared" }
over_open_mpi! { "trap_rma" 2 windows_of_some_ranks_in_another_order "some_ranks" }

over_mpich! { "trap_mpi4" 2 persistent_collectives_started_and_not "persistent" }
traps_over_both! { "trap_mpi4" 2: collectives_with_arrays_of_datatypes_that_a_restart_begins_anew "arrays"; }
over_mpich! { "traps" 2 what_is_complete_at_once_comes_before_what_has_come "any" }
over_mpich! { "trap_mpi4" 2 counts_of_64_bits "large" }
over_mpich! { "trap_mpi4" 2 partitioned_messages_half_ready "partitioned" }
over_mpich! { "trap_mpi4" 2 both_directions_in_a_request_and_a_communicators_buffer "combined" }
over_mpich! { "trap_mpi4" 2 a_session_without_init "session" }
over_mpich! { "trap_coll" 2 a_broadcast_on_a_communicator_that_its_root_has_freed "freed" }
over_mpich! { "trap_coll" 2 the_others_wait_for_a_member_of_a_group "busy_group" }
over_mpich! { "trap_coll" 2 a_root_that_leaves_a_scatter_as_the_checkpoint_comes "scatter" }
traps_over_both! { "trap_coll" 2: collectives_that_are_refused_as_the_checkpoint_comes "refused"; }
over_mpich! { "trap_mpi4" 2 communicators_by_names_in_another_order "names" }
over_mpich! { "trap_mpi4" 2 control_variables_that_the_program_has_set "tool" }

over_mpich! { "trap_mpi4" 3 persistent_collectives_of_three_ranks "persistent" }
over_mpich! { "trap_mpi4" 3 three_ranks_with_arrays_of_datatypes "arrays" }

/// Waits that a restart began anew, and that the next checkpoint meets.
#[test]
fn waits_are_saved_again_after_a_restart() {
    let app = program("traps", "traps", &[]);
    let scratch = Scratch::new("trap-waits-again");
    trapped(&scratch, Mpi::Mpich, &app, "busy_wait", 3).kill();
    let mut again = Job::restart_over(&scratch, Mpi::Mpich, 3);
    again.checkpoint_once_up(&scratch);
    again.kill();
    restarted(&scratch, Mpi::Mpich, 3);
}

/// Three ranks share 16 MiB, of which each of the first two has 8: no image has more than these.
#[test]
fn memory_that_ranks_share_is_in_one_image() {
    let app: PathBuf = program("trap_rma", "trap_rma", &[]);
    let scratch = Scratch::new("shared-once");
    trapped(&scratch, Mpi::Mpich, &app, "shared_once", 3).kill();
    for (rank, most) in [(0, 12), (1, 12), (2, 4)] {
        let image = format!("gen-0001/rank-{rank:04}.img");
        let found = std::fs::metadata(scratch.ckpt().join(&image)).expect(&image);
        assert!(found.len() >> 20 < most, "{image}: {} bytes", found.len());
    }
    restarted(&scratch, Mpi::Mpich, 3);
}

/// What a restart makes anew, in the library that had not made it before.
#[test]
fn from_mpich_to_open_mpi() {
    let all = [
        ("traps", 2, "persistent"),
        ("traps", 2, "objects"),
        ("trap_p2p", 2, "buffered"),
        ("trap_coll", 2, "pending"),
        ("trap_coll", 2, "idup"),
        ("trap_coll", 3, "intercomm"),
        ("trap_objects", 2, "topologies"),
        ("trap_objects", 2, "types"),
        ("trap_bounds", 2, "bounds"),
        ("trap_objects", 2, "told"),
        ("trap_rma", 2, "requests"),
        ("trap_rma", 2, "got"),
        ("trap_rma", 2, "shared"),
    ];
    for (source, ranks, name) in all {
        trap_over(Mpi::Mpich, &[Mpi::OpenMpi], source, name, ranks);
    }
}

/// Open MPI 4.1 takes the data of some datatypes from elsewhere than MPI says.
#[test]
fn a_datatype_that_the_other_library_has_elsewhere_is_refused() {
    let app = program("trap_bounds", "trap_bounds", &[]);
    let scratch = Scratch::new("trap-backwards");
    trapped(&scratch, Mpi::Mpich, &app, "backwards", 2).kill();
    let words = [
        "datatype 'backwards'",
        "2 bytes from 0 to 2, not 2 bytes from -1 to 1",
    ];
    let job = Job::restart_over(&scratch, Mpi::OpenMpi, 2);
    job.finish().fails_with(&words);
}

traps! { "trap_io" 2:
    files_at_explicit_offsets_in_another_directory "offsets";
    files_and_each_ranks_own_positions "pointers";
    files_with_requests_in_flight "in_flight";
    files_between_the_halves_of_a_split_collective "split";
    the_others_wait_to_write_in_order "busy_write";
    the_others_wait_to_open_a_file "busy_open";
    the_others_wait_to_close_a_file "busy_close";
}

traps_over_both! { "trap_io" 2:
    files_seen_through_derived_types "views";
    files_errors_and_their_handlers "errors";
    a_message_that_comes_after_a_collective_write "beside";
}

traps_over_both! { "trap_io" 3:
    three_ranks_with_file_requests_in_flight "in_flight";
    files_and_the_position_that_all_ranks_share "shared";
}

// Closing deletes a file here: there is one restart in it.
over_mpich! { "trap_io" 2 files_modes_sizes_and_hints "state" }

/// A position that MPICH tells wrong would be a wrong one after a restart.
#[test]
fn a_view_in_which_positions_are_wrong_is_refused() {
    let app = program("trap_io", "trap_io", &[]);
    let scratch = Scratch::new("trap-io-odd");
    let go = scratch.file("go");
    let mut job = Job::launch(&scratch, 1, &app, ["odd".as_ref(), go.as_os_str()]);
    job.must_reach(1);
    let words = ["odd: ", "data before its lower bound", "close the file"];
    job.try_checkpoint(&scratch).fails_with(&words);
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ready\nok\n");
}

/// A file that has lost what was in it, or is gone, is named, and the program does not go on.
#[test]
fn a_file_that_is_shorter_or_gone_ends_the_restart() {
    let app = program("trap_io", "trap_io", &[]);
    let scratch = Scratch::new("trap-io-truncated");
    let go = scratch.file("go");
    let mut job = Job::launch(&scratch, 2, &app, ["offsets".as_ref(), go.as_os_str()]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let data = scratch.file("data");
    let whole = std::fs::read(&data).expect("the program's file");
    std::fs::write(&data, &whole[..100]).expect("the program's file");
    let name = text(data.as_os_str().as_encoded_bytes());
    let words = [
        &name,
        "is shorter than at the checkpoint: 100 bytes, not 8000",
    ];
    Job::restart(&scratch, 2).finish().fails_with(&words);
    std::fs::remove_file(&data).expect("the program's file");
    let words = [&name, "can't be opened again: No such file"];
    Job::restart(&scratch, 2).finish().fails_with(&words);
    // What is new stays: it is longer than it was.
    std::fs::write(&data, [&whole[..], b"more"].concat()).expect("the program's file");
    let done = Job::restart(&scratch, 2).finish().ok();
    assert_eq!(text(&done.stdout), "ok\n");
    let words = "has grown since the checkpoint, from 8000 to 8004 bytes";
    assert!(text(&done.stderr).contains(words), "{}", text(&done.stderr));
}

/// Requests of files over Open MPI, whose own (4.1) crash under a second thread, which the cut's helper is, and in MPI_Waitall.
#[test]
fn requests_of_files_under_checkpoint_after_checkpoint() {
    let app = program("io_storm", "io_storm", &[]);
    let scratch = Scratch::new("io-storm");
    let mut job = Job::launch_over(&scratch, (Mpi::OpenMpi, 2), &app, ["data", "go"]);
    job.must_reach(1);
    for _ in 0..10 {
        job.checkpoint(&scratch);
    }
    std::fs::write(scratch.file("go"), "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ready\nok\n");
}

/// Traffic of many kinds, with one checkpoint after the other until it ends.
fn storm(ranks: usize, rounds: &str) {
    let app = program("storm", "storm", &[]);
    let scratch = Scratch::new(&format!("storm-{ranks}"));
    let sorted = |out: &[u8]| {
        let mut lines: Vec<String> = text(out).lines().map(String::from).collect();
        lines.sort();
        lines
    };
    let mut native = std::process::Command::new(&app);
    native.arg(rounds);
    let expected = sorted(&run(&scratch, mpirun(ranks, native)).ok().stdout);
    let mut job = Job::launch(&scratch, ranks, &app, [rounds]);
    job.must_reach(1);
    let mut taken = 0;
    loop {
        let done = job.try_checkpoint(&scratch);
        if !done.status.success() {
            break;
        }
        taken += 1;
    }
    let done = job.finish().ok();
    assert_eq!(sorted(&done.stdout), expected, "after {taken} checkpoints");
    assert!(taken > 1, "{taken} checkpoints");
    assert!(
        !text(&done.stderr).contains(": ask again when"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn a_storm_on_2_ranks_under_checkpoint_after_checkpoint() {
    storm(2, "20000");
}

#[test]
fn a_storm_on_4_ranks_under_checkpoint_after_checkpoint() {
    storm(4, "200");
}
