//! The variables of a module: what its PTX, or its ELF file, has in global and constant memory.

/// Names of the variables that PTX declares outside its functions; those of other modules are not among them.
pub fn of_ptx(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut statement = String::new();
    let (mut depth, mut initial) = (0, false);
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        for c in line.chars() {
            match c {
                '{' if depth == 0 && statement.contains('=') => initial = true,
                '}' if initial => initial = false,
                '{' => {
                    depth += 1;
                    statement.clear();
                }
                '}' => depth -= 1,
                ';' if depth == 0 => {
                    names.extend(declared(&statement));
                    statement.clear();
                }
                _ if depth == 0 && !initial => statement.push(c),
                _ => {}
            }
        }
        // A directive of a line, as `.version 9.0`, has no end; what goes on does.
        let head = statement.trim_start();
        if [".version", ".target", ".address_size", ".file"]
            .iter()
            .any(|d| head.starts_with(d))
        {
            statement.clear();
        } else {
            statement.push(' ');
        }
    }
    names
}

fn declared(statement: &str) -> Option<String> {
    let head = statement.split('=').next()?;
    let head = head.split('[').next()?;
    let mut words = head.split_whitespace();
    let variable = words.clone().any(|w| w == ".global" || w == ".const");
    let elsewhere = words.clone().any(|w| w == ".extern");
    let name = words.next_back()?;
    (variable && !elsewhere && !name.starts_with('.')).then(|| name.to_owned())
}

/// Do kernels of this PTX take memory from the device's heap?
pub fn heap_in_ptx(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
        line.contains(".extern") && line.contains(".func") && words.any(|w| w == HEAP)
    })
}

/// The device's function that takes memory from its heap.
const HEAP: &str = "malloc";

/// A symbol of an ELF file.
struct Symbol {
    name: String,
    defined: bool,
    object: bool,
}

/// Those of a file; `None`: it can't be read.
fn symbols(file: &[u8]) -> Option<Vec<Symbol>> {
    const SYMBOLS: u32 = 2;
    const OBJECT: u8 = 1;
    let number = |at: usize, len: usize| {
        let mut word = [0; 8];
        word[..len].copy_from_slice(file.get(at..at.checked_add(len)?)?);
        usize::try_from(u64::from_le_bytes(word)).ok()
    };
    let (sections, size, count) = (number(40, 8)?, number(58, 2)?, number(60, 2)?);
    let section = |i: usize| sections.checked_add(i.checked_mul(size)?);
    let mut symbols = Vec::new();
    for i in 0..count {
        let head = section(i)?;
        if number(head + 4, 4)? as u32 != SYMBOLS {
            continue;
        }
        let (begin, len) = (number(head + 24, 8)?, number(head + 32, 8)?);
        let texts = number(section(number(head + 40, 4)?)? + 24, 8)?;
        for at in (begin..begin.checked_add(len)?).step_by(24) {
            let name = file.get(texts.checked_add(number(at, 4)?)?..)?;
            let end = name.iter().position(|b| *b == 0)?;
            symbols.push(Symbol {
                name: String::from_utf8_lossy(&name[..end]).into_owned(),
                defined: number(at + 6, 2)? != 0,
                object: *file.get(at + 4)? & 15 == OBJECT,
            });
        }
    }
    Some(symbols)
}

/// Names of the variables of an ELF file, which are its objects, and whether its kernels take memory from the device's
/// heap; `None`: it can't be read.
pub fn of_elf(file: &[u8]) -> Option<(Vec<String>, bool)> {
    let symbols = symbols(file)?;
    let heap = symbols.iter().any(|s| !s.defined && s.name == HEAP);
    let variables = symbols.into_iter().filter(|s| s.defined && s.object);
    Some((variables.map(|s| s.name).collect(), heap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_among_functions() {
        let text = "
.version 9.0
.target sm_90
.address_size 64
// .global .u32 none;
.extern .global .align 4 .u32 other;
.visible .const .align 4 .f32 factor;
.global .align 8 .u64 table[2] = {generic(a), 7};
.extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);
.visible .entry f(.param .u64 p) {
  .reg .b32 %r<3>;
  ld.global.u32 %r1, [p];
  { .reg .b32 t; }
}
.visible .global .attribute(.managed) .align 4 .u32 total;
.global .align 1 .b8 text[6] = {104, 101, 108, 108, 111, 0};
";
        assert_eq!(of_ptx(text), ["factor", "table", "total", "text"]);
    }

    #[test]
    fn the_heap_is_seen_to_be_used() {
        let used = ".extern .func  (.param .b64 func_retval0) malloc\n(\n\t.param .b64 malloc_param_0\n)\n;";
        assert!(heap_in_ptx(used));
        assert!(!heap_in_ptx(&used.replace("malloc", "vprintf")));
        assert!(!heap_in_ptx(
            ".visible .func (.param .b64 r) malloc_of_mine(.param .b64 n)"
        ));
    }

    #[test]
    fn a_damaged_file_has_no_variables() {
        assert_eq!(of_elf(b"\x7fELF"), None);
        assert_eq!(of_elf(&[0xff; 64]), None);
    }
}
