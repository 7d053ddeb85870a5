//! How much memory of the host is to be had.

use std::fs::read_to_string;

/// Bytes that this process can still get: the machine's, its control group's and its limit's, whichever are fewest. `None`:
/// the kernel does not tell.
pub fn available() -> Option<u64> {
    let all = [machine(), group(), limit()];
    all.into_iter().flatten().min()
}

/// The number after a name, at a line's beginning.
fn number(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|l| l.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn machine() -> Option<u64> {
    number(&read_to_string("/proc/meminfo").ok()?, "MemAvailable:").map(|kib| kib << 10)
}

/// What the control group leaves; the page cache that it is charged for can go.
fn group() -> Option<u64> {
    let group = read_to_string("/proc/self/cgroup").ok()?;
    let path = group.lines().find_map(|l| l.strip_prefix("0::"))?;
    let read = |name: &str| read_to_string(format!("/sys/fs/cgroup{path}/{name}")).ok();
    let max: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let cache = read("memory.stat").and_then(|stat| number(&stat, "file "));
    Some(max.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

/// What `RLIMIT_AS` leaves.
fn limit() -> Option<u64> {
    // SAFETY: the kernel fills the structure, plain data.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        (libc::getrlimit(libc::RLIMIT_AS, &mut limit) == 0).then_some(limit.rlim_cur)
    };
    let limit = limit.filter(|l| *l != libc::RLIM_INFINITY)?;
    let used = number(&read_to_string("/proc/self/status").ok()?, "VmSize:")? << 10;
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_some_memory() {
        assert!(available().is_some_and(|n| n > 1 << 20));
        assert_eq!(number("a: 1\nb:  22 kB\n", "b:"), Some(22));
        assert_eq!(number("a: 1\n", "c"), None);
    }
}
