//! Locks on files: `flock`, and `fcntl`'s record locks of the process or of the open file.

use super::info::Info;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;

/// How it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// `flock`.
    Whole,
    /// `F_SETLK`: the process's.
    Process,
    /// `F_OFD_SETLK`: the open file's.
    OpenFile,
}

/// A lock that the process holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    fd: RawFd,
    path: String,
    kind: Kind,
    write: bool,
    start: i64,
    /// 0: to the end of the file.
    len: i64,
}

impl Lock {
    /// The locks that a descriptor shows.
    pub fn of(info: &Info) -> Result<Vec<Self>> {
        info.values("lock")
            .filter(|line| !line.contains("->"))
            .map(|line| Self::parse(info, line))
            .collect()
    }

    /// `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`
    fn parse(info: &Info, line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, kind, _, how, _, _, start, end] = words[..] else {
            bail!("fd {}: its lock can't be read: {line}", info.fd);
        };
        let kind = match kind {
            "FLOCK" => Kind::Whole,
            "POSIX" => Kind::Process,
            "OFDLCK" => Kind::OpenFile,
            other => bail!(
                "fd {}: a {other} on {} can't be checkpointed; give it up first",
                info.fd,
                info.link.display()
            ),
        };
        let start: i64 = start.parse().context("a lock's start")?;
        let len = match end {
            "EOF" => 0,
            end => end.parse::<i64>().context("a lock's end")? - start + 1,
        };
        Ok(Lock {
            fd: info.fd,
            path: info.link.display().to_string(),
            kind,
            write: how == "WRITE",
            start,
            len,
        })
    }

    /// Takes it again.
    pub fn take(&self) -> Result<()> {
        let lock = libc::flock {
            l_type: (if self.write {
                libc::F_WRLCK
            } else {
                libc::F_RDLCK
            }) as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: self.start,
            l_len: self.len,
            l_pid: 0,
        };
        let whole = if self.write {
            libc::LOCK_EX
        } else {
            libc::LOCK_SH
        };
        // SAFETY: a descriptor of the program's; the kernel reads the lock.
        let result = unsafe {
            match self.kind {
                Kind::Whole => libc::flock(self.fd, whole | libc::LOCK_NB),
                Kind::Process => libc::fcntl(self.fd, libc::F_SETLK, &raw const lock),
                Kind::OpenFile => libc::fcntl(self.fd, libc::F_OFD_SETLK, &raw const lock),
            }
        };
        crate::sys::check(result).with_context(|| {
            format!(
                "fd {}: {} can't be locked again; end the process that has locked it",
                self.fd, self.path
            )
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let mut info = Info::of(0).unwrap().unwrap();
        let line = |text: &str| vec![("lock".to_owned(), text.to_owned())];
        info.lines = line("1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 10 19");
        let found = Lock::of(&info).unwrap();
        assert_eq!(
            (found[0].kind, found[0].write, found[0].start, found[0].len),
            (Kind::Process, true, 10, 10)
        );
        info.lines = line("2: FLOCK  ADVISORY  READ 4711 fe:00:1234 0 EOF");
        let found = Lock::of(&info).unwrap();
        assert_eq!((found[0].kind, found[0].len), (Kind::Whole, 0));
        info.lines = line("3: LEASE  ACTIVE    READ 4711 fe:00:1234 0 EOF");
        assert!(Lock::of(&info).unwrap_err().to_string().contains("LEASE"));
    }
}
