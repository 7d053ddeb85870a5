//! Generates the MPI front's `extern "C"` exports from `mpi/spec.txt`.
use mpi_spec::{Access, Function, Param};
use std::fmt::Write as _;
use std::{env, fs, path::Path};

/// C parameter type of one letter of the specification.
fn rust_type(letter: char) -> &'static str {
    match letter {
        'p' | 'b' | 'd' | 'F' => "usize",
        'l' => "i64",
        'f' => "f64",
        _ => "i32",
    }
}

/// How one argument is handed to the lower half.
fn lower_arg(letter: char, index: usize) -> String {
    match letter {
        'C' => format!("handle::comm(a{index})?"),
        'D' => format!("handle::datatype(a{index})?"),
        'O' => format!("handle::op(a{index})?"),
        'W' => "w.low()".into(),
        'd' => format!("types{index}.as_ptr() as u64"),
        _ => format!("a{index} as u64"),
    }
}

/// Buffer, count, datatype, rank and tag: a message.
const MESSAGE: &str = "biDii";

/// The arguments for a function written by hand; a message is one of them.
fn grouped(args: &str) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < args.len() {
        if args[i..].starts_with(MESSAGE) {
            let [buf, n, t, peer, tag] = [0, 1, 2, 3, 4].map(|k| i + k);
            write!(
                out,
                "Message {{ buf: a{buf}, n: a{n}, t: a{t}, peer: a{peer}, tag: a{tag} }}, "
            )
            .unwrap();
            i += MESSAGE.len();
        } else {
            write!(out, "a{i}, ").unwrap();
            i += 1;
        }
    }
    out
}

/// Where `l` is a count before its datatype.
fn counts(args: &str) -> Vec<usize> {
    args.match_indices("lD").map(|(i, _)| i).collect()
}

/// A call of the function without `_c`, in which each count is an int and each datatype holds what is too many.
fn wide(twin: &str, args: &str, comm: &str) -> String {
    let list: Vec<String> = (0..args.len()).map(|i| format!("a{i}")).collect();
    let call = format!("mpi_{}({})", twin.to_lowercase(), list.join(", "));
    counts(args).into_iter().fold(call, |call, i| {
        let (n, t) = (i, i + 1);
        format!("large::narrow(a{n}, a{t}, {comm}, |a{n}, a{t}| {call})")
    })
}

/// The arguments of a collective whose name ends in `_c`, each an `Option` of that of the function without.
fn narrowed(name: &str, args: &str) -> String {
    let mut out = String::new();
    let mut buffers = 0;
    let mut buffer = 0;
    let reduce_scatter = name.to_lowercase().contains("reduce_scatter");
    // What comes after the communicator is no array: the request is one pointer more.
    let end = args.find('C').unwrap_or(args.len());
    for (i, c) in args[..end].char_indices() {
        let bytes = args[i..].starts_with("pd") && name.to_lowercase().contains("neighbor_");
        match c {
            'b' => (buffers, buffer) = (buffers + 1, i),
            'l' => write!(out, "let a{i} = kept.int(a{i})?; ").unwrap(),
            'p' if !bytes => {
                let side = match buffers {
                    _ if reduce_scatter => "Own",
                    1 => "Send",
                    _ => "Receive",
                };
                let root = args
                    .find('r')
                    .map_or("None".into(), |r| format!("Some(a{r})"));
                write!(
                    out,
                    "let a{i} = kept.ints(a{i}, large::Side::{side}, a{buffer} == IN_PLACE, {root})?; "
                )
                .unwrap();
            }
            _ => {}
        }
    }
    out
}

/// A collective whose name ends in `_c`; `own` is the call of the lower half's function of that name.
fn large_collective(f: &Function, twin: &str, comm: &str, own: &str) -> String {
    let args = f.letters();
    let list: Vec<String> = (0..args.len()).map(|i| format!("a{i}")).collect();
    let call = format!("mpi_{}({})", twin.to_lowercase(), list.join(", "));
    let request = match f.class.as_str() {
        "coll" => "0".into(),
        _ => format!("a{}", args.len() - 1),
    };
    format!(
        "let mut kept = large::Kept::new({comm});\n    let call = |kept: &mut large::Kept| {{ {}Some({call}) }};\n    \
         match call(&mut kept) {{\n        Some(code) => kept.end(code, {request}),\n        \
         None if !lower::has(ix::{name}) => large::beyond(\"{name}\", {comm}),\n        None => {own},\n    }}",
        narrowed(&f.name, &args),
        name = f.name,
    )
}

