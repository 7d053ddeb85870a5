//! Memory that ranks share: a file in memory which the first rank of a window makes, and all map.
//!
//! A rank's image has the rank's own part (under DMTCP the whole). After a restart each rank has a file of its own, like
//! that of any shared mapping whose file has no name. The ranks then write their parts into a fresh file, and map it in
//! place of their own.

use super::abi::*;
use super::lower::{ix, must, Fail};
use super::model::window::{self, Memory, Part, Segment};
use super::model::{lock, Comm, Locked};
use crate::raw;
use lh_loader::lhinfo;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering::*};

const PAGE: usize = 4096;

/// Where the first rank's file is, for the others: process, descriptor, and a mark behind the file's data, so that no other
/// file is taken for it.
type Token = [u64; 4];

static MADE: AtomicU64 = AtomicU64::new(0);

fn check(code: isize) -> io::Result<isize> {
    if code < 0 {
        return Err(io::Error::from_raw_os_error(-code as i32));
    }
    Ok(code)
}

/// The file's name. DMTCP would make shared mappings' files again by their names, which this one has none for in any
/// directory; a mapping that has DMTCP's own word in its name it leaves to the image.
const NAME: &std::ffi::CStr = c"splitproc-window-dmtcpSharedArea";

/// Makes the file.
fn make(length: usize) -> io::Result<(File, Token)> {
    // SAFETY: system calls on a constant name and on what they gave.
    let (file, pid) = unsafe {
        let name = NAME.as_ptr() as usize;
        let flags = libc::MFD_CLOEXEC as usize;
        let fd = check(raw::syscall(
            libc::SYS_memfd_create,
            [name, flags, 0, 0, 0, 0],
        ))?;
        let pid = check(raw::syscall(libc::SYS_getpid, [0; 6]))?;
        (File::from_raw_fd(fd as i32), pid as u64)
    };
    file.set_len((length + PAGE) as u64)?;
    let mark = MADE.fetch_add(1, Relaxed) ^ now();
    file.write_all_at(&mark.to_le_bytes(), length as u64)?;
    let token = [pid, file.as_raw_fd() as u64, mark, 1];
    Ok((file, token))
}

/// Something that differs from time to time and from machine to machine.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_007) ^ (time.tv_nsec as u64) << 20
}

/// Opens the first rank's file.
fn open(token: Token, length: usize) -> io::Result<File> {
    let [pid, fd, mark, _] = token;
    let path = format!("/proc/{pid}/fd/{fd}\0");
    let flags = (libc::O_RDWR | libc::O_CLOEXEC) as usize;
    let here = libc::AT_FDCWD as usize;
    // SAFETY: the path ends with a zero; the kernel's own number of the process is meant, so no router may see it.
    let file = unsafe {
        let path = path.as_ptr() as usize;
        let fd = raw::syscall(libc::SYS_openat, [here, path, flags, 0, 0, 0]);
        File::from_raw_fd(check(fd)? as i32)
    };
    let mut found = [0u8; 8];
    file.read_exact_at(&mut found, length as u64)?;
    if u64::from_le_bytes(found) != mark {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    Ok(file)
}

/// Maps a file: anywhere, or in place of what is at `at`.
unsafe fn map(file: &File, length: usize, at: usize) -> io::Result<usize> {
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED };
    let p = libc::mmap(
        at as *mut _,
        length,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | fixed,
        file.as_raw_fd(),
        0,
    );
    if p == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(p as usize)
}

