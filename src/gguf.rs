//! The head of a GGUF file: its metadata and the list of its tensors, read with every count checked against the bytes that
//! are there. Deliberately not here: what any key or tensor means; that is their readers'.

pub mod blocks;
pub mod tensors;
pub mod write;

use std::fmt;

/// The most that a file's head is looked at: the largest known vocabularies with their merges take about 20 MB.
const MAX_HEAD_BYTES: usize = 512 << 20;
/// The most elements of all arrays together.
const MAX_ELEMENTS: u64 = 1 << 22;
/// Longer keys are no keys.
const MAX_KEY_BYTES: usize = 1 << 16;
/// Arrays of arrays of arrays are nobody's.
const MAX_DEPTH: u32 = 3;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    /// Strings are bytes: the format asks for UTF-8 and does not enforce it.
    Text(Vec<u8>),
    Array(Vec<Value>),
}

impl Value {
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(*x),
            Self::Unsigned(n) => Some(*n as f64),
            Self::Signed(n) => Some(*n as f64),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(list) => Some(list),
            _ => None,
        }
    }
}

/// What is wrong with a head, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Fault {}

/// The metadata of a file, in its order.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pub version: u32,
    pub entries: Vec<(String, Value)>,
}

impl Metadata {
    /// Whether bytes begin as a GGUF file does.
    pub fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(b"GGUF")
    }

    /// Reads the head of a file from its beginning (the whole file, mapped, will do).
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        read_head(bytes).map(|(metadata, ..)| metadata)
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

/// The metadata, how many tensors are said to follow, and what reads on behind the metadata.
fn read_head(bytes: &[u8]) -> Result<(Metadata, u64, Reader<'_>), Fault> {
    let mut reader = Reader { bytes: &bytes[..bytes.len().min(MAX_HEAD_BYTES)], at: 0, elements: MAX_ELEMENTS };
    if reader.take(4)? != b"GGUF" {
        return Err(Fault { at: 0, what: "not a GGUF file: it does not begin with GGUF".into() });
    }
    let version = u32::from_le_bytes(reader.array()?);
    if version.swap_bytes() < 16 && version > 16 {
        return Err(reader.fault("a big-endian GGUF file"));
    }
    if !(2..=3).contains(&version) {
        return Err(reader.fault(format!("GGUF version {version}, where 2 and 3 are known,")));
    }
    let tensors = u64::from_le_bytes(reader.array()?);
    let count = u64::from_le_bytes(reader.array()?);
    // A key and its value take 13 bytes at least.
    if count > (reader.left() / 13) as u64 {
        return Err(reader.fault(format!("{count} entries are said to follow, more than there are bytes for,")));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let key = reader.text()?;
        if key.len() > MAX_KEY_BYTES {
            return Err(reader.fault(format!("a key of {} bytes", key.len())));
        }
        let key = String::from_utf8_lossy(key).into_owned();
        let kind = u32::from_le_bytes(reader.array()?);
        entries.push((key, reader.value(kind, MAX_DEPTH)?));
    }
    Ok((Metadata { version, entries }, tensors, reader))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Elements of arrays that may still come.
    elements: u64,
}

impl<'a> Reader<'a> {
    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { at: self.at, what: what.into() }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        if n > self.left() {
            return Err(self.fault(format!("the file ends {} bytes early, or its head is damaged,", n - self.left())));
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn text(&mut self) -> Result<&'a [u8], Fault> {
        let len = u64::from_le_bytes(self.array()?);
        // No usize for it means that no file is that long either.
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, Fault> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(u32::from_le_bytes(self.array()?).into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?.to_vec()),
            9 if depth > 0 => self.list(depth)?,
            9 => return Err(self.fault("arrays nested too deep")),
            10 => Value::Unsigned(u64::from_le_bytes(self.array()?)),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.fault(format!("a value of the unknown type {other}"))),
        })
    }

    fn list(&mut self, depth: u32) -> Result<Value, Fault> {
        let kind = u32::from_le_bytes(self.array()?);
        let count = u64::from_le_bytes(self.array()?);
        let least: u64 = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            9 => 12,
            _ => 8,
        };
        if count > self.left() as u64 / least {
            return Err(self.fault(format!("an array of {count} elements, more than there are bytes for,")));
        }
        self.elements = self.elements.checked_sub(count).ok_or_else(|| self.fault(format!("an array of {count} elements, too many,")))?;
        (0..count).map(|_| self.value(kind, depth - 1)).collect::<Result<_, _>>().map(Value::Array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: u64, rest: &[u8]) -> Vec<u8> {
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes(), &entries.to_le_bytes(), rest].concat()
    }

    fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [&(key.len() as u64).to_le_bytes(), key.as_bytes(), &kind.to_le_bytes(), value].concat()
    }

    #[test]
    fn values_of_every_type_are_read() {
        let list = [8u32.to_le_bytes().as_slice(), &2u64.to_le_bytes(), &1u64.to_le_bytes(), b"a", &0u64.to_le_bytes()].concat();
        let rest =
            [entry("n", 4, &7u32.to_le_bytes()), entry("x", 6, &1.5f32.to_le_bytes()), entry("b", 7, &[1]), entry("l", 9, &list)].concat();
        let read = Metadata::read(&file(4, &rest)).unwrap();
        assert_eq!(read.get("n").and_then(Value::as_u64), Some(7));
        assert_eq!(read.get("x").and_then(Value::as_f64), Some(1.5));
        assert_eq!(read.get("b").and_then(Value::as_bool), Some(true));
        let texts: Vec<_> = read.get("l").and_then(Value::as_array).unwrap().iter().filter_map(Value::as_text).collect();
        assert_eq!(texts, ["a", ""]);
        assert_eq!(read.get("gone"), None);
    }

    #[test]
    fn hostile_counts_are_told_and_nothing_is_allocated_for_them() {
        let huge = u64::MAX.to_le_bytes();
        let cases = [
            (b"GGML".to_vec(), "does not begin with GGUF"),
            (b"GGUF\x03\0\0\0".to_vec(), "ends 8 bytes early"),
            ([b"GGUF".as_slice(), &3u32.to_be_bytes(), &[0; 16]].concat(), "big-endian"),
            ([b"GGUF".as_slice(), &9u32.to_le_bytes(), &[0; 16]].concat(), "GGUF version 9"),
            (file(u64::MAX, &[]), "more than there are bytes for"),
            (file(1, &[huge.as_slice(), &[0; 8]].concat()), "ends"),
            (file(1, &entry("k", 9, &[4u32.to_le_bytes().as_slice(), &huge].concat())), "more than there are bytes for"),
            (file(1, &entry("k", 99, &[0; 8])), "unknown type 99"),
        ];
        for (bytes, what) in cases {
            let fault = Metadata::read(&bytes).unwrap_err().to_string();
            assert!(fault.contains(what), "{fault}");
        }
        let nested: Vec<u8> = (0..9).flat_map(|_| [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat()).collect();
        assert!(Metadata::read(&file(1, &entry("k", 9, &nested))).unwrap_err().what.contains("nested"));
    }
}
