//! Memory that the program maps itself, on one CPU device and on two, which reach each other's.

use tests::{cpu, cuda_program, survives, Job, Scratch};

/// The number of devices is this process's, so there is one test here.
#[test]
fn own_mappings_and_several_devices_go_on_after_restarts() {
    for devices in ["1", "2"] {
        let scratch = Scratch::new(&format!("cuda-devices-{devices}"));
        std::env::set_var("SPLITPROC_CPU_DEVICES", devices);
        survives(&scratch, 0, &cuda_program("cuda_vmm"), &["40", "40"]);
    }
    // What has used two devices is not restarted on one, and is restarted on two later.
    let scratch = Scratch::new("cuda-devices-less");
    let mut job = Job::launch_with(&scratch, 0, &cpu(), &cuda_program("cuda_vmm"), ["40", "40"]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    std::env::set_var("SPLITPROC_CPU_DEVICES", "1");
    let refused = Job::restart(&scratch, 0).finish();
    refused.fails_with(&["2 CUDA devices", "this machine has 1"]);
    std::env::set_var("SPLITPROC_CPU_DEVICES", "2");
    Job::restart(&scratch, 0).finish().ok();
}
