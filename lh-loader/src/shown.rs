//! What the kernel shows of the process: `/proc/PID/cmdline` and `environ`, from which `ps` and `pgrep` read.
//!
//! The kernel started the loader, so it shows the loader's. It can be told where the program's own lie
//! (`PR_SET_MM_MAP`, without privileges where it has CONFIG_CHECKPOINT_RESTORE). Everything else that this call
//! sets is set to what it is.

use crate::arch::{is_err, syscall6};

const PR_SET_MM: usize = 35;
const PR_SET_MM_MAP: usize = 14;
/// Longest `/proc/self/stat`: 52 numbers, and a name.
const LONGEST: usize = 2048;

/// `struct prctl_mm_map`.
#[repr(C)]
struct Map {
    code: [usize; 2],
    data: [usize; 2],
    brk: [usize; 2],
    stack: usize,
    /// Begin and end of the arguments, and of the environment.
    strings: [usize; 4],
    /// None: it stays.
    auxv: usize,
    auxv_size: u32,
    exe_fd: i32,
}

/// Has the kernel show these strings: begin and end of the arguments, and of the environment behind them. Where it
/// refuses, it goes on showing the loader's.
pub fn show(strings: [usize; 4]) {
    let mut text = [0; LONGEST];
    let Some(mut map) = read_stat(&mut text).and_then(parse) else {
        return;
    };
    map.strings = strings;
    // SAFETY: it only asks.
    map.brk[1] = unsafe { syscall6(libc::SYS_brk as usize, 0, 0, 0, 0, 0, 0) } as usize;
    let (nr, len) = (libc::SYS_prctl as usize, core::mem::size_of::<Map>());
    // SAFETY: it reads the structure. What it sets is only shown, but for the break, which stays where it is.
    unsafe {
        syscall6(
            nr,
            PR_SET_MM,
            PR_SET_MM_MAP,
            &raw const map as usize,
            len,
            0,
            0,
        )
    };
}

/// The contents of `/proc/self/stat`.
fn read_stat(text: &mut [u8; LONGEST]) -> Option<&str> {
    let path = c"/proc/self/stat".as_ptr() as usize;
    let (folder, flags) = (libc::AT_FDCWD as usize, libc::O_CLOEXEC as usize);
    // SAFETY: the path is a string, the buffer as long as it is said to be, the descriptor ours.
    let got = unsafe {
        let fd = syscall6(libc::SYS_openat as usize, folder, path, flags, 0, 0, 0);
        if is_err(fd) {
            return None;
        }
        let (fd, at) = (fd as usize, text.as_mut_ptr() as usize);
        let got = syscall6(libc::SYS_read as usize, fd, at, LONGEST, 0, 0, 0);
        syscall6(libc::SYS_close as usize, fd, 0, 0, 0, 0, 0);
        got
    };
    // The name may be anything; what is behind it is text.
    let got = text.get(..usize::try_from(got).ok()?)?;
    let name_end = got.iter().rposition(|&b| b == b')')?;
    core::str::from_utf8(&got[name_end + 1..]).ok()
}

/// What `/proc/self/stat` says, behind the name.
fn parse(stat: &str) -> Option<Map> {
    /// The first field behind the name, as proc(5) counts them.
    const FIRST: usize = 3;
    let field = |number: usize| {
        let text = stat.split_ascii_whitespace().nth(number - FIRST)?;
        text.parse::<usize>().ok()
    };
    Some(Map {
        code: [field(26)?, field(27)?],
        data: [field(45)?, field(46)?],
        brk: [field(47)?, 0],
        stack: field(28)?,
        strings: [0; 4],
        auxv: 0,
        auxv_size: 0,
        exe_fd: -1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_where_proc_says() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let map = parse(&format!(" S {}\n", numbers.join(" "))).expect("all fields");
        assert_eq!((map.code, map.data), ([26, 27], [45, 46]));
        assert_eq!((map.brk[0], map.stack), (47, 28));
        assert!(parse(" S 1 2 3").is_none());
    }
}
