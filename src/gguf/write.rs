//! Writing a GGUF file tensor by tensor, version 3, so that no second copy of a model stands in memory.
//! Deliberately not here: which keys and tensors a model has.

use super::blocks::Type;
use std::io::{Error, Result, Write};

/// Where tensors begin, in multiples of so many bytes.
const ALIGNMENT: u64 = 32;

/// A value of the metadata, by the types that readers expect.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
}

/// A tensor that will be written: the slowest dimension first.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: Type,
}

impl Plan {
    fn bytes(&self) -> Option<u64> {
        let last = *self.shape.last()? as u64;
        let rows = self.shape.iter().rev().skip(1).try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
        self.kind.size_of(last)?.checked_mul(rows)
    }
}

/// What a tensor's bytes are written to.
pub type Source<'a> = &'a mut dyn Write;

/// A file under way: its head is written, its tensors follow in the order of their plans.
pub struct Writer<W: Write> {
    out: W,
    sizes: std::vec::IntoIter<u64>,
}

impl<W: Write> Writer<W> {
    /// Writes the head.
    pub fn new(mut out: W, metadata: Vec<(String, Meta)>, plans: Vec<Plan>) -> Result<Self> {
        let mut head = Vec::new();
        head.extend(b"GGUF");
        head.extend(3u32.to_le_bytes());
        head.extend((plans.len() as u64).to_le_bytes());
        head.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in &metadata {
            text(&mut head, key);
            entry(&mut head, value);
        }
        let mut offset = 0u64;
        let mut sizes = Vec::with_capacity(plans.len());
        for plan in &plans {
            let size = plan.bytes().ok_or_else(|| Error::other(format!("{} has no whole blocks of {}", plan.name, plan.kind.name())))?;
            text(&mut head, &plan.name);
            head.extend((plan.shape.len() as u32).to_le_bytes());
            plan.shape.iter().rev().for_each(|&d| head.extend((d as u64).to_le_bytes()));
            head.extend(plan.kind.number().to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += size.next_multiple_of(ALIGNMENT);
            sizes.push(size);
        }
        let padded = (head.len() as u64).next_multiple_of(ALIGNMENT) as usize;
        head.resize(padded, 0);
        out.write_all(&head)?;
        Ok(Self { out, sizes: sizes.into_iter() })
    }

    /// Writes the next tensor: `write` gives exactly its bytes.
    pub fn tensor(&mut self, write: &mut dyn FnMut(Source) -> Result<()>) -> Result<()> {
        let size = self.sizes.next().ok_or_else(|| Error::other("more tensors than were announced"))?;
        let mut counted = Counted { out: &mut self.out, bytes: 0 };
        write(&mut counted)?;
        if counted.bytes != size {
            return Err(Error::other(format!("a tensor of {size} bytes got {}", counted.bytes)));
        }
        let gap = size.next_multiple_of(ALIGNMENT) - size;
        self.out.write_all(&[0; ALIGNMENT as usize][..gap as usize])
    }

    /// All tensors are written; gives back what they were written to.
    pub fn finish(mut self) -> Result<W> {
        if self.sizes.next().is_some() {
            return Err(Error::other("fewer tensors than were announced"));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

struct Counted<'a, W> {
    out: &'a mut W,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A value behind its type; arrays behind the type and number of their elements.
fn entry(out: &mut Vec<u8>, value: &Meta) {
    let number = |n: u32| n.to_le_bytes();
    match value {
        Meta::U32(x) => [number(4), number(*x)].iter().for_each(|b| out.extend(b)),
        Meta::F32(x) => [number(6), x.to_le_bytes()].iter().for_each(|b| out.extend(b)),
        Meta::Bool(x) => {
            out.extend(number(7));
            out.push(u8::from(*x));
        }
        Meta::Text(x) => {
            out.extend(number(8));
            text(out, x);
        }
        Meta::Texts(list) => {
            array(out, 8, list.len());
            list.iter().for_each(|x| text(out, x));
        }
        Meta::F32s(list) => {
            array(out, 6, list.len());
            list.iter().for_each(|x| out.extend(x.to_le_bytes()));
        }
        Meta::I32s(list) => {
            array(out, 5, list.len());
            list.iter().for_each(|x| out.extend(x.to_le_bytes()));
        }
    }
}

fn array(out: &mut Vec<u8>, kind: u32, count: usize) {
    out.extend(9u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((count as u64).to_le_bytes());
}
