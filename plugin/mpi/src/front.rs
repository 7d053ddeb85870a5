//! Writes the functions of fronts: libraries of the application's ABI over the canonical one. What they call is in the
//! crate `mpi-front`.

use crate::{functions, Access, Count, Function, Param, HANDLES};
use std::fmt::Write as _;

/// The type of a canonical parameter.
fn canonical_type(p: &Param) -> &'static str {
    match p.letter() {
        'p' | 'b' | 'd' | 'F' => "usize",
        'l' => "i64",
        'f' => "f64",
        _ => "i32",
    }
}

/// The type of an application's parameter: handles are as wide as pointers.
fn own_type(p: &Param) -> &'static str {
    match &p.access {
        Access::Value if HANDLES.contains(&p.kind.as_str()) => "usize",
        _ => canonical_type(p),
    }
}

fn return_type(f: &Function, handle: &'static str) -> &'static str {
    match f.ret.as_str() {
        "l" => "i64",
        "f" => "f64",
        "F" => "usize",
        kind if HANDLES.contains(&kind) => handle,
        _ => "i32",
    }
}

fn parameters(f: &Function, of: impl Fn(&Param) -> &'static str) -> String {
    let all = f.params.iter().enumerate();
    let all: Vec<String> = all.map(|(i, p)| format!("a{i}: {}", of(p))).collect();
    all.join(", ")
}

/// Declarations of libsplitproc.so's functions.
pub fn declarations() -> String {
    let mut text = String::from("extern \"C\" {\n");
    for f in functions() {
        let (name, params, ret) = (
            &f.name,
            parameters(&f, canonical_type),
            return_type(&f, "i32"),
        );
        writeln!(
            text,
            "    #[link_name = \"splitproc_{f}\"] pub fn {name}({params}) -> {ret};"
        )
        .expect("a string takes all");
    }
    text + "}\n"
}

/// The name of a kind in `mpi_abi::Kind`.
fn kind(letter: &str) -> &'static str {
    let names = [
        "Comm",
        "Datatype",
        "Op",
        "Group",
        "Request",
        "Info",
        "Errhandler",
        "Message",
        "Window",
        "File",
        "Session",
    ];
    let at = HANDLES.iter().position(|h| *h == letter);
    names[at.expect("a handle's letter")]
}

/// A function from an application's number to the canonical one, and the one back.
fn numbers(kind: &str) -> Option<[String; 2]> {
    let of =
        |table: &str| ["to", "from"].map(|way| format!("numbers::{table}.{way}_canonical::<Its>"));
    Some(match kind {
        "r" => ["to", "from"].map(|way| format!("Its::rank_{way}_canonical")),
        "t" => ["to", "from"].map(|way| format!("Its::tag_{way}_canonical")),
        "e" => ["to", "from"].map(|way| format!("error_{way}_canonical::<Its>")),
        "k" => of("KEYVAL"),
        "split" | "lock" | "assert" | "amode" | "whence" | "order" | "distrib" | "darg"
        | "class" | "thread" | "compare" | "topo" | "combiner" | "verbosity" | "bind" | "scope" => {
            of(&kind.to_uppercase())
        }
        _ => return None,
    })
}

/// What a parameter needs before the call, what is passed, and what is done after it.
#[derive(Default)]
struct Step {
    before: String,
    passed: String,
    after: String,
}

