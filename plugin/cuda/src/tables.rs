//! Writes the plugin's tables and exported functions.

use crate::{driver, runtime, Driver, Runtime};
use std::fmt::Write as _;

/// Objects that handles mean: their letters in the table, and their names in the plugin's `Kind`.
const KINDS: &[(&str, &str)] = &[
    ("X", "Context"),
    ("S", "Stream"),
    ("E", "Event"),
    ("M", "Module"),
    ("F", "Function"),
    ("L", "Library"),
    ("K", "Kernel"),
    ("A", "Array"),
    ("B", "Mipmapped"),
    ("T", "Texture"),
    ("U", "Surface"),
    ("P", "Pool"),
    ("G", "Graph"),
    ("N", "Node"),
    ("Y", "Exec"),
];

fn object(letter: &str) -> Option<&'static str> {
    let found = KINDS.iter().find(|(l, _)| *l == letter);
    found.map(|(_, name)| *name)
}

/// A parameter's kind, as an expression of the plugin's `P`.
fn kind(p: &str) -> String {
    if let Some(name) = object(p) {
        return format!("P::Handle(Kind::{name})");
    }
    if let Some(name) = p.strip_suffix('>').and_then(object) {
        return format!("P::Made(Kind::{name})");
    }
    match p {
        "c" => "P::Text".into(),
        "c2<" => "P::Struct(Layout::Copy2)".into(),
        "c3<" => "P::Struct(Layout::Copy3)".into(),
        "c3p<" => "P::Struct(Layout::Copy3Peer)".into(),
        "rd<" => "P::Struct(Layout::Resource)".into(),
        "lc<" => "P::Struct(Layout::Launch)".into(),
        _ => match p.strip_suffix('<') {
            Some(n) => format!("P::Bytes({n})"),
            None => "P::Word".into(),
        },
    }
}

fn rust_type(p: &str) -> &'static str {
    match p {
        "i" => "i32",
        "dim3" => "Dim3",
        "extent" => "Extent",
        "pitched" => "Pitched",
        _ => "u64",
    }
}

fn parameters(params: &[String]) -> String {
    let each = params.iter().enumerate();
    each.map(|(i, p)| format!("a{i}: {}, ", rust_type(p)))
        .collect()
}

fn names(params: &[String]) -> String {
    (0..params.len()).map(|i| format!("a{i}, ")).collect()
}

fn words(params: &[String]) -> String {
    let each = params.iter().enumerate();
    each.map(|(i, p)| match rust_type(p) {
        "i32" => format!("a{i} as u64, "),
        _ => format!("a{i}, "),
    })
    .collect()
}

/// Numbers, names and parameters of the functions that cross.
pub fn lower_table() -> String {
    let all: Vec<Driver> = driver().into_iter().filter(Driver::crosses).collect();
    let mut indices = String::new();
    let mut names = String::new();
    let mut params = String::new();
    let mut waits = String::new();
    for (i, f) in all.iter().enumerate() {
        let kinds: Vec<String> = f.params.iter().map(|p| kind(p)).collect();
        writeln!(indices, "pub const {}: usize = {i};", f.name).expect("a string takes all");
        writeln!(names, "c\"{}\",", f.name).expect("a string takes all");
        writeln!(params, "&[{}],", kinds.join(", ")).expect("a string takes all");
        let copy = f.name.starts_with("cuMemcpy") && !f.name.contains("Async");
        write!(waits, "{copy}, ").expect("a string takes all");
    }
    let count = all.len();
    format!(
        "/// Indices of the functions in the lower half's table.\n#[allow(non_upper_case_globals, missing_docs, dead_code)]\n\
         pub mod ix {{ {indices} }}\n/// Number of functions.\npub const COUNT: usize = {count};\n\
         /// Their names.\npub static NAMES: [&core::ffi::CStr; COUNT] = [{names}];\n\
         /// Kinds of their parameters.\npub static PARAMS: [&[P]; COUNT] = [{params}];\n\
         /// Copies that wait for kernels.\npub static WAITS: [bool; COUNT] = [{waits}];\n"
    )
}

/// Functions that serve a forked child too: they take no lock, or are told apart further in.
const IN_CHILDREN: &[&str] = &[
    "cuGetErrorName",
    "cuGetErrorString",
    "cudaGetErrorName",
    "cudaGetErrorString",
    "cudaGetLastError",
    "cudaPeekAtLastError",
    "cudaRuntimeGetVersion",
    "__cudaPushCallConfiguration",
    "__cudaPopCallConfiguration",
];

/// What a function does first.
fn in_child(name: &str, refused: &str) -> String {
    match IN_CHILDREN.contains(&name) {
        true => String::new(),
        false => format!("if crate::forks::forked() {{ return {refused}; }} "),
    }
}

fn driver_body(f: &Driver) -> String {
    let name = &f.name;
    in_child(name, "crate::forks::refused()") + &driver_call(f)
}

fn driver_call(f: &Driver) -> String {
    let name = &f.name;
    let own = |class: &str| format!("call(ix::{name}, Class::{class}, &[{}])", words(&f.params));
    match f.class.split_once(':') {
        Some((_, module)) => format!("crate::{module}::{name}({})", names(&f.params)),
        None => match f.class.as_str() {
            "fwd" => own("Forward"),
            "wait" => own("Wait"),
            "make" => own("Make"),
            "free" => own("Free"),
            "set" => own("Set"),
            _ => format!("refuse(\"{name}\")"),
        },
    }
}