/// All ranks of the communicator map one file. Each may write into it first; nobody goes on before all have done so.
unsafe fn share(
    c: &Comm,
    length: usize,
    at: usize,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<usize> {
    let mut token: Token = [0; 4];
    let mut file = Err(io::Error::from_raw_os_error(libc::ENOENT));
    if c.rank == 0 {
        file = make(length).map(|(file, made)| {
            token = made;
            file
        });
    }
    let (word, bytes) = (token.as_mut_ptr() as u64, size_of::<Token>() as u64);
    let sent = must(ix::Bcast, &[word, bytes, BYTE as u64, 0, c.low()]);
    if c.rank != 0 && token[3] != 0 {
        file = open(token, length);
    }
    let mapped = file.and_then(|file| {
        write(&file)?;
        map(&file, length, at).map(|address| (address, file))
    });
    let mine = i32::from(mapped.is_ok() && sent == SUCCESS);
    let mut all = 0i32;
    let (mine, out) = (&raw const mine as u64, &raw mut all as u64);
    let agreed = must(
        ix::Allreduce,
        &[mine, out, 1, INT as u64, MIN as u64, c.low()],
    );
    let (address, _file) = mapped?;
    if agreed != SUCCESS || all == 0 {
        if at == 0 {
            libc::munmap(address as *mut _, length);
        }
        return Err(io::Error::other("another rank could not map it"));
    }
    Ok(address)
}

impl Segment {
    /// Makes a segment with a part for each rank.
    ///
    /// # Errors
    /// The ranks can't share memory.
    ///
    /// # Safety
    /// Inside the gate, on all ranks of the communicator.
    pub unsafe fn new(c: &Comm, size: i64, unit: i32, apart: bool) -> Result<Segment, Fail> {
        let mine = [size, i64::from(unit), i64::from(apart)];
        let mut all = vec![[0i64; 3]; c.group.len()];
        let bytes = size_of_val(&mine) as u64;
        let (from, to) = (mine.as_ptr() as u64, all.as_mut_ptr() as u64);
        let args = [from, bytes, BYTE as u64, to, bytes, BYTE as u64, c.low()];
        match must(ix::Allgather, &args) {
            SUCCESS => {}
            code => return Err(Fail::Code(code)),
        }
        let apart = all.iter().all(|a| a[2] != 0);
        let mut end = 0usize;
        let parts = all.iter().map(|[size, unit, _]| {
            let offset = end;
            end += *size as usize;
            if apart {
                end = end.next_multiple_of(PAGE);
            }
            Part {
                offset,
                size: *size,
                unit: *unit as i32,
            }
        });
        let parts = parts.collect();
        let length = end.max(1).next_multiple_of(PAGE);
        let address = share(c, length, 0, |_| Ok(())).map_err(|_| Fail::Code(ERR_RMA_SHARED))?;
        Ok(Segment {
            address,
            length,
            parts,
        })
    }

    /// Shares the memory again after a restart, with the contents that it had.
    ///
    /// # Errors
    /// The ranks can't: most likely they are not on one machine.
    ///
    /// # Safety
    /// On the helper thread of all ranks, before the program runs.
    pub unsafe fn again(&self, c: &Comm) -> io::Result<()> {
        let part = self.parts[c.rank as usize];
        let own = (self.address + part.offset) as *const u8;
        let bytes = std::slice::from_raw_parts(own, part.size as usize);
        let write = |file: &File| file.write_all_at(bytes, part.offset as u64);
        share(c, self.length, self.address, write).map(|_| ())
    }

    /// The address of a part: one of no bytes has none, as in MPICH.
    pub fn place(&self, part: &Part) -> usize {
        match part.size {
            0 => 0,
            _ => self.address + part.offset,
        }
    }

    /// What of it another rank's image has: whole pages before and behind a rank's part.
    fn of_others(&self, rank: i32) -> [[usize; 2]; 2] {
        let part = self.parts[rank as usize];
        let (begin, end) = (self.address, self.address + self.length);
        let own = begin + part.offset;
        let behind = (own + part.size as usize).next_multiple_of(PAGE).min(end);
        match part.size {
            0 => [[begin, end], [end, end]],
            _ => [[begin, own / PAGE * PAGE], [behind, end]],
        }
    }

    /// Unmaps it.
    ///
    /// # Safety
    /// Nobody uses it any more.
    pub unsafe fn unmap(&self) {
        libc::munmap(self.address as *mut _, self.length);
    }
}

/// What `save_once` has told the host of.
static ELSEWHERE: Locked<Vec<[usize; 2]>> = Locked::new(Vec::new());

/// Tells the host what need not be in this rank's image, for it is in another's: nothing but while a cut is made.
pub fn save_once(cut: bool) {
    let guard = lock();
    let list = ELSEWHERE.get(&guard);
    list.clear();
    for w in window::all(&guard).iter().filter(|_| cut) {
        if let Memory::Shared(segment) = &w.memory {
            list.extend(segment.of_others(w.comm.rank));
        }
    }
    list.retain(|[begin, end]| begin < end);
    list.sort_unstable();
    if !raw::present() {
        return;
    }
    // SAFETY: lhInfo is mapped, as was just asked.
    let [at, count] = unsafe { &lhinfo::get().upper.elsewhere };
    at.store(list.as_ptr() as usize, Release);
    count.store(list.len(), Release);
}