/// Statements that translate arrays of datatypes; their length is the communicator's. An array that is given twice is given
/// twice to the lower half, which looks whether it is one.
fn arrays(args: &str) -> String {
    let comm = args.find('C').unwrap_or(0);
    let make = |i, side| format!("handle::datatypes(a{i}, handle::{side}(a{comm})?)?");
    args.char_indices()
        .filter(|(_, c)| *c == 'd')
        .map(|(i, _)| match args[..i].find('d') {
            None => format!("let types{i} = {}; ", make(i, "send_len")),
            Some(j) => format!(
                "let types{i} = {}; let types{i} = if a{i} == a{j} && types{i} == types{j} {{ &types{j} }} else {{ &types{i} }}; ",
                make(i, "recv_len")
            ),
        })
        .collect()
}

/// Functions of which each plain pointer is a place for a result.
const ASKING: &[&str] = &[
    "Cartdim_get",
    "Comm_remote_size",
    "Comm_size",
    "Comm_test_inter",
    "Finalized",
    "Group_size",
    "Info_get_nkeys",
    "Initialized",
    "Op_commutative",
    "Type_extent",
    "Type_get_extent",
    "Type_get_extent_x",
    "Type_get_true_extent",
    "Type_get_true_extent_x",
    "Type_lb",
    "Type_size",
    "Type_size_x",
    "Type_ub",
];

/// Collectives that reduce the second buffer in place, where the first is MPI_IN_PLACE: its elements, and their type, follow.
const REDUCTIONS: &[&str] = &["Allreduce", "Exscan", "Reduce", "Scan"];

/// Where C passes arguments: pointers, and ints.
const REGISTERS: [[&str; 2]; 6] = [
    ["rdi", "edi"],
    ["rsi", "esi"],
    ["rdx", "edx"],
    ["rcx", "ecx"],
    ["r8", "r8d"],
    ["r9", "r9d"],
];

/// The call of the lower half's function for `quick::collective`, on communicator `c`, with the application's handles.
fn quick_call(name: &str, args: &str) -> String {
    let is_int = |letter| rust_type(letter) == "i32";
    if args.len() > REGISTERS.len() {
        let word = |(i, letter)| match letter {
            'C' => "c.low(), ".into(),
            _ => format!("a{i} as u64, "),
        };
        let words: String = args.chars().enumerate().map(word).collect();
        return format!("lower::call_marked(ix::{name}, &[{words}])");
    }
    let operand = |((i, letter), register): ((usize, char), &[&str; 2])| {
        let value = match letter {
            'C' => "c.low() as i32".into(),
            _ => format!("a{i}"),
        };
        format!(
            "in(\"{}\") {value}, ",
            register[usize::from(is_int(letter))]
        )
    };
    let operands: String = args
        .chars()
        .enumerate()
        .zip(&REGISTERS)
        .map(operand)
        .collect();
    format!("lower::call_in_place!(ix::{name}, {operands})")
}

/// The usual way of a blocking collective; all others are those of the function `slowly`.
fn quickly(function: &Function, args: &str, comm: &str, in_place: &str, slowly: &str) -> String {
    let list =
        |before: &str| -> String { (0..args.len()).map(|i| format!("{before}{i}, ")).collect() };
    let kinds = args.char_indices().filter(|(_, c)| matches!(c, 'D' | 'O'));
    let kinds: Vec<String> = kinds.map(|(i, _)| format!("a{i}")).collect();
    let kinds = if kinds.is_empty() {
        "0".into()
    } else {
        kinds.join(" | ")
    };
    let call = quick_call(&function.name, args);
    let quick = |in_place| {
        format!(
            "let mut given = ({}); match quick::collective({comm}, {in_place}, {kinds}, &mut given, move |c| {call}) {{ Some(code) => code, None => {slowly}({}) }}",
            list("a"), list("given.")
        )
    };
    match REDUCTIONS.contains(&function.name.as_str()) {
        // One in place that keeps its input has more to do.
        true => format!(
            "if {in_place} {{ return {slowly}({}); }} {}",
            list("a"),
            quick("false")
        ),
        false => quick(in_place),
    }
}

