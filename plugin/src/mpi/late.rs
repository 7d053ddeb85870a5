//! Who keeps a cut waiting, in the words of the program: the text of a checkpoint that is refused for it.

use super::cut::Entry;
use super::inside;
use super::lower::NAMES;
use super::model::comm::{self as comms, Pending, MUST};
use super::model::{lock, Comm};
use std::sync::atomic::Ordering::SeqCst;

/// No more ranks than these are named.
const SHOWN: usize = 8;

/// "rank 3", "ranks 0, 1 and 5".
fn ranks(list: &[usize]) -> String {
    let shown = &list[..list.len().min(SHOWN)];
    let words: Vec<String> = shown.iter().map(usize::to_string).collect();
    match (words.as_slice(), list.len() - shown.len()) {
        ([], _) => "no rank".into(),
        ([one], _) => format!("rank {one}"),
        ([first @ .., last], 0) => format!("ranks {} and {last}", first.join(", ")),
        (all, more) => format!("ranks {} and {more} more", all.join(", ")),
    }
}

/// What the program calls the communicator, or would.
fn called(name: &str, group: &[i32], remote: Option<&[i32]>) -> String {
    let of = |group: &[i32]| ranks(&group.iter().map(|r| *r as usize).collect::<Vec<_>>());
    match (name, remote) {
        ("MPI_COMM_WORLD", _) => name.into(),
        ("", None) => format!("the communicator of {} (it has no name)", of(group)),
        ("", Some(remote)) => format!("the intercommunicator of {} with {}", of(group), of(remote)),
        _ => format!("{name:?}"),
    }
}

/// The function of the oldest collective that this rank is in there, if it is in one.
fn function(c: &Comm, pending: &[Pending]) -> String {
    let oldest = pending.iter().min_by_key(|p| p.sequence);
    let blocking = c.blocking.load(SeqCst) & !MUST;
    match oldest {
        Some(p) if blocking == 0 || p.sequence < blocking => {
            let own = match p.own {
                true => " with an operator of the program's",
                false => "",
            };
            format!("MPI_{}{own}", NAMES[p.function])
        }
        _ if blocking != 0 => inside::collective().unwrap_or_default(),
        _ => String::new(),
    }
}

/// What this rank tells the others of a communicator: what the program calls it, and the function that it is in. Empty:
/// it has no such communicator.
pub fn tell(id: u64) -> Vec<u8> {
    let guard = lock();
    let Some(c) = comms::all(&guard)
        .into_iter()
        .find(|c| c.id.load(SeqCst) == id)
    else {
        return Vec::new();
    };
    let meta = c.meta.get(&guard);
    let name = called(&meta.name.to_string_lossy(), &c.group, c.remote.as_deref());
    let pending = meta.pending.clone();
    drop(guard);
    format!("{name}\0{}", function(c, &pending)).into_bytes()
}

/// Why there is no cut: `told` is what all ranks told of the communicator `id`, whose target is not met everywhere.
pub fn message(id: u64, target: u64, all: &[Vec<Entry>], told: &[Vec<u8>]) -> String {
    let mut late = Vec::new();
    let mut inside = Vec::new();
    let mut own = false;
    for (rank, list) in all.iter().enumerate() {
        match list.iter().find(|e| e.id == id) {
            Some(e) if e.entered < target => late.push(rank),
            Some(e) if e.met < target => {
                inside.push(rank);
                own |= e.own != 0;
            }
            _ => {}
        }
    }
    let words = |rank: &usize| {
        let text = String::from_utf8_lossy(told.get(*rank).map_or(&[][..], Vec::as_slice));
        let (name, function) = text.split_once('\0').unwrap_or_default();
        (name.to_owned(), function.to_owned())
    };
    let known: Vec<_> = inside.iter().chain(&late).map(words).collect();
    let first = |of: fn(&(String, String)) -> &String| {
        let found = known.iter().map(of).find(|word| !word.is_empty());
        found.cloned().unwrap_or_default()
    };
    let mut what = first(|w| &w.1);
    if what.is_empty() {
        what = "a collective".into();
    }
    let call = format!("{what} on {}", first(|w| &w.0));
    if late.is_empty() {
        let remedy = match own {
            true => "it goes on only in the program's own calls of MPI, so ask again when it waits for that, or have it call MPI_Test",
            false => "ask again when it is complete",
        };
        return format!("{call} is under way on {}: {remedy}", ranks(&inside));
    }
    let others = match inside.as_slice() {
        [] => "which others have left".into(),
        there => format!(
            "where {} wait{}",
            ranks(there),
            if there.len() == 1 { "s" } else { "" }
        ),
    };
    let (has, it) = match late.len() {
        1 => ("has", "it has"),
        _ => ("have", "they have"),
    };
    format!(
        "{} {has} not come to {call}, {others}: ask again when {it}",
        ranks(&late)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(entered: u64, met: u64, own: u64) -> Entry {
        Entry {
            id: 7,
            members: 3,
            entered,
            must: 0,
            met,
            held: 0,
            own,
            refused: 0,
        }
    }

    #[test]
    fn who_is_late_for_what() {
        let all = [
            vec![entry(5, 4, 0)],
            vec![entry(5, 4, 0)],
            vec![entry(4, 4, 0)],
        ];
        let told: Vec<Vec<u8>> = ["halo\"\0MPI_Bcast", "halo\"\0", "halo\"\0"]
            .map(|t| format!("\"{t}").into_bytes())
            .into();
        assert_eq!(
            message(7, 5, &all, &told),
            "rank 2 has not come to MPI_Bcast on \"halo\", where ranks 0 and 1 wait: ask again when it has"
        );
    }

    #[test]
    fn what_only_the_program_carries_on() {
        let all = [vec![entry(4, 4, 1)], vec![entry(4, 3, 1)]];
        let told = [
            b"MPI_COMM_WORLD\0".to_vec(),
            b"MPI_COMM_WORLD\0MPI_Iallreduce with an operator of the program's".to_vec(),
        ];
        let text = message(7, 4, &all, &told);
        assert!(text.starts_with(
            "MPI_Iallreduce with an operator of the program's on MPI_COMM_WORLD is under way on rank 1: "
        ));
        assert!(text.ends_with("have it call MPI_Test"));
    }

    #[test]
    fn what_has_no_name_is_called_by_its_ranks() {
        let many: Vec<i32> = (0..20).collect();
        assert_eq!(called("MPI_COMM_WORLD", &many, None), "MPI_COMM_WORLD");
        assert_eq!(called("a row", &many, None), "\"a row\"");
        assert_eq!(
            called("", &[2, 5], None),
            "the communicator of ranks 2 and 5 (it has no name)"
        );
        assert_eq!(
            called("", &many, Some(&[3])),
            "the intercommunicator of ranks 0, 1, 2, 3, 4, 5, 6, 7 and 12 more with rank 3"
        );
    }
}
