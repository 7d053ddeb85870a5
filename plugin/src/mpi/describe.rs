//! What the model holds, for people: `splitproc inspect` shows it. JSON, written by hand: the plugin has no
//! serializer. Called once the cut is made, when nothing of the model changes.

use super::model::{comm, datatype, file, lock, objects, request, window};
use super::{model, unexpected};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::Relaxed;

/// Most objects of a kind that are described one by one.
const SHOWN: usize = 1000;

/// A string as JSON.
fn quoted(text: &OsStr) -> String {
    let mut out = String::from("\"");
    for c in text.to_string_lossy().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// The model as JSON.
pub fn describe() -> String {
    let guard = lock();
    let comms = comm::COMMS.all(&guard).into_iter().take(SHOWN).map(|(_, c)| {
        let meta = c.meta.get(&guard);
        format!(
            "{{\"name\":{},\"rank\":{},\"size\":{},\"group\":{:?},\"collectives\":{},\"attributes\":{},\"inter\":{},\"topology\":{}}}",
            quoted(&meta.name),
            c.rank,
            c.group.len(),
            c.group,
            c.entered.load(Relaxed),
            meta.attrs.len(),
            c.remote.is_some(),
            meta.topology.is_some(),
        )
    });
    let comms = list(comms);
    let types = datatype::TYPES
        .all(&guard)
        .into_iter()
        .take(SHOWN)
        .map(|(_, t)| {
            format!(
                "{{\"name\":{},\"size\":{},\"extent\":{},\"committed\":{}}}",
                quoted(t.meta.get(&guard).name.as_deref().unwrap_or_default()),
                t.sizes.size,
                t.sizes.extent,
                t.committed.load(Relaxed),
            )
        });
    let types = list(types);
    let windows = window::all(&guard).into_iter().take(SHOWN).map(|w| {
        format!(
            "{{\"name\":{},\"size\":{},\"ranks\":{},\"flavor\":{}}}",
            quoted(&w.meta.get(&guard).name),
            w.size,
            w.comm.group.len(),
            w.flavor,
        )
    });
    let windows = list(windows);
    let requests = request::all(&guard);
    let live = requests.iter().filter(|(_, r)| r.live.get()).take(SHOWN);
    let requests = live.map(|(_, r)| {
        format!(
            "{{\"kind\":\"{:?}\",\"peer\":{},\"tag\":{},\"count\":{},\"persistent\":{},\"done\":{}}}",
            r.kind.get(),
            r.peer.get(),
            r.tag.get(),
            r.count.get(),
            r.persistent.get(),
            r.done.get(),
        )
    });
    let requests = list(requests);
    let files = file::all(&guard).into_iter().take(SHOWN).map(|f| {
        let state = f.state.get(&guard);
        format!(
            "{{\"path\":{},\"ranks\":{},\"position\":{},\"view\":{},\"atomic\":{}}}",
            quoted(OsStr::from_bytes(f.path.as_bytes())),
            f.comm.group.len(),
            state.position,
            state.view.is_some(),
            state.atomic,
        )
    });
    let files = list(files);
    format!(
        "{{\"rank\":{},\"size\":{},\"communicators\":{comms},\"datatypes\":{types},\"requests\":{requests},\"windows\":{windows},\"files\":{files},\"groups\":{},\"operators\":{},\"infos\":{},\"unexpected messages\":{}}}",
        model::WORLD_RANK.load(Relaxed),
        model::WORLD_SIZE.load(Relaxed),
        objects::GROUPS.all(&guard).len(),
        objects::OPS.all(&guard).len(),
        objects::INFOS.all(&guard).len(),
        unexpected::count(),
    )
}

/// How many objects of a kind the model has; -1: it knows no such kind. For programs that look whether it grows.
///
/// # Safety
/// `kind` must be a C string.
#[no_mangle]
pub unsafe extern "C" fn splitproc_objects(kind: *const libc::c_char) -> libc::c_long {
    let guard = lock();
    let live = request::all(&guard).len();
    let count = match std::ffi::CStr::from_ptr(kind).to_bytes() {
        b"communicators" => comm::COMMS.all(&guard).len(),
        b"datatypes" => datatype::TYPES.all(&guard).len(),
        b"requests" => live,
        b"groups" => objects::GROUPS.all(&guard).len(),
        b"operators" => objects::OPS.all(&guard).len(),
        b"infos" => objects::INFOS.all(&guard).len(),
        b"error handlers" => objects::ERRHANDLERS.all(&guard).len(),
        b"keyvals" => objects::KEYVALS.all(&guard).len(),
        b"messages" => unexpected::count(),
        _ => return -1,
    };
    count as libc::c_long
}