/// The driver's functions and, by name, their addresses.
pub fn driver_exports() -> String {
    let mut text = String::new();
    let mut list = String::new();
    let mut export = |name: &str, params: &[String], body: &str| {
        writeln!(
            text,
            "/// `{name}`.\n/// # Safety\n/// As the driver's documentation says of its arguments.\n\
             #[export_name = \"splitproc_{name}\"]\npub unsafe extern \"C\" fn {name}({}) -> i32 {{ {body} }}",
            parameters(params)
        )
        .expect("a string takes all");
        writeln!(list, "(\"{name}\", {name} as *const () as usize),").expect("a string takes all");
    };
    for f in driver() {
        // Where the parameters are not looked at there need be none.
        let params: &[String] = if f.class == "no" { &[] } else { &f.params };
        export(&f.name, params, &driver_body(&f));
        if let Some(ending) = f.variant() {
            let body = format!("per_thread(|| {}({}))", f.name, names(params));
            export(&format!("{}{ending}", f.name), params, &body);
        }
    }
    format!(
        "{text}/// The exported functions, in the table's order.\npub fn exported() -> &'static [(&'static str, usize)] {{\n    \
         static LIST: std::sync::OnceLock<Vec<(&'static str, usize)>> = std::sync::OnceLock::new();\n    LIST.get_or_init(|| vec![{list}])\n}}\n"
    )
}

/// Functions of the runtime that give no error code.
const PLAIN: &[&str] = &[
    "cudaGetErrorName",
    "cudaGetErrorString",
    "cudaGetLastError",
    "cudaPeekAtLastError",
    "__cudaRegisterFatBinary",
    "__cudaRegisterFatBinaryEnd",
    "__cudaUnregisterFatBinary",
    "__cudaRegisterFunction",
    "__cudaRegisterVar",
    "__cudaRegisterManagedVar",
    "__cudaRegisterHostVar",
    "__cudaInitModule",
    "__cudaPushCallConfiguration",
    "__cudaPopCallConfiguration",
];

/// Has it the class `hand`, and a body of its own shape?
fn exported_by_hand(f: &Runtime) -> bool {
    f.name == "cudaCreateChannelDesc"
}

fn runtime_function(f: &Runtime, all: &[Runtime]) -> Option<String> {
    if exported_by_hand(f) || f.class.starts_with("is:") {
        return None;
    }
    let rust_name = |f: &Runtime| f.symbol().trim_start_matches("splitproc_").to_owned();
    let mut params = &f.params;
    let plain = PLAIN.contains(&f.name.as_str());
    let body = match f.class.split_once(':') {
        Some((_, target)) => format!("through(|| crate::driver::{target}({}))", names(params)),
        None if f.class == "variant" => {
            let version = f.version.unwrap_or(13);
            let base = base_of(f, all, version);
            params = &base.params;
            format!("per_thread(|| {}({}))", rust_name(base), names(params))
        }
        None if f.class == "no" => format!("refuse(\"{}\")", f.name),
        None if plain => format!("hand::{}({})", rust_name(f), names(params)),
        None => format!("remember(hand::{}({}))", rust_name(f), names(params)),
    };
    let ret = if plain { "u64" } else { "i32" };
    // What a program registers when it begins and ends is no error there.
    let refused = match plain {
        true => "0",
        false => "remember(crate::forks::refused())",
    };
    let body = in_child(&f.name, refused) + &body;
    Some(format!(
        "/// `{name}`.\n/// # Safety\n/// As the runtime's documentation says of its arguments.\n\
         #[export_name = \"{symbol}\"]\npub unsafe extern \"C\" fn {rust}({}) -> {ret} {{ {body} }}\n",
        parameters(params),
        name = f.name,
        symbol = f.symbol(),
        rust = rust_name(f),
    ))
}

/// The function that a variant is of, behind other names of it.
fn base_of<'a>(f: &Runtime, all: &'a [Runtime], version: u32) -> &'a Runtime {
    let find = |name: &str, version| {
        let mut found = all.iter().filter(|g| g.name == name && g.is_in(version));
        found
            .next()
            .unwrap_or_else(|| panic!("cuda/runtime.txt: {name} is not there"))
    };
    let base = find(f.base(), version);
    match base.class.strip_prefix("is:") {
        Some(other) => find(other, 13),
        None => base,
    }
}

/// The runtime's functions.
pub fn runtime_exports() -> String {
    let all = runtime();
    all.iter()
        .filter_map(|f| runtime_function(f, &all))
        .collect()
}

/// The symbols of a version of the runtime library: each with the one of libsplitproc_cuda.so that it is.
pub fn runtime_symbols(version: u32) -> Vec<(String, String)> {
    let all = runtime();
    let each = all.iter().filter(|f| f.is_in(version));
    each.map(|f| {
        let target = match f.class.strip_prefix("is:") {
            Some(other) => format!("splitproc_{other}"),
            None => f.symbol(),
        };
        (f.name.clone(), target)
    })
    .collect()
}

/// The symbols of libcuda.so.1.
pub fn driver_symbols() -> Vec<(String, String)> {
    let each = driver().into_iter().flat_map(|f| {
        let variant = f.variant().map(|ending| format!("{}{ending}", f.name));
        [Some(f.name), variant]
    });
    each.flatten()
        .map(|name| (name.clone(), format!("splitproc_{name}")))
        .collect()
}
