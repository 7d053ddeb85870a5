//! Parts of instructions' names. One that is not known is never ignored: the instruction might mean something else.

use super::matrix;
use crate::ptx::Type;

/// What is said of how memory is reached: order, scopes, hints for caches. None of it means anything here.
const ORDER: &str = "weak volatile relaxed acquire release acq_rel mmio cta cluster gpu sys L1 L2";
/// State spaces.
const SPACES: &str = "global const param shared local";
/// Comparisons, and how they are combined.
const COMPARISONS: &str =
    "eq ne lt le gt ge lo ls hi hs equ neu ltu leu gtu geu num nan and or xor ftz";
/// What atomic operations do.
const UPDATES: &str = "exch cas add min max and or xor inc dec";

/// By instruction the parts that are heeded, or mean nothing here. Types are always known, and the instructions that are not here know
/// their parts by themselves. What stands before `::` is a part's name.
const KNOWN: &[(&str, &[&str])] = &[
    ("ld ldu", &[ORDER, SPACES, "nc unified v2 v4 v8 ca cg cs cv lu"]),
    ("st", &[ORDER, SPACES, "v2 v4 v8 wb cg cs wt"]),
    ("atom red", &[ORDER, SPACES, UPDATES, "noftz v2 v4 v8"]),
    ("cvta isspacep", &[SPACES, "to"]),
    ("mov selp bfi activemask and or xor not", &[]),
    ("setp set", &[COMPARISONS]),
    ("testp", &["finite infinite number notanumber normal subnormal"]),
    ("addc subc", &["cc"]),
    ("madc", &["cc lo hi"]),
    ("bra brx call ret exit trap", &["uni idx"]),
    ("bar barrier", &["sync arrive red popc and or cta cluster aligned warp"]),
    ("vote", &["sync any all uni ballot"]),
    ("shfl", &["sync up down bfly idx"]),
    ("match", &["sync any all"]),
    ("redux", &["sync", UPDATES]),
    ("elect", &["sync"]),
    (
        "cp",
        &["async bulk ca cg shared global mbarrier arrive noinc commit_group wait_group wait_all bulk_group read prefetch multicast L2"],
    ),
    (
        "mbarrier",
        &[ORDER, "init inval arrive arrive_drop expect_tx complete_tx test_wait try_wait pending_count noComplete parity shared"],
    ),
    ("ldmatrix stmatrix", &["sync aligned m8n8 x1 x2 x4 trans shared"]),
    ("mma", &["sync aligned row col satfinite tf32"]),
    ("wmma", &["load store mma a b c d sync aligned row col global shared satfinite tf32 rn"]),
    ("tex", &["1d 2d 3d a1d a2d cube acube v4 level"]),
    ("suld sust", &["b p 1d 2d 3d a1d a2d v2 v4 trap clamp zero ca cg cs cv wb wt"]),
];

/// The part of a name that nobody here knows.
pub fn unknown<'a>(name: &[&'a str]) -> Option<&'a str> {
    let (first, rest) = name.split_first()?;
    let carries = rest.contains(&"cc");
    let known = match *first {
        "add" | "sub" if carries => &["cc"],
        "mad" if carries => &["cc lo hi"][..],
        first => KNOWN.iter().find(|(names, _)| has(names, first))?.1,
    };
    let is_known = |part: &str| {
        let (part, _) = part.split_once("::").unwrap_or((part, ""));
        let shape = first.ends_with("mma") && matrix::shape(part).is_some();
        shape || Type::named(part).is_some() || known.iter().any(|names| has(names, part))
    };
    rest.iter().copied().find(|part| !is_known(part))
}

/// Is this one of the words?
fn has(words: &str, wanted: &str) -> bool {
    words.split(' ').any(|word| word == wanted)
}
