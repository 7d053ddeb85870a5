//! Generates, from the table of MPI's functions, one function each that takes canonical arguments and calls the library.
use mpi_spec::{Access, Count, Function, Param, HANDLES};
use std::fmt::Write as _;
use std::{env, fs, path::Path};

/// Functions that are the model's alone, or about what a library can't be told in the canonical ABI.
const LEFT_OUT: &[&str] = &["Abi_", "Status_c2f", "Status_f", "Pcontrol", "Aint_"];
/// Those that have a module of their own for what is not translation.
const BY_HAND: &[&str] = &[
    "Accumulate",
    "Add_error_class",
    "Add_error_code",
    "Add_error_string",
    "Comm_get_attr",
    "Comm_idup",
    "Comm_idup_with_info",
    "Error_class",
    "Error_string",
    "Get_accumulate",
    "Isend",
    "Op_create",
    "Raccumulate",
    "Rget_accumulate",
    "Win_get_attr",
];

fn left_out(f: &Function) -> bool {
    const ENDS: &[&str] = &["_c2f", "_f2c", "_fromint", "_toint"];
    LEFT_OUT.iter().any(|start| f.name.starts_with(start))
        || ENDS.iter().any(|end| f.name.ends_with(end))
        || f.class.starts_with("absent:")
        || f.params
            .iter()
            .any(|p| p.kind.starts_with("fn:") || p.kind == "auto")
        // Their results are read by the model from its own trees.
        || f.name.contains("_get_contents")
        || f.name.starts_with("Comm_spawn")
}

/// What has no special values.
fn plain(kind: &str) -> bool {
    matches!(kind, "i" | "l" | "f" | "p" | "w")
}

/// A C type, in a canonical function or the library's.
fn c_type(letter: char, native: bool) -> &'static str {
    match letter {
        'F' | 'p' | 'b' | 'd' => "usize",
        'l' => "i64",
        'f' => "f64",
        c if native && c.is_ascii_uppercase() => "usize",
        _ => "i32",
    }
}

/// The kind of handle that a letter means.
fn handle_kind(letter: &str) -> &'static str {
    match letter {
        "C" => "Kind::Comm",
        "D" => "Kind::Datatype",
        "O" => "Kind::Op",
        "G" => "Kind::Group",
        "R" => "Kind::Request",
        "I" => "Kind::Info",
        "E" => "Kind::Errhandler",
        "M" => "Kind::Message",
        "W" => "Kind::Window",
        "S" => "Kind::Session",
        other => panic!("mpi/spec.txt: handle {other}"),
    }
}

/// Expressions that translate one number to the library's, and back.
fn number(kind: &str) -> [String; 2] {
    let pair = |to: &str, from: &str| [to.to_owned(), from.to_owned()];
    match kind {
        "r" => pair("A::rank_from_canonical", "A::rank_to_canonical"),
        "t" => pair("A::tag_from_canonical", "A::tag_to_canonical"),
        "e" => pair("mpi_abi::error_from_canonical::<A>", "numbers::code::<A>"),
        "k" | "split" | "lock" | "assert" | "amode" | "whence" | "order" | "distrib" | "darg"
        | "class" | "thread" | "compare" | "topo" | "combiner" | "verbosity" | "bind" | "scope" => {
            let table = if kind == "k" {
                "KEYVAL".into()
            } else {
                kind.to_uppercase()
            };
            ["from", "to"].map(|way| format!("numbers::{way}::<A>({table})"))
        }
        other => panic!("mpi/spec.txt: kind {other}"),
    }
}

/// What is done with one parameter: before the call, in it, after it, and after all others.
#[derive(Default)]
struct Part {
    before: String,
    argument: String,
    after: String,
    last: String,
}

fn length(count: Count, f: &Function, before: usize) -> String {
    match count {
        Count::At(n) => format!("a{n}.max(0) as usize"),
        // As many as there are requests.
        Count::Behind(_) => "a0.max(0) as usize".into(),
        Count::Peers => {
            let comm = f.params.iter().position(|p| p.kind == "C");
            let comm = comm.expect("a communicator");
            let way = match f.params[..before].iter().any(|p| p.kind == "D") {
                _ if !f.name.contains("eighbor") => "All",
                false => "To",
                true => "From",
            };
            format!("peers::<A>(native(Kind::Comm, a{comm}), Way::{way})")
        }
    }
}

