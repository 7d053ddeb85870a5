//! What is said to the launcher of an MPI job.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};
use std::{fs::File, io::Write, os::fd::FromRawFd};

/// The launcher takes what a rank wrote to stderr within this.
const READING: Duration = Duration::from_secs(2);

/// Tells the launcher to end the other ranks too, and with which code: when a rank just exits, the others may wait
/// in MPI_Init for ever, or be killed before they give a code of their own. `pause` goes by before that, once the
/// launcher has read this rank's last words: it forgets what it has not passed on. False: nobody was told.
///
/// PMI-1's `abort` on the inherited descriptor; other launchers end a job whose rank exits with an error.
pub fn abort_job(code: i32, pause: Duration) -> bool {
    let fd = std::env::var("PMI_FD").ok().and_then(|fd| fd.parse().ok());
    let Some(fd) = fd else { return false };
    let deadline = Instant::now() + READING;
    while unread(libc::STDERR_FILENO) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(pause);
    // SAFETY: the launcher gave us the descriptor; a closed one gives an error. Not closed here.
    let mut launcher = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let order = format!("cmd=abort exitcode={code}\n");
    launcher.write_all(order.as_bytes()).is_ok()
}

/// Bytes in a pipe that its reader has not taken; 0 for anything else.
fn unread(fd: i32) -> i32 {
    let mut unread = 0;
    // SAFETY: both calls write to live variables of the type that they expect.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO {
            libc::ioctl(fd, libc::FIONREAD, &mut unread);
        }
    }
    unread
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn only_what_waits_in_a_pipe_counts() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(unread(writer.as_raw_fd()), 0);
        writer.write_all(b"last words").unwrap();
        assert_eq!(unread(writer.as_raw_fd()), 10);
        drop(reader);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"last words").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(unread(file.as_raw_fd()), 0);
    }
}
