//! Linking: several PTX texts, as `nvcc -rdc=true` makes them, into one.
//!
//! What a text has outside of its functions is taken apart; a name that two texts have for themselves alone gets another in one of
//! them, what one declares and another defines is declared once, before everything else, and of weak definitions the first is
//! taken. Nothing inside of functions is looked at, but for those names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Why texts can't be linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are two definitions, neither of them weak.
    #[error("{0} is defined twice")]
    Twice(String),
    /// Not PTX as a compiler writes it.
    #[error("a statement is not understood: {0}")]
    Statement(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linkage {
    Local,
    Extern,
    Weak,
    Visible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Function,
    Variable,
    /// Shared memory of the size that a launch says: it is never defined.
    Dynamic,
    Alias,
}

/// A statement outside of functions.
#[derive(Clone, Debug)]
struct Item {
    kind: Kind,
    linkage: Linkage,
    name: String,
    /// It is the thing itself, not its declaration.
    defined: bool,
    text: String,
}

/// A text's statements, and the newest version and architecture that it wants.
#[derive(Default)]
struct Parts {
    items: Vec<Item>,
    version: (u32, u32),
    target: (u32, String),
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

/// The text without its comments and what debuggers want of lines.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['/', '"']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let len = if from.starts_with("//") {
            from.find('\n').unwrap_or(from.len())
        } else if from.starts_with("/*") {
            from.find("*/").map_or(from.len(), |end| end + 2)
        } else {
            let text = from.strip_prefix('"').map(|t| t.find('"'));
            let len = text.map_or(1, |end| end.map_or(from.len(), |end| end + 2));
            out.push_str(&from[..len]);
            len
        };
        rest = &from[len..];
    }
    out.push_str(rest);
    let debugging = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with(".loc") || line[4..].starts_with(in_name)
    };
    let kept: Vec<&str> = out.lines().filter(debugging).collect();
    kept.join("\n")
}

/// How long the statement is that the text begins with; a function ends with its body.
fn statement(text: &str) -> usize {
    let (mut depth, mut initial, mut pragma) = (0, false, false);
    for (at, c) in text.char_indices() {
        let end = depth == 0 && c == ';' && !pragma;
        match c {
            // The end of a pragma of the function's (`.pragma "nounroll";`) is not its own.
            '"' => pragma = true,
            c if !c.is_whitespace() => pragma = false,
            _ => {}
        }
        match c {
            '=' if depth == 0 => initial = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if end || depth == 0 && c == '}' && !initial {
            return at + 1;
        }
    }
    text.len()
}

/// The first name in a text, past one list in parentheses (what a function returns).
fn function_name(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let text = match text.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1,
        None => text,
    };
    text.split(|c| !in_name(c))
        .find(|w| !w.is_empty() && !w.starts_with('.'))
}

fn item(text: &str) -> Result<Item, Error> {
    let wrong = || Error::Statement(text.chars().take(80).collect());
    let (first, rest) = text.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let (linkage, rest) = match first {
        ".extern" => (Linkage::Extern, rest),
        ".weak" => (Linkage::Weak, rest),
        ".visible" => (Linkage::Visible, rest),
        _ => (Linkage::Local, text),
    };
    let rest = rest.trim_start();
    let made = |kind, name: &str, linkage, defined| Item {
        kind,
        linkage,
        name: name.to_owned(),
        defined,
        text: text.to_owned(),
    };
    let function = rest
        .strip_prefix(".func")
        .or_else(|| rest.strip_prefix(".entry"));
    if let Some(rest_of_it) = function {
        let name = function_name(rest_of_it).ok_or_else(wrong)?;
        // Kernels are known to everybody.
        let linkage = match linkage {
            Linkage::Local if rest.starts_with(".entry") => Linkage::Visible,
            linkage => linkage,
        };
        return Ok(made(Kind::Function, name, linkage, text.ends_with('}')));
    }
    if let Some(names) = rest.strip_prefix(".alias") {
        let name = function_name(names).ok_or_else(wrong)?;
        return Ok(made(Kind::Alias, name, Linkage::Weak, true));
    }
    if ![".global", ".const", ".shared", ".tex"]
        .iter()
        .any(|s| rest.starts_with(s))
    {
        return Err(wrong());
    }
    let head = rest.split(['=', '[', ';']).next().unwrap_or_default();
    let name = head.split_whitespace().next_back().ok_or_else(wrong)?;
    if !name.chars().all(in_name) || name.starts_with('.') || head.contains(',') {
        return Err(wrong());
    }
    let kind = match linkage {
        Linkage::Extern if rest.starts_with(".shared") => Kind::Dynamic,
        _ => Kind::Variable,
    };
    Ok(made(kind, name, linkage, linkage != Linkage::Extern))
}

