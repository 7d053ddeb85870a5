//! Checkpoints that are refused for a rank that does not come to a collective (`tests/c/late.c`): the rank, the collective
//! and the communicator are named as the program knows them, and what is to be done, when `--timeout` is over. Then the
//! program goes on.

use tests::{program, text, Job, Mpi, Scratch};

fn refused(trap: &str, words: &[&str]) {
    refused_over((Mpi::Mpich, 3), trap, words);
}

fn refused_over(by: (Mpi, usize), trap: &str, words: &[&str]) {
    let app = program("late", "late", &[]);
    let scratch = Scratch::new(&format!("late-{trap}-{:?}", by.0));
    let go = scratch.file("go");
    let options = ["--timeout", "8"].map(String::from);
    let args = [trap.as_ref(), go.as_os_str()];
    let mut job = Job::launch_over_with(&scratch, by, &options, &app, args);
    job.must_reach(1);
    job.try_checkpoint(&scratch).fails_with(words);
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ready\nok\n");
}

#[test]
fn a_rank_that_does_not_come() {
    refused(
        "one_is_late",
        &["rank 1 has not come to MPI_Gather on \"the halo\", where rank 0 waits: ask again when it has"],
    );
}

#[test]
fn a_reduction_that_only_the_program_carries_on() {
    refused(
        "nobody_carries_it_on",
        &[
            "MPI_Iallreduce with an operator of the program's on MPI_COMM_WORLD is under way on ranks 0, 1 and 2",
            "have it call MPI_Test",
        ],
    );
}

#[test]
fn a_root_that_computes_with_its_own_operator() {
    refused(
        "root_computes",
        &["MPI_Reduce on MPI_COMM_WORLD is under way on rank 0: ask again when it is complete"],
    );
}

#[test]
fn a_rank_that_computes_with_its_own_operator() {
    refused(
        "one_computes",
        &["rank 0 computes with an operator of the program's in MPI_Reduce_local"],
    );
}

/// What another rank would have to receive of it needs its library, in which nobody is let.
#[test]
fn a_rank_that_computes_with_its_own_operator_and_has_sent_much() {
    for mpi in [Mpi::MpichTcp, Mpi::OpenMpiTcp] {
        refused_over(
            (mpi, 2),
            "one_computes_and_sends",
            &["rank 0 computes with an operator of the program's in MPI_Reduce_local"],
        );
    }
}
