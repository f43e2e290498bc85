//! Writing a `.safetensors` file tensor by tensor, so that no second copy of the model stands in memory.
//! Deliberately not here: renaming a finished checkpoint into place; that is the run's.

use super::super::params::Param;
use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What can go wrong while writing.
pub enum Fault {
    Io(std::io::Error),
    Candle(candle_core::Error),
}

impl From<std::io::Error> for Fault {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e)
    }
}
impl From<candle_core::Error> for Fault {
    fn from(e: candle_core::Error) -> Self {
        Self::Candle(e)
    }
}

/// Writes a file and waits until it is on the disk.
pub fn synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes all parameters under their names: eight bytes of header length, the header in JSON padded to a multiple
/// of eight, then the numbers in little endian (github.com/huggingface/safetensors, "Format"). `format: pt` is
/// what transformers asks for.
pub fn safetensors(path: &Path, params: &[Param]) -> Result<(), Fault> {
    // Descending size of element, then name, as the format's own writer sorts.
    let mut sorted: Vec<&Param> = params.iter().collect();
    sorted.sort_by(|a, b| b.var.dtype().size_in_bytes().cmp(&a.var.dtype().size_in_bytes()).then(a.name.cmp(&b.name)));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offset = 0usize;
    for p in &sorted {
        let end = offset + p.var.elem_count() * p.var.dtype().size_in_bytes();
        header.insert(p.name.clone(), json!({ "dtype": name(p.var.dtype())?, "shape": p.var.dims(), "data_offsets": [offset, end] }));
        offset = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let file = File::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(&text)?;
    for p in sorted {
        numbers(&mut out, p.var.as_tensor())?;
    }
    out.flush()?;
    drop(out);
    file.sync_all()?;
    Ok(())
}

fn name(dtype: DType) -> Result<&'static str, candle_core::Error> {
    Ok(match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        other => candle_core::bail!("{other:?} is no type of weights"),
    })
}

fn numbers(out: &mut impl Write, tensor: &Tensor) -> Result<(), Fault> {
    let flat = tensor.detach().flatten_all()?;
    macro_rules! write_all {
        ($type:ty) => {
            for part in flat.to_vec1::<$type>()?.chunks(8192) {
                let bytes: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
                out.write_all(&bytes)?;
            }
        };
    }
    match flat.dtype() {
        DType::F64 => write_all!(f64),
        DType::F16 => write_all!(half::f16),
        DType::BF16 => write_all!(half::bf16),
        _ => write_all!(f32),
    }
    Ok(())
}