fn parts(text: &str) -> Result<Parts, Error> {
    let text = bare(text);
    let mut rest = text.trim_start();
    let mut parts = Parts::default();
    while !rest.is_empty() {
        let word = rest.split(char::is_whitespace).next().unwrap_or_default();
        let line = rest.find('\n').unwrap_or(rest.len());
        let value = rest[word.len()..line].trim();
        let number = |text: &str| {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        let len = match word {
            ".version" => {
                let (major, minor) = value.split_once('.').unwrap_or((value, "0"));
                parts.version = (number(major), number(minor));
                line
            }
            ".target" => {
                let name = value.split(',').next().unwrap_or_default().trim();
                parts.target = (number(name), name.to_owned());
                line
            }
            ".address_size" | ".file" => line,
            // What is only for debuggers.
            ".section" => statement(rest),
            ".pragma" => rest.find(';').map_or(rest.len(), |end| end + 1),
            _ => {
                let len = statement(rest);
                parts.items.push(item(&rest[..len])?);
                len
            }
        };
        rest = rest[len..].trim_start();
    }
    Ok(parts)
}

/// The text with other names for those that the function has others for.
fn renamed(text: &str, other: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(in_name) {
        out.push_str(&rest[..begin]);
        let word = &rest[begin..];
        let word = &word[..word.find(|c| !in_name(c)).unwrap_or(word.len())];
        match other(word) {
            Some(new) => out.push_str(&new),
            None => out.push_str(word),
        }
        rest = &rest[begin + word.len()..];
    }
    out.push_str(rest);
    out
}

/// Gives names that a text has for itself alone another, where another text has the same.
fn apart(all: &mut [Parts]) {
    let names = |parts: &Parts| -> BTreeSet<String> {
        parts.items.iter().map(|i| i.name.clone()).collect()
    };
    let known: Vec<BTreeSet<String>> = all.iter().map(names).collect();
    for (i, parts) in all.iter_mut().enumerate() {
        let elsewhere = |name: &String| {
            let mut others = known.iter().enumerate();
            others.any(|(j, names)| j != i && names.contains(name))
        };
        let local = |item: &&Item| item.linkage == Linkage::Local && elsewhere(&item.name);
        let found = parts.items.iter().filter(local);
        let found: BTreeSet<String> = found.map(|item| item.name.clone()).collect();
        if found.is_empty() {
            continue;
        }
        let other = |word: &str| found.contains(word).then(|| format!("{word}$linked{i}"));
        for item in &mut parts.items {
            item.text = renamed(&item.text, other);
            item.name = other(&item.name).unwrap_or_else(|| item.name.clone());
        }
    }
}

/// Leaves NVIDIA's device runtime out where nothing wants it: nvcc adds it to whatever has code for no GPU in particular.
fn without_runtime(all: &mut Vec<Parts>) {
    const ITS_OWN: &str = "_cuda_device_runtime_cu_";
    let runtime = |parts: &Parts| parts.items.iter().any(|i| i.name.contains(ITS_OWN));
    let others = all.iter().filter(|p| !runtime(p));
    let wanted: BTreeSet<String> = others
        .flat_map(|p| p.items.iter().filter(|i| !i.defined))
        .map(|i| i.name.clone())
        .collect();
    all.retain(|p| {
        let mut defined = p.items.iter().filter(|i| i.defined);
        !runtime(p) || defined.any(|i| wanted.contains(&i.name))
    });
}

/// The definition of each name.
fn definitions(items: &[Item]) -> Result<BTreeMap<&str, &Item>, Error> {
    let mut found: BTreeMap<&str, &Item> = BTreeMap::new();
    for item in items.iter().filter(|i| i.defined) {
        let before = found.get(item.name.as_str()).map(|i| i.linkage);
        match (before, item.linkage) {
            (Some(Linkage::Weak), Linkage::Weak) | (Some(_), Linkage::Weak) => {}
            (None | Some(Linkage::Weak), _) => {
                found.insert(&item.name, item);
            }
            (Some(_), _) => return Err(Error::Twice(item.name.clone())),
        }
    }
    Ok(found)
}

/// The declaration of what is defined as that item is, which may be in another text.
fn declaration(declared: &Item, defined: Option<&&Item>) -> String {
    let Some(defined) = defined else {
        return declared.text.clone();
    };
    let first = defined.text.split(char::is_whitespace).next();
    let rest = declared.text.strip_prefix(".extern");
    match (first, rest) {
        (Some(first @ (".visible" | ".weak")), Some(rest)) => format!("{first}{rest}"),
        (_, Some(rest)) => rest.trim_start().to_owned(),
        _ => declared.text.clone(),
    }
}

/// Variables, each after those that it begins with the addresses of.
fn ordered(mut waiting: Vec<&Item>) -> Vec<&Item> {
    let mut missing: BTreeSet<&str> = waiting.iter().map(|i| i.name.as_str()).collect();
    let mut out = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut left = Vec::new();
        for item in waiting {
            let begins = item.text.split_once('=').map_or("", |(_, b)| b);
            let mut words = begins.split(|c| !in_name(c));
            if words.any(|w| w != item.name && missing.contains(w)) {
                left.push(item);
            } else {
                missing.remove(item.name.as_str());
                out.push(item);
            }
        }
        if left.len() == before {
            // They go round in a circle, which no order helps.
            out.extend(left);
            break;
        }
        waiting = left;
    }
    out
}

