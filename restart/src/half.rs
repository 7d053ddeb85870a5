//! Lower halves of the user's own: `NAME=LIBRARY`.

/// Letters that a name may have.
const LONGEST: usize = 15;

/// Reads the name and the library; the error says what is wrong.
pub fn parse(text: &str) -> Result<(String, String), String> {
    let (name, library) = text.split_once('=').ok_or("say NAME=LIBRARY")?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(word) {
        return Err(format!(
            "a name has 1 to {LONGEST} letters, digits, - and _"
        ));
    }
    if matches!(name, "host" | "mpi" | "cuda") {
        return Err(format!("{name} is a half that splitproc makes itself"));
    }
    if library.is_empty() {
        return Err("name a library".into());
    }
    Ok((name.to_owned(), library.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_a_name_and_a_library() {
        let one = ("a-1".to_owned(), "lib=x.so".to_owned());
        assert_eq!(parse("a-1=lib=x.so"), Ok(one));
        for bad in [
            "x",
            "=x",
            "x=",
            "a b=x",
            "sixteen-letters-=x",
            "mpi=x",
            "host=x",
            "cuda=x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
