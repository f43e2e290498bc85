//! The tensors of a GGUF file: names, shapes, types and where their bytes stand, all checked against the file before
//! anything is made of them. Deliberately not here: what a name means.

use super::blocks::Type;
use super::{Fault, Metadata, read_head};
use std::collections::HashMap;

/// More dimensions have no tensor of a model.
const MAX_DIMS: u32 = 4;
/// Where tensors begin, in multiples of so many bytes, if the file does not say.
const ALIGNMENT: u64 = 32;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// The slowest dimension first, as everywhere else: (rows, columns).
    pub shape: Vec<usize>,
    pub kind: Type,
    /// Its bytes stand from here …
    pub start: usize,
    /// … to here, within the file.
    pub end: usize,
}

impl Entry {
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
    /// Its bytes in the file that it was read from.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        file.get(self.start..self.end).unwrap_or_default()
    }
}

/// The head of a file.
#[derive(Clone, Debug)]
pub struct Contents {
    pub metadata: Metadata,
    /// In the order of the file.
    pub tensors: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

impl Contents {
    /// Reads the head of a file, of which `bytes` are all.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let (metadata, count, mut reader) = read_head(bytes)?;
        // A name's length, the number of dimensions, one dimension, the type and the offset.
        if count > (reader.left() / 32) as u64 {
            return Err(reader.fault(format!("{count} tensors are said to follow, more than there are bytes for,")));
        }
        let alignment = match metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(value) => value
                .as_u64()
                .filter(|n| n.is_power_of_two() && *n <= 1 << 20)
                .ok_or_else(|| reader.fault("an alignment that is no power of two"))?,
        };
        let mut tensors = Vec::new();
        let mut by_name = HashMap::new();
        for _ in 0..count {
            let name = String::from_utf8_lossy(reader.text()?).into_owned();
            let shown = || crate::text::visible(&name, false).chars().take(100).collect::<String>();
            let dims = u32::from_le_bytes(reader.array()?);
            if dims == 0 || dims > MAX_DIMS {
                return Err(reader.fault(format!("the tensor {} of {dims} dimensions", shown())));
            }
            let mut shape = Vec::new();
            let mut elements = 1u64;
            for _ in 0..dims {
                let n = u64::from_le_bytes(reader.array()?);
                elements = elements
                    .checked_mul(n)
                    .filter(|all| *all > 0 && *all <= 1 << 48)
                    .ok_or_else(|| reader.fault(format!("the tensor {} of impossible size", shown())))?;
                shape.insert(0, n as usize);
            }
            let kind = Type::from_number(u32::from_le_bytes(reader.array()?))
                .map_err(|e| reader.fault(format!("the tensor {} is of {e},", shown())))?;
            // Blocks run along the fastest dimension.
            let whole = kind.size_of(shape.last().copied().unwrap_or(0) as u64).is_some();
            let size = kind
                .size_of(elements)
                .filter(|_| whole)
                .ok_or_else(|| reader.fault(format!("the tensor {} has no whole blocks of {}", shown(), kind.name())))?;
            let offset = u64::from_le_bytes(reader.array()?);
            if !offset.is_multiple_of(alignment) {
                return Err(reader.fault(format!("the tensor {} begins at {offset}, which is not aligned,", shown())));
            }
            if by_name.insert(name.clone(), tensors.len()).is_some() {
                return Err(reader.fault(format!("the tensor {} twice", shown())));
            }
            tensors.push((name, shape, kind, offset, size));
        }
        let data = (reader.at as u64).next_multiple_of(alignment);
        let tensors = tensors.into_iter().map(|(name, shape, kind, offset, size)| {
            let end = data.checked_add(offset).and_then(|start| start.checked_add(size)).filter(|end| *end <= bytes.len() as u64);
            let Some(end) = end else {
                let what = format!(
                    "the tensor {} ends beyond the file, which is cut short or damaged,",
                    crate::text::visible(&name, false).chars().take(100).collect::<String>()
                );
                return Err(Fault { at: reader.at, what });
            };
            Ok(Entry { name, shape, kind, start: (end - size) as usize, end: end as usize })
        });
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        apart(&tensors, reader.at)?;
        Ok(Self { metadata, tensors, by_name })
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }
}

