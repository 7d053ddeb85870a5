//! PTX text into tokens, each with its line.

use super::Error;

/// A token. Names keep what they begin with: `%r1`, `$L_1`, `_Z3addPf`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// A name: of an instruction, a register, a symbol.
    Name(&'a str),
    /// What follows a dot, with no dot: a directive, or a part of an instruction's name.
    Dot(&'a str),
    /// An integer.
    Int(i128),
    /// A number in single precision, by its bits.
    F32(u32),
    /// A number in double precision, by its bits.
    F64(u64),
    /// A text between quotes.
    Text(&'a str),
    /// Any other character.
    Sign(u8),
}

/// All tokens of a text, each with its line.
pub fn tokens(text: &str) -> Result<Vec<(Token<'_>, u32)>, Error> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
    };
    let mut all = Vec::with_capacity(text.len() / 4);
    loop {
        lexer.skip()?;
        let line = lexer.line;
        match lexer.next()? {
            Some(token) => all.push((token, line)),
            None => return Ok(all),
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

fn in_name(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c == b'$'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error::at(self.line, what)
    }

    /// Goes past blanks and comments.
    fn skip(&mut self) -> Result<(), Error> {
        loop {
            match self.rest() {
                [b'\n', ..] => {
                    self.line += 1;
                    self.at += 1;
                }
                [c, ..] if c.is_ascii_whitespace() || *c == 0 => self.at += 1,
                [b'/', b'/', ..] => self.at += self.run(0, |c| c != b'\n').len(),
                [b'/', b'*', ..] => {
                    let rest = &self.text[self.at..];
                    let end = rest
                        .find("*/")
                        .ok_or_else(|| self.error("a comment has no end"))?;
                    self.line += rest[..end].matches('\n').count() as u32;
                    self.at += end + 2;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The longest run of bytes, from `skip` bytes on, that all fit.
    fn run(&self, skip: usize, fits: impl Fn(u8) -> bool) -> &'a str {
        let from = self.at + skip;
        let n = self.text.as_bytes()[from..]
            .iter()
            .take_while(|c| fits(**c))
            .count();
        &self.text[from..from + n]
    }

    fn take(&mut self, len: usize, token: Token<'a>) -> Result<Option<Token<'a>>, Error> {
        self.at += len;
        Ok(Some(token))
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Error> {
        let rest = self.rest();
        match *rest {
            [] => Ok(None),
            [b'.', c, ..] if in_name(c) => {
                // `.shared::cta`, `.L1::evict_last` are one part.
                let name = self.run(1, |c| in_name(c) || c == b':');
                self.take(1 + name.len(), Token::Dot(name))
            }
            [c, ..] if c.is_ascii_digit() => self.number(),
            [c, ..] if in_name(c) || c == b'%' => {
                let name = self.run(1, in_name);
                let name = &self.text[self.at..self.at + 1 + name.len()];
                self.take(name.len(), Token::Name(name))
            }
            [b'"', ..] => {
                let text = self.run(1, |c| c != b'"');
                self.take(text.len() + 2, Token::Text(text))
            }
            [c, ..] if c.is_ascii_graphic() => self.take(1, Token::Sign(c)),
            [c, ..] => Err(self.error(format!("the byte {c:#x} has no meaning"))),
        }
    }

    fn number(&mut self) -> Result<Option<Token<'a>>, Error> {
        let word = self.run(0, |c| c.is_ascii_alphanumeric());
        let wrong = |_| Error::at(self.line, format!("{word} is no number"));
        let digits = word.trim_end_matches(['U', 'u']);
        let radix = |digits: &str, radix| i128::from_str_radix(digits, radix).map_err(wrong);
        let token = match word.as_bytes() {
            [b'0', b'f' | b'F', ..] => {
                Token::F32(u32::from_str_radix(&word[2..], 16).map_err(wrong)?)
            }
            [b'0', b'd' | b'D', ..] => {
                Token::F64(u64::from_str_radix(&word[2..], 16).map_err(wrong)?)
            }
            [b'0', b'x' | b'X', ..] => Token::Int(radix(&digits[2..], 16)?),
            [b'0', b'b' | b'B', ..] => Token::Int(radix(&digits[2..], 2)?),
            _ => return self.decimal(word, digits),
        };
        self.take(word.len(), token)
    }

    /// `12`, `012` (octal), `12U`, `1.5`, `1e-3`.
    fn decimal(&mut self, word: &'a str, digits: &str) -> Result<Option<Token<'a>>, Error> {
        let fraction =
            matches!(self.rest().get(word.len()..), Some([b'.', c, ..]) if c.is_ascii_digit());
        if fraction || (word.contains(['e', 'E'])) {
            let mut len = 0;
            let text = self.run(0, |c| {
                c.is_ascii_alphanumeric() || matches!(c, b'.' | b'+' | b'-')
            });
            let mut number = 0.0f64;
            for n in (1..=text.len()).rev() {
                if let Ok(value) = text[..n].parse() {
                    (number, len) = (value, n);
                    break;
                }
            }
            return self.take(len, Token::F64(number.to_bits()));
        }
        let octal = digits.len() > 1 && digits.starts_with('0');
        let value = i128::from_str_radix(digits, if octal { 8 } else { 10 });
        let value = value.map_err(|_| self.error(format!("{word} is no number")))?;
        self.take(word.len(), Token::Int(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Token<'_>> {
        tokens(text).unwrap().into_iter().map(|(t, _)| t).collect()
    }

    #[test]
    fn names_dots_and_numbers() {
        use Token::*;
        assert_eq!(
            all("@%p1 ld.shared::cta.v2.u32 {%r1, _}, [%rd2+-16]; // end"),
            [
                Sign(b'@'),
                Name("%p1"),
                Name("ld"),
                Dot("shared::cta"),
                Dot("v2"),
                Dot("u32"),
                Sign(b'{'),
                Name("%r1"),
                Sign(b','),
                Name("_"),
                Sign(b'}'),
                Sign(b','),
                Sign(b'['),
                Name("%rd2"),
                Sign(b'+'),
                Sign(b'-'),
                Int(16),
                Sign(b']'),
                Sign(b';'),
            ]
        );
        assert_eq!(
            all("0x10U 010 0b11 0f3F800000 0d3FF0000000000000 1.5 2e3 7U"),
            [
                Int(16),
                Int(8),
                Int(3),
                F32(0x3f80_0000),
                F64(1f64.to_bits()),
                F64(1.5f64.to_bits()),
                F64(2e3f64.to_bits()),
                Int(7),
            ]
        );
        assert_eq!(all("%tid.x"), [Name("%tid"), Dot("x")]);
    }

    #[test]
    fn lines_are_counted() {
        let tokens = tokens("a\n/* b\nc */ d // e\n\"f\"").unwrap();
        assert_eq!(tokens.iter().map(|t| t.1).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(super::tokens("a\n/* b").unwrap_err().line, 2);
    }
}