/// An array of handles.
fn handles(f: &Function, i: usize, kind: &str, count: Count, written: bool) -> Part {
    let mut n = length(count, f, i);
    let kind = handle_kind(kind);
    if count == Count::Peers {
        // Those of a side that is not looked at are not there.
        let side = f.params[..i]
            .iter()
            .rposition(|p| p.kind == "b")
            .expect("a buffer");
        n = format!("if a{side} == mpi_abi::canonical::IN_PLACE {{ 0 }} else {{ {n} }}");
        if let Some(request) = f.params.iter().position(|p| p.kind == "R") {
            return Part {
                before: format!("let n{i} = handles::read_kept({kind}, a{i}, {n});"),
                argument: format!("n{i}.add(1) as usize"),
                last: format!(
                    "if code == 0 {{ keep(get(a{request}), n{i}); }} else {{ libc::free(n{i}.cast()); }}"
                ),
                ..Part::default()
            };
        }
    }
    Part {
        before: format!("let mut n{i} = handles::read({kind}, a{i}, {n});"),
        argument: format!("n{i}.at()"),
        after: if written {
            format!("handles::update_all({kind}, a{i}, n{i});")
        } else {
            String::new()
        },
        ..Part::default()
    }
}

/// A handle.
fn handle(f: &Function, i: usize, p: &Param) -> Part {
    let file = p.kind == "F";
    let value = |v: &str| match file {
        true => format!("handles::file({v})"),
        false => format!("native({}, {v})", handle_kind(&p.kind)),
    };
    let written = match file {
        true => format!("put(a{i}, handles::canonical_file(n{i}));"),
        false => format!("put(a{i}, canonical({}, n{i}));", handle_kind(&p.kind)),
    };
    let argument = format!("&raw mut n{i} as usize");
    match &p.access {
        Access::Value => Part {
            argument: value(&format!("a{i}")),
            ..Part::default()
        },
        Access::Written => Part {
            before: format!("let mut n{i} = 0usize;"),
            argument,
            after: format!("if code == 0 {{ {written} }}"),
            ..Part::default()
        },
        access => Part {
            before: format!("let mut n{i} = {};", value(&format!("get(a{i})"))),
            argument,
            after: match access {
                Access::Read => String::new(),
                _ if file => written,
                _ if f.name.ends_with("_free") => {
                    format!("handles::forget({}, a{i});", handle_kind(&p.kind))
                }
                _ => format!("handles::update({}, a{i}, n{i});", handle_kind(&p.kind)),
            },
            ..Part::default()
        },
    }
}

/// A status, or an array of them.
fn status(f: &Function, i: usize, access: &Access) -> Part {
    let after = match access {
        Access::Read => String::new(),
        Access::Array { count, .. } => {
            let n = match count {
                // As many as the call says that it has stored, if it has.
                Count::Behind(k) => format!("if code == 0 || code == mpi_abi::canonical::ERR_IN_STATUS {{ get::<i32>(a{k}) }} else {{ 0 }}"),
                _ => length(*count, f, i),
            };
            format!("s{i}.write(a{i}, ({n}) as i64);")
        }
        _ => format!("statuses::store::<A>(a{i}, &s{i});"),
    };
    let (before, argument) = match access {
        Access::Written => (
            "A::Status::default()".into(),
            format!("statuses::place::<A>(a{i}, &mut s{i})"),
        ),
        Access::Array { count, .. } => (
            format!("Statuses::<A>::new(a{i}, {})", length(*count, f, i)),
            format!("s{i}.at()"),
        ),
        _ => (
            format!("statuses::load::<A>(a{i})"),
            format!("&raw mut s{i} as usize"),
        ),
    };
    Part {
        before: format!("let mut s{i} = {before};"),
        argument,
        after,
        ..Part::default()
    }
}

