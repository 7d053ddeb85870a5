//! Programs as the distribution ships them, that were built for Open MPI: launched over one MPI library, checkpointed, killed and
//! restarted over another. NetPIPE, which was built for MPICH, is in `mpi.rs`.

use std::path::Path;
use std::process::Command;
use tests::{
    mpirun_of, repo, run, splitproc, text, wait_for, Case, Job, Moments, Mpi, Scratch, LIMIT,
};

/// A solver in Python, by conjugate gradients.
#[test]
fn mpi4py() {
    let module = Path::new("/usr/lib/python3/dist-packages/mpi4py");
    assert!(
        module.exists(),
        "mpi4py is not there: apt install python3-mpi4py"
    );
    let scratch = Scratch::new("mpi4py");
    let app = repo().join("tests/c/solver.py");
    let case = Case::steps_of(Mpi::OpenMpi, &scratch, 2, &app);
    case.across(&scratch, &[Mpi::Mpich, Mpi::OpenMpi, Mpi::Mpich]);
}

/// Fortran's library of Open MPI may be opened after that of C.
#[test]
fn fortran_beside_mpi4py() {
    let scratch = Scratch::new("late");
    let mut command = splitproc(["launch", "--mpi", "mpich", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--");
    command.arg(repo().join("tests/c/late.py"));
    assert_eq!(text(&run(&scratch, command).ok().stdout), "ok\n");
}

/// LAMMPS's thermodynamic state, as it prints it every so many steps: lines of numbers only.
fn states(output: &[u8]) -> Vec<String> {
    let numbers = |l: &&str| {
        let mut fields = l.split_whitespace().peekable();
        fields.peek().is_some() && fields.all(|f| f.parse::<f64>().is_ok())
    };
    // The last line may not be whole yet.
    let output = text(output);
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter(numbers).map(str::to_owned).collect()
}

/// Debian's LAMMPS: what it prints but for times, its trajectories and its last state are those of a native run.
#[test]
fn lammps() {
    let lmp = Path::new("/usr/bin/lmp");
    assert!(lmp.exists(), "lmp is not there: apt install lammps");
    let scratch = Scratch::new("lammps");
    let input = repo().join("tests/c/in.melt").display().to_string();
    let arguments =
        |out: &str| ["-log", "none", "-in", &input, "-var", "out", out].map(String::from);
    let mut native = Command::new(lmp);
    native.args(arguments("native")).current_dir(scratch.path());
    let expected = states(
        &run(&scratch, mpirun_of(Mpi::OpenMpi, 2, native))
            .ok()
            .stdout,
    );
    assert!(expected.len() > 100, "{expected:?}");

    let first = Moments::new().pick(1, expected.len() / 4);
    let to_there = |job: &mut Job| {
        wait_for("some states", LIMIT, || {
            assert!(!job.ended(), "{}", text(&job.stderr()));
            (states(&job.stdout()).len() >= first).then_some(())
        });
    };
    let mut job = Job::launch_over(&scratch, (Mpi::OpenMpi, 2), lmp, arguments("ours"));
    to_there(&mut job);
    job.checkpoint(&scratch);
    assert!(expected.starts_with(&states(&job.kill())));
    let mut job = Job::restart_over(&scratch, Mpi::Mpich, 2);
    to_there(&mut job);
    job.checkpoint_once_up(&scratch);
    job.kill();
    let done = Job::restart_over(&scratch, Mpi::OpenMpi, 2).finish().ok();
    let last = states(&done.stdout);
    assert!(!last.is_empty() && last.len() < expected.len() - first && expected.ends_with(&last));
    for what in ["dump", "data"] {
        let of = |who: &str| std::fs::read(scratch.file(format!("{who}.{what}"))).expect(what);
        assert!(of("ours") == of("native"), "{what}: not the same bytes");
    }
}