fn step(f: &Function, i: usize) -> Step {
    let p = &f.params[i];
    let plain = |passed: String| Step {
        passed,
        ..Step::default()
    };
    let handle = HANDLES.contains(&p.kind.as_str());
    match (&p.access, p.kind.as_str()) {
        (Access::Value, "b") => plain(format!("buffer::<Own>(a{i})")),
        (Access::Value, "w") => plain(format!("weights::<Own>(a{i})")),
        (Access::Value, "auto") => plain(format!("attached::<Own>(a{i})")),
        (_, "auto") => Step {
            passed: format!("a{i}"),
            after: format!("detached::<Own>(r, a{i}); "),
            ..Step::default()
        },
        (Access::Value, "F") => plain(format!("file::<Own>(a{i})")),
        (Access::Value, _) if handle => plain(format!("Own::handle(a{i})")),
        (Access::Value, k) => plain(match numbers(k) {
            Some([to, _]) => format!("{to}(a{i})"),
            None => format!("a{i}"),
        }),
        (
            Access::Array {
                count,
                read,
                written,
            },
            _,
        ) => array(f, i, *count, *read, *written),
        (access, "s") => status(access, i),
        (access, "F") => Step {
            before: match access {
                Access::Both => {
                    format!("let mut h{i} = file::<Own>((a{i} as *const usize).read()); ")
                }
                _ => format!("let mut h{i} = usize::MAX; "),
            },
            passed: format!("&raw mut h{i} as usize"),
            after: format!(
                "if h{i} != usize::MAX {{ (a{i} as *mut usize).write(own_file::<Own>(h{i})); }} "
            ),
        },
        (access, k) if handle => Step {
            before: match access {
                Access::Written => format!("let mut h{i} = 0i32; "),
                _ => format!("let mut h{i} = behind::<Own>(a{i}); "),
            },
            passed: format!("&raw mut h{i} as usize"),
            after: match access {
                Access::Read => String::new(),
                _ => format!("put::<Own>(a{i}, Kind::{}, h{i}); ", kind(k)),
            },
        },
        (access, k) => match numbers(k) {
            Some([to, from]) => Step {
                before: match access {
                    Access::Both => format!("written(0, a{i}, |v| {to}(v)); "),
                    _ => String::new(),
                },
                passed: format!("a{i}"),
                after: match access {
                    Access::Both => format!("written(0, a{i}, |v| {from}(v)); "),
                    _ => format!("written(r, a{i}, |v| {from}(v)); "),
                },
            },
            None => plain(format!("a{i}")),
        },
    }
}

fn status(access: &Access, i: usize) -> Step {
    Step {
        before: match access {
            Access::Written => format!("let mut s{i} = One::new::<Own>(a{i}); "),
            _ => format!("let mut s{i} = One::read::<Own>(a{i}); "),
        },
        passed: format!("s{i}.at()"),
        after: match access {
            Access::Read => String::new(),
            _ => format!("s{i}.put::<Own>(); "),
        },
    }
}

fn array(f: &Function, i: usize, count: Count, read: bool, written: bool) -> Step {
    let k = f.params[i].kind.as_str();
    let n = match count {
        Count::At(n) if f.params[n].letter() == 'p' => format!("i64::from(*(a{n} as *const i32))"),
        Count::At(n) if f.params[n].letter() == 'l' => format!("a{n}"),
        Count::At(n) => format!("i64::from(a{n})"),
        // Room for as many as can be.
        Count::Behind(_) => "i64::from(a0)".into(),
        Count::Peers => {
            let comm = f.params.iter().position(|p| p.kind == "C");
            let neighbours = f.name.contains("eighbor");
            let receiving = f.params[..i].iter().any(|p| p.kind == "D");
            // The types of a buffer that is MPI_IN_PLACE are not looked at.
            let first = f.params.iter().position(|p| p.kind == "b");
            format!(
                "if {ignored} {{ 0 }} else {{ hand::peers(Own::handle(a{}), {neighbours}, {receiving}) }}",
                comm.expect("it has a communicator"),
                ignored = if receiving { "false".into() } else { format!("a{} == Its::IN_PLACE", first.expect("it has a buffer")) },
            )
        }
    };
    if k == "s" {
        return Step {
            before: format!("let mut s{i} = Statuses::new::<Own>(a{i}, {n}); "),
            passed: format!("s{i}.at()"),
            after: format!("s{i}.put::<Own>(); "),
        };
    }
    if HANDLES.contains(&k) {
        return Step {
            before: if read {
                format!("let mut v{i} = Ints::handles::<Own>(a{i}, {n}); ")
            } else {
                format!("let mut v{i} = Ints::empty(a{i}, {n}); ")
            },
            passed: format!("v{i}.at()"),
            after: if written {
                format!("v{i}.put::<Own>(Kind::{}); ", kind(k))
            } else {
                String::new()
            },
        };
    }
    let [to, from] = numbers(k).expect("arrays are of handles, statuses or numbers");
    if written {
        return Step {
            passed: format!("a{i}"),
            after: format!("all_written(r, a{i}, {n}, |v| {from}(v)); "),
            ..Step::default()
        };
    }
    Step {
        before: format!("let mut v{i} = Ints::numbers(a{i}, {n}, |v| {to}(v)); "),
        passed: format!("v{i}.at()"),
        after: String::new(),
    }
}