fn part(f: &Function, i: usize, p: &Param) -> Part {
    let kind = p.kind.as_str();
    match &p.access {
        Access::Array {
            count,
            read,
            written,
        } if HANDLES.contains(&kind) => {
            assert!(*read, "MPI_{}: handles that are only written", f.name);
            return handles(f, i, kind, *count, *written);
        }
        _ if HANDLES.contains(&kind) => return handle(f, i, p),
        access if kind == "s" => return status(f, i, access),
        _ => {}
    }
    let by_value = |argument: String| Part {
        argument,
        ..Part::default()
    };
    if kind == "b" {
        return by_value(format!("numbers::buffer::<A>(a{i})"));
    }
    if kind == "l" && i == 1 && f.name == "File_set_view" {
        return by_value(format!("numbers::displacement::<A>(a{i})"));
    }
    if plain(kind) {
        return by_value(format!("a{i}"));
    }
    let [to, from] = number(kind);
    let argument = format!("&raw mut n{i} as usize");
    match &p.access {
        Access::Value => by_value(format!("{to}(a{i})")),
        Access::Array {
            count,
            read,
            written,
        } => {
            let n = length(*count, f, i);
            Part {
                before: format!("let mut n{i} = read_numbers(a{i}, {n}, {read}, {to});"),
                argument: format!("n{i}.at()"),
                after: if *written {
                    format!("if code == 0 {{ write_numbers(a{i}, n{i}, {from}); }}")
                } else {
                    String::new()
                },
                ..Part::default()
            }
        }
        Access::Written => Part {
            before: format!("let mut n{i} = 0i32;"),
            argument,
            after: format!("if code == 0 {{ put(a{i}, {from}(n{i})); }}"),
            ..Part::default()
        },
        Access::Read | Access::Both => Part {
            before: format!("let mut n{i}: i32 = {to}(get(a{i}));"),
            argument,
            after: format!("if code == 0 {{ put(a{i}, {from}(n{i})); }}"),
            ..Part::default()
        },
    }
}

fn function(index: usize, f: &Function) -> String {
    let letters = f.letters();
    let types = |native| -> Vec<&str> { letters.chars().map(|c| c_type(c, native)).collect() };
    let params: String = types(false)
        .iter()
        .enumerate()
        .map(|(i, t)| format!("a{i}: {t}, "))
        .collect();
    let parts: Vec<Part> = f
        .params
        .iter()
        .enumerate()
        .map(|(i, p)| part(f, i, p))
        .collect();
    let join = |of: &dyn Fn(&Part) -> &str| -> String { parts.iter().map(of).collect() };
    let arguments: Vec<&str> = parts.iter().map(|p| p.argument.as_str()).collect();
    let ret = c_type(f.ret.chars().next().expect("a kind"), false);
    let code = if f.ret == "i" {
        "numbers::code::<A>(code)"
    } else {
        "code"
    };
    format!(
        "/// `MPI_{name}`.\npub unsafe extern \"C\" fn mpi_{lower}<A: Library>({params}) -> {ret} {{\n\
         let f: unsafe extern \"C\" fn({native}) -> {ret} = transmute(library({index}));\n\
         {before}\nlet code = f({arguments});\nlet code = {code};\n{after}{last}\ncode\n}}\n",
        name = f.name,
        lower = f.name.to_lowercase(),
        native = types(true).join(", "),
        before = join(&|p| &p.before),
        arguments = arguments.join(", "),
        after = join(&|p| &p.after),
        last = join(&|p| &p.last),
    )
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let functions = mpi_spec::functions();
    let (mut bodies, mut names, mut entries, mut indices) =
        (String::new(), String::new(), String::new(), String::new());
    for (index, f) in functions.iter().enumerate() {
        writeln!(names, "c\"PMPI_{}\",", f.name).unwrap();
        writeln!(indices, "pub const {}: usize = {index};", f.name).unwrap();
        let by_hand = BY_HAND.contains(&f.name.as_str());
        if by_hand {
            writeln!(
                entries,
                "{}::mpi_{}::<A> as *const () as usize,",
                match f.name.as_str() {
                    name if name.contains("rror_") => "errors",
                    name if name.ends_with("ccumulate") => "accumulate",
                    _ => "special",
                },
                f.name.to_lowercase()
            )
            .unwrap();
        } else if left_out(f) {
            writeln!(entries, "0,").unwrap();
        } else {
            writeln!(
                entries,
                "mpi_{}::<A> as *const () as usize,",
                f.name.to_lowercase()
            )
            .unwrap();
            bodies.push_str(&function(index, f));
        }
    }
    let text = format!(
        "/// Number of functions.\npub const COUNT: usize = {};\n\
         /// The library's names.\npub static NAMES: [&CStr; COUNT] = [{names}];\n\
         /// Indices.\n#[allow(non_upper_case_globals, missing_docs, dead_code)]\npub mod ix {{ {indices} }}\n\
         /// The adapter's functions; 0: there is none.\npub fn entries<A: Library>() -> [usize; COUNT] {{ [{entries}] }}\n{bodies}",
        functions.len()
    );
    let out = env::var("OUT_DIR").expect("OUT_DIR");
    fs::write(Path::new(&out).join("functions.rs"), text).expect("write functions.rs");
}