/// A statement that finds places for results that are null.
fn null_places(function: &Function, comm: &str) -> String {
    let asking = ASKING.contains(&function.name.as_str());
    let place = |p: &Param| match (&p.access, p.kind.as_str()) {
        (Access::Written | Access::Both, "s" | "thread") => false, // may be left out
        (Access::Written | Access::Both, _) => true,
        (Access::Value, "p") => asking,
        _ => false,
    };
    let list = (function.params.iter().enumerate()).filter(|(_, p)| place(p));
    let list: Vec<String> = list.map(|(i, _)| format!("a{i} == 0")).collect();
    if list.is_empty() {
        return String::new();
    }
    let any = list.join(" || ");
    format!("if {any} {{ return errs::raise({comm}, ERR_ARG); }} ")
}

/// The first `n` arguments as words.
fn words(n: usize) -> String {
    (0..n).map(|i| format!("a{i} as u64, ")).collect()
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The fronts need it by this name: `dlsym` with a handle of theirs finds MPI's functions.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsplitproc.so");
    let mut exports = String::new();
    let mut indices = String::new();
    let mut names = String::new();
    let mut kinds = String::new();
    let mut narrows = String::new();
    let functions = mpi_spec::functions();
    for (index, function) in functions.iter().enumerate() {
        let (name, class) = (&function.name, &function.class);
        let twin = name.strip_suffix("_c");
        let args = &function.letters();
        let params: String = args
            .char_indices()
            .map(|(i, c)| format!("a{i}: {}, ", rust_type(c)))
            .collect();
        let lower: Vec<String> = args.char_indices().map(|(i, c)| lower_arg(c, i)).collect();
        let lower = lower.join(", ");
        let arrays = arrays(args);
        let comm = args
            .find('C')
            .map_or("COMM_WORLD".into(), |i| format!("a{i}"));
        let in_place: Vec<String> = args
            .char_indices()
            .filter(|(_, c)| *c == 'b')
            .map(|(i, _)| format!("a{i} == IN_PLACE"))
            .collect();
        let in_place = if in_place.is_empty() {
            "false".into()
        } else {
            in_place.join(" || ")
        };
        let call = format!("|| {{ {arrays}lower::call(ix::{name}, &[{lower}]) }}");
        let ret_type = rust_type(function.ret.chars().next().expect("a return type"));
        writeln!(indices, "pub const {name}: usize = {index};").unwrap();
        writeln!(names, "\"{name}\",").unwrap();
        // What takes the same with an `int` for its count, or the function itself.
        let narrow = name
            .strip_suffix("_c")
            .filter(|n| functions.iter().any(|f| f.name == **n));
        writeln!(narrows, "ix::{},", narrow.unwrap_or(name)).unwrap();
        writeln!(kinds, "\"{args}\",").unwrap();
        let body = match class.split_once(':') {
            Some(("absent", code)) => format!("super::tools::absent({code})"),
            Some(("hand", module)) => {
                let given = grouped(args);
                format!("crate::mpi::{module}::{}({given})", name.to_lowercase())
            }
            None if class == "send" => format!("p2p::send(ix::{name}, {})", grouped(args)),
            None if class == "isend" => format!("start::isend(ix::{name}, {})", grouped(args)),
            None if class == "init" => {
                let kind = if name.starts_with("Recv") {
                    "Recv"
                } else {
                    "Send"
                };
                format!("start::init(Kind::{kind}, ix::{name}, {})", grouped(args))
            }
            None if REDUCTIONS.contains(&name.as_str()) => {
                format!("coll::reduction({comm}, {in_place}, (a1, a2, a3), {call})")
            }
            None if class == "coll" => format!("coll::blocking({comm}, {in_place}, {call})"),
            None if class == "icoll" => {
                let n = args.len() - 1;
                format!(
                    "icoll::start(ix::{name}, {comm}, {in_place}, &[{}], a{n})",
                    words(n)
                )
            }
            None if class == "rma" || class == "rrma" => {
                let at = |kind: &str| {
                    function
                        .params
                        .iter()
                        .position(|p| p.kind == kind)
                        .expect("one of this kind")
                };
                let (win, rank) = (at("W"), at("r"));
                if class == "rma" {
                    format!(
                        "rma::operation(a{win}, a{rank}, |w| lower::call(ix::{name}, &[{lower}]))"
                    )
                } else {
                    let out = args.len() - 1;
                    let (lower, _) = lower
                        .rsplit_once(", ")
                        .expect("the request is the last one");
                    format!("rma::request(ix::{name}, a{win}, a{rank}, a{out}, |w, r| lower::call(ix::{name}, &[{lower}, r]))")
                }
            }
            None if class == "pcoll" => {
                let n = args.len() - 2;
                let start = format!("I{}", name.to_lowercase().replacen("_init", "", 1));
                format!(
                    "persistent::init(ix::{start}, {comm}, {in_place}, &[{}], a{n}, a{})",
                    words(n),
                    n + 1
                )
            }
            None if class == "wide" => wide(twin.unwrap_or(name), args, &comm),
            None if class == "same" => "a0".into(),
            None if class == "file" => {
                format!("fileio::alone(ix::{name}, &[{}])", words(args.len()))
            }
            None if class == "fcoll" => {
                format!("fileio::collective(ix::{name}, &[{}])", words(args.len()))
            }
            None if class == "ifile" || class == "ifcoll" => {
                let (n, all) = (args.len() - 1, class == "ifcoll");
                format!("fileio::start(ix::{name}, {all}, &[{}], a{n})", words(n))
            }
            None if class == "fbegin" => {
                let blocking = name.replace("_begin", "");
                format!("fileio::begin(ix::{blocking}, &[{}])", words(args.len()))
            }
            None if class == "fend" => "fileio::end(a0, a1, a2)".into(),
            None if class == "fwd" => {
                format!("forward({comm}, || {{ {arrays}lower::call(ix::{name}, &[{lower}]) }})")
            }
            _ => format!("unsupported(\"{name}\")"),
        };
        let body = match (twin, class.as_str()) {
            (Some(twin), "coll" | "icoll" | "pcoll") => {
                large_collective(function, twin, &comm, &body)
            }
            _ => body,
        };
        // Where the parameters are not looked at there need be none.
        let unseen = class == "no" || class.starts_with("absent");
        // A tool may leave out what it does not want to know; MPI_ERRCODES_IGNORE is null.
        let as_given = name.starts_with("T_") || class == "hand:dynamic";
        let body = match unseen || as_given {
            true => body,
            false => null_places(function, &comm) + &body,
        };
        let params = if unseen { "" } else { &params };
        let lowercase = name.to_lowercase();
        let body = if class == "coll" && twin.is_none() && arrays.is_empty() {
            let slowly = format!("mpi_{lowercase}_slowly");
            writeln!(
                exports,
                "#[cold]\n#[inline(never)]\nunsafe extern \"C\" fn {slowly}({params}) -> i32 {{\n    {body}\n}}"
            )
            .unwrap();
            quickly(function, args, &comm, &in_place, &slowly)
        } else {
            body
        };
        writeln!(
            exports,
            "/// `MPI_{name}`, in the canonical ABI.\n/// # Safety\n/// As the MPI standard says of its arguments.\n\
             #[export_name = \"splitproc_MPI_{name}\"]\npub unsafe extern \"C\" fn mpi_{lowercase}({params}) -> {ret_type} {{\n    {body}\n}}"
        )
        .unwrap();
    }
    let out = env::var("OUT_DIR").expect("OUT_DIR");
    fs::write(Path::new(&out).join("exports.rs"), exports).expect("write exports.rs");
    let table = format!(
        "/// Indices of the functions in the lower half's table.\n#[allow(non_upper_case_globals, missing_docs, dead_code)]\npub mod ix {{ {indices} }}\n\
         /// Number of functions.\npub const COUNT: usize = {};\n/// Names, without `MPI_`.\npub static NAMES: [&str; COUNT] = [{names}];\n\
         /// Parameter letters, as in `mpi/spec.txt`.\npub static KINDS: [&str; COUNT] = [{kinds}];\n\
         /// Of each function the one that has an `int` where it has a large count.\npub static NARROW: [usize; COUNT] = [{narrows}];\n",
        functions.len()
    );
    fs::write(Path::new(&out).join("table.rs"), table).expect("write table.rs");
}