/// No two tensors share bytes: what looks like two would be one.
fn apart(tensors: &[Entry], at: usize) -> Result<(), Fault> {
    let mut order: Vec<&Entry> = tensors.iter().collect();
    order.sort_by_key(|t| t.start);
    for pair in order.windows(2) {
        if pair[1].start < pair[0].end {
            let names = [&pair[0].name, &pair[1].name].map(|n| crate::text::visible(n, false).chars().take(100).collect::<String>());
            return Err(Fault { at, what: format!("the tensors {} and {} share bytes", names[0], names[1]) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::write::{Meta, Plan, Source, Writer};
    use super::*;
    use crate::rng::Stream;
    use std::time::{Duration, Instant};

    fn file() -> Vec<u8> {
        let meta = vec![
            ("general.architecture".into(), Meta::Text("llama".into())),
            ("a.b".into(), Meta::U32(7)),
            ("c".into(), Meta::Texts(vec!["x".into(), String::new()])),
        ];
        let numbers: Vec<u8> = (0..12u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let blocks = vec![1u8; 2 * 34];
        let plans = vec![
            Plan { name: "one.weight".into(), shape: vec![3, 4], kind: Type::F32 },
            Plan { name: "two.weight".into(), shape: vec![2, 32], kind: Type::Q8_0 },
        ];
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, meta, plans).unwrap();
        for bytes in [numbers, blocks] {
            writer.tensor(&mut |to: Source| to.write_all(&bytes)).unwrap();
        }
        writer.finish().unwrap();
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = file();
        let read = Contents::read(&bytes).unwrap();
        assert_eq!(read.metadata.get("a.b").and_then(|v| v.as_u64()), Some(7));
        assert_eq!(
            read.tensors.iter().map(|t| (t.name.as_str(), t.shape.clone(), t.kind)).collect::<Vec<_>>(),
            [("one.weight", vec![3, 4], Type::F32), ("two.weight", vec![2, 32], Type::Q8_0)]
        );
        let one = read.get("one.weight").unwrap();
        assert!(one.start.is_multiple_of(32) && one.bytes(&bytes)[4..8] == 1f32.to_le_bytes() && one.elements() == 12);
        assert_eq!(read.get("two.weight").unwrap().bytes(&bytes), [1u8; 68]);
        assert!(read.get("three").is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let bytes = file();
        let at = bytes.windows(10).position(|w| w == b"one.weight").unwrap() + 10;
        let with = |offset: usize, new: &[u8]| {
            let mut changed = bytes.clone();
            changed[at + offset..at + offset + new.len()].copy_from_slice(new);
            Contents::read(&changed).unwrap_err().to_string()
        };
        let big = (1u64 << 60).to_le_bytes();
        assert!(with(0, &9u32.to_le_bytes()).contains("of 9 dimensions"));
        assert!(with(4, &big).contains("one.weight of impossible size"));
        assert!(with(4, &(1u64 << 40).to_le_bytes()).contains("ends beyond the file"));
        assert!(with(20, &99u32.to_le_bytes()).contains("one.weight is of the unknown type 99"));
        assert!(with(20, &16u32.to_le_bytes()).contains("type IQ2_XXS, which is not read here"));
        assert!(with(20, &12u32.to_le_bytes()).contains("no whole blocks of Q4_K"));
        assert!(with(24, &7u64.to_le_bytes()).contains("not aligned"));
        assert!(with(24, &(1u64 << 50).to_le_bytes()).contains("ends beyond the file"));
        assert!(with(24, &64u64.to_le_bytes()).contains("share bytes"));
        assert!(Contents::read(&bytes[..bytes.len() - 40]).unwrap_err().what.contains("two.weight ends beyond"));
        let mut many = bytes.clone();
        many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Contents::read(&many).unwrap_err().what.contains("more than there are bytes for"));
    }

    /// Any damage gives an error or a file whose tensors lie within it.
    #[test]
    fn damaged_files_break_nothing() {
        let whole = file();
        let mut stream = Stream::new(11, "gguf");
        let seconds = std::env::var("WEIGHTROOM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
        let until = Instant::now() + Duration::from_secs(seconds);
        let (mut tries, mut read) = (0u64, 0u64);
        while tries < 20_000 || Instant::now() < until {
            tries += 1;
            let mut bytes = whole.clone();
            for _ in 0..1 + stream.below(4) {
                let at = stream.below(bytes.len() as u64) as usize;
                match stream.below(4) {
                    0 => bytes[at] = stream.below(256) as u8,
                    1 => bytes[at] ^= 1 << stream.below(8),
                    2 if at + 8 < bytes.len() => bytes[at..at + 8].copy_from_slice(&(u64::MAX >> stream.below(64)).to_le_bytes()),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let Ok(contents) = Contents::read(&bytes) else { continue };
            read += 1;
            for tensor in &contents.tensors {
                assert!(
                    tensor.end <= bytes.len()
                        && tensor.bytes(&bytes).len() as u64 == tensor.kind.size_of(tensor.elements() as u64).unwrap()
                );
            }
        }
        println!("{tries} damaged files, {read} of which could be read all the same");
        assert!(read > 0 && read < tries);
    }
}