/// One text of the PTX in these fat binaries for a device of this architecture: of each the newest up to it that is not for a newer
/// one than another has.
///
/// # Errors
/// One has no PTX, or it can't be linked.
pub fn link_all(parts: &[&[u8]], device: u32) -> Result<String, super::Error> {
    let newest = |part: &&[u8]| {
        let all = super::architectures(part)?.into_iter();
        Ok(all.filter(|a| *a <= device).max())
    };
    let newest = parts
        .iter()
        .map(newest)
        .collect::<Result<Vec<_>, super::Error>>()?;
    let most = newest.into_iter().flatten().min().unwrap_or(device);
    let texts = parts.iter().map(|part| super::ptx(part, most));
    Ok(link(&texts.collect::<Result<Vec<_>, _>>()?)?)
}

/// One text of all of these.
///
/// # Errors
/// There are two definitions of a name, or a statement is not understood.
pub fn link(texts: &[String]) -> Result<String, Error> {
    let mut all = Vec::new();
    for text in texts {
        all.push(parts(text)?);
    }
    without_runtime(&mut all);
    apart(&mut all);
    let version = all.iter().map(|p| p.version).max().unwrap_or_default();
    let target = all.iter().map(|p| p.target.clone()).max();
    let items: Vec<Item> = all.into_iter().flat_map(|p| p.items).collect();
    let defined = definitions(&items)?;
    let mut out = format!(
        ".version {}.{}\n.target {}\n.address_size 64\n",
        version.0,
        version.1,
        target.unwrap_or_default().1
    );
    let mut say = |text: &str| {
        let _ = writeln!(out, "{text}");
    };
    let mut declared = BTreeSet::new();
    for item in items.iter().filter(|i| !i.defined) {
        let definition = defined.get(item.name.as_str());
        // A variable is declared by what defines it.
        let needless = item.kind == Kind::Variable && definition.is_some();
        if !needless && declared.insert(&item.name) {
            say(&declaration(item, definition));
        }
    }
    let chosen = |item: &&Item| {
        let definition = defined.get(item.name.as_str());
        item.defined && definition.is_some_and(|d| std::ptr::eq(*d, *item))
    };
    let of = |kind| items.iter().filter(chosen).filter(move |i| i.kind == kind);
    for item in ordered(of(Kind::Variable).collect()) {
        say(&item.text);
    }
    for item in of(Kind::Function).chain(of(Kind::Alias)) {
        say(&item.text);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "
.version 8.4
.target sm_80
.address_size 64
.file 1 \"a//b.cu\"
.extern .func  (.param .b32 func_retval0) _Z1fi // f
(
\t.param .b32 _Z1fi_param_0
)
;
.extern .global .align 4 .u32 total;
.extern .shared .align 16 .b8 room[];
.global .align 8 .u64 places[2] = {generic(total), generic(mine)};
.global .align 4 .u32 mine = 7;
.weak .func once() { ret; }
.func helper() { .reg .b32 %r; ld.global.u32 %r, [mine]; ret; }
.entry kernel(.param .u64 p) {
\t.loc 1 5 0
\tcall helper, ();
}
";
    const B: &str = "
.version 9.0
.target sm_90, debug
.address_size 64
.extern .shared .align 16 .b8 room[];
.visible .global .align 4 .u32 total = 3;
.global .align 4 .u32 mine = 8;
.weak .func once() { ret; }
.func helper() { ld.global.u32 %r, [mine]; ret; }
.visible .func  (.param .b32 func_retval0) _Z1fi(
\t.param .b32 _Z1fi_param_0
) .noreturn .pragma \"nounroll\";
{ call helper, (); { } ret; }
.section .debug_abbrev {
\t.b8 1
}
";

    fn linked(texts: &[&str]) -> Result<String, Error> {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        link(&texts)
    }

    #[test]
    fn names_that_are_a_text_s_own_stay_apart() {
        let text = linked(&[A, B]).unwrap();
        assert!(text.starts_with(".version 9.0\n.target sm_90\n.address_size 64\n"));
        for once in [
            ".extern .shared .align 16 .b8 room[];",
            ".weak .func once() { ret; }",
            ".visible .global .align 4 .u32 total = 3;",
            ".global .align 4 .u32 mine$linked0 = 7;",
            ".global .align 4 .u32 mine$linked1 = 8;",
            "ld.global.u32 %r, [mine$linked0]",
            "ld.global.u32 %r, [mine$linked1]",
            ".func helper$linked1()",
            "{generic(total), generic(mine$linked0)}",
        ] {
            assert_eq!(text.matches(once).count(), 1, "{once} in\n{text}");
        }
        for never in [
            ".loc",
            ".file",
            ".section",
            ".extern .global",
            ".extern .func",
        ] {
            assert!(!text.contains(never), "{never} in\n{text}");
        }
    }

    #[test]
    fn what_is_used_is_declared_before() {
        let text = linked(&[A, B]).unwrap();
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}"));
        let declared = at(".visible .func  (.param .b32 func_retval0) _Z1fi");
        assert!(declared < at(".entry kernel"));
        assert!(at(".u32 total = 3") < at("places[2]"));
        assert!(at(".u32 mine$linked0") < at("places[2]"));
    }

    #[test]
    fn the_device_runtime_is_there_where_it_is_wanted() {
        let runtime = "
.version 9.0
.target sm_90
.extern .func malloc (.param .b64 n);
.entry __nv_static_52__1_22_cuda_device_runtime_cu_2__Z4fillv() { ret; }
.visible .func cudaLaunchDevice() { ret; }
";
        let user = ".extern .func cudaLaunchDevice();\n";
        assert!(!linked(&[A, B, runtime]).unwrap().contains("malloc"));
        assert!(linked(&[A, B, user, runtime]).unwrap().contains("malloc"));
    }

    #[test]
    fn what_nobody_defines_stays_declared_and_two_definitions_are_told() {
        let print =
            ".extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n".repeat(2);
        assert_eq!(linked(&[&print]).unwrap().matches("vprintf").count(), 1);
        let x = ".visible .global .u32 x;";
        assert_eq!(linked(&[x, x]), Err(Error::Twice("x".into())));
        assert!(linked(&[x, &x.replace(".visible", ".weak")]).is_ok());
        assert!(matches!(
            linked(&["once upon a time;"]),
            Err(Error::Statement(_))
        ));
    }
}