/// Functions that `mpi_front::hand` has.
const BY_HAND: &[&str] = &[
    "Op_create",
    "Op_create_c",
    "Comm_create_errhandler",
    "Errhandler_create",
    "Win_create_errhandler",
    "File_create_errhandler",
    "Session_create_errhandler",
    "Comm_create_keyval",
    "Keyval_create",
    "Type_create_keyval",
    "Win_create_keyval",
    "Grequest_start",
    "Register_datarep",
    "Register_datarep_c",
    "Comm_get_attr",
    "Attr_get",
    "Win_get_attr",
    "Win_shared_query",
    "Win_shared_query_c",
    "Type_get_contents",
    "Type_get_contents_c",
    "Comm_get_name",
    "Type_get_name",
    "Win_get_name",
    "Add_error_code",
    "Error_string",
    "Abi_get_version",
    "Get_version",
    "Get_library_version",
    "File_set_view",
    "File_c2f",
    "File_f2c",
    "Status_c2f",
    "Status_f2c",
    "Status_c2f08",
    "Status_f082c",
    "Status_f082f",
    "Status_f2f08",
];

fn body(f: &Function) -> String {
    let words: Vec<String> = (0..f.params.len()).map(|i| format!("a{i}")).collect();
    let words = words.join(", ");
    if BY_HAND.contains(&f.name.as_str()) {
        return format!("hand::{}::<Own>({words})", f.name);
    }
    if f.name.ends_with("_f2c") || f.name.ends_with("_fromint") {
        return match f.ret.as_str() {
            "F" => format!("hand::File_f2c::<Own>({words})"),
            letter => format!("hand::from_fortran::<Own>(Kind::{}, a0)", kind(letter)),
        };
    }
    if f.name.ends_with("_c2f") || f.name.ends_with("_toint") {
        return match f.params[0].kind.as_str() {
            "F" => format!("hand::File_c2f::<Own>({words})"),
            letter => format!("hand::to_fortran::<Own>(Kind::{}, a0)", kind(letter)),
        };
    }
    let mut steps: Vec<Step> = (0..f.params.len()).map(|i| step(f, i)).collect();
    if f.name.starts_with("T_") {
        // A program may leave out what it does not want to know.
        for (i, s) in steps
            .iter_mut()
            .enumerate()
            .filter(|(_, s)| !s.after.is_empty())
        {
            s.after = format!("if a{i} != 0 {{ {} }}; ", s.after);
        }
    }
    let join = |of: fn(&Step) -> &str| steps.iter().map(of).collect::<Vec<_>>();
    let before = join(|s| &s.before).concat();
    let passed = join(|s| &s.passed).join(", ");
    let after = join(|s| &s.after).concat();
    let result = match f.ret.as_str() {
        "i" => "code::<Own>(r)",
        _ => "r",
    };
    format!(
        "{before}let r = canonical::{}({passed}); {after}{result}",
        f.name
    )
}

/// All functions by both their names, for the front that the including module calls `Own`, and the ABI that it calls `Its`.
pub fn exports() -> String {
    let each = functions();
    each.iter()
        .map(|f| export_as(f, &["MPI_", "PMPI_"]))
        .collect()
}

/// A function, under a name for each prefix.
pub fn export_as(f: &Function, prefixes: &[&str]) -> String {
    let (params, ret) = (parameters(f, own_type), return_type(f, "usize"));
    let body = body(f);
    let each = prefixes.iter().map(|prefix| {
        let symbol = format!("{prefix}{}", f.name);
        let name = symbol.to_lowercase();
        format!(
            "/// `{symbol}`.\n/// # Safety\n/// As the MPI standard says of its arguments.\n\
             #[export_name = \"{symbol}\"]\npub unsafe extern \"C\" fn {name}({params}) -> {ret} {{ {body} }}\n"
        )
    });
    each.collect()
}
