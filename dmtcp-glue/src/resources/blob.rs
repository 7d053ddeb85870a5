//! Bytes inside JSON: in hexadecimal, compressed before if there are many.

use serde::{de::Error, Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// Contents of a pipe, a queue, a deleted file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What begins the text of bytes that are compressed.
const COMPRESSED: &str = "zstd:";
/// Fewer bytes than that are not.
const MANY: usize = 1024;

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let (begin, bytes) = if self.0.len() < MANY {
            ("", Cow::Borrowed(&self.0))
        } else {
            let packed = zstd::encode_all(&self.0[..], 1).map_err(serde::ser::Error::custom)?;
            (COMPRESSED, Cow::Owned(packed))
        };
        let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
        let digits = digits.map(|d| char::from(DIGITS[usize::from(d)]));
        let text: String = begin.chars().chain(digits).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (packed, digits) = match text.strip_prefix(COMPRESSED) {
            Some(digits) => (true, digits),
            None => (false, &text[..]),
        };
        let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
        let pair = |p: &[u8]| Some(digit(p[0])? << 4 | digit(*p.get(1)?)?);
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
        let bytes = bytes.ok_or_else(|| D::Error::custom("bytes that are not hexadecimal"))?;
        if packed {
            return zstd::decode_all(&bytes[..])
                .map(Blob)
                .map_err(D::Error::custom);
        }
        Ok(Blob(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let blob = Blob((0..=255).collect());
        let text = serde_json::to_string(&blob).unwrap();
        assert_eq!(serde_json::from_str::<Blob>(&text).unwrap(), blob);
        let zeros = Blob(vec![0; 1 << 20]);
        let text = serde_json::to_string(&zeros).unwrap();
        assert!(text.len() < 1000, "{}", text.len());
        assert_eq!(serde_json::from_str::<Blob>(&text).unwrap(), zeros);
        assert!(serde_json::from_str::<Blob>("\"zstd:00\"").is_err());
        assert!(serde_json::from_str::<Blob>("\"0g\"").is_err());
        assert!(serde_json::from_str::<Blob>("\"abc\"").is_err());
    }
}
