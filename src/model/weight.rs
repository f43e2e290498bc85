//! The weight of a product: a tensor that can be trained, or numbers as narrow as a file has them, packed for inference.
//! Deliberately not here: biases and adapters (`linear`), and the products themselves (`ops`).

use super::ModelError;
use super::ops::{self, Graph, Packed};
use super::params::{Kind, Spec};
use crate::gguf::blocks::{self, Type};
use candle_core::{Device, Result as CandleResult, Tensor};
use std::borrow::Cow;
use std::sync::Arc;

/// A parameter of a decoder, wherever its numbers stand.
#[derive(Clone, Debug)]
pub enum Weight {
    Dense(Tensor),
    /// Rows as the product wants them: (out, in), or (vocab, width).
    Packed(Arc<Packed>),
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Self {
        Self::Dense(tensor)
    }
}

/// A product of several weights with the same rows: each weight with its bias, whether it is stored (in, out), and what it is
/// added to.
pub struct Factor<'a> {
    pub weight: &'a Weight,
    pub bias: Option<&'a Tensor>,
    pub transposed: bool,
    pub residual: Option<&'a Tensor>,
}

impl Weight {
    /// The tensor of a parameter that is not packed, such as a norm's.
    pub fn tensor(&self) -> Result<Tensor, ModelError> {
        match self {
            Self::Dense(tensor) => Ok(tensor.clone()),
            Self::Packed(packed) => Err(ModelError::Config(format!("a weight of {packed:?} stands where a tensor is needed"))),
        }
    }
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Dense(tensor) => Some(tensor),
            Self::Packed(_) => None,
        }
    }
    /// Rows and columns as they are stored.
    pub fn dims(&self) -> CandleResult<(usize, usize)> {
        match self {
            Self::Dense(tensor) => tensor.dims2(),
            Self::Packed(packed) => Ok((packed.rows(), packed.cols())),
        }
    }
    /// The type of the numbers and the bytes that they take.
    pub fn in_words(&self) -> (String, usize) {
        match self {
            Self::Dense(tensor) => (format!("{:?}", tensor.dtype()), tensor.elem_count() * tensor.dtype().size_in_bytes()),
            Self::Packed(packed) => (packed.kind().name().to_string(), packed.bytes()),
        }
    }
    /// The same numbers without a graph.
    pub fn detached(&self) -> Self {
        match self {
            Self::Dense(tensor) => Self::Dense(tensor.detach()),
            Self::Packed(packed) => Self::Packed(packed.clone()),
        }
    }
    /// Rows of a table by ids (batch, time): (batch, time, width).
    pub fn embedding(&self, graph: &Graph, ids: &Tensor) -> CandleResult<Tensor> {
        match self {
            Self::Dense(table) => ops::embedding(graph, table, ids),
            Self::Packed(table) => ops::packed_embedding(table, ids),
        }
    }
}

/// x (…, in) → (…, out) of each factor. Packed weights share one pass over the threads.
pub fn products(graph: &Graph, x: &Tensor, factors: &[Factor]) -> CandleResult<Vec<Tensor>> {
    let packed: Option<Vec<ops::PackedFactor>> = factors
        .iter()
        .map(|f| match f.weight {
            Weight::Packed(weight) => Some(ops::PackedFactor { weight, bias: f.bias, residual: f.residual }),
            Weight::Dense(_) => None,
        })
        .collect();
    if let Some(packed) = packed {
        return ops::packed_linears(graph, x, &packed);
    }
    let one = |f: &Factor| match f.weight {
        Weight::Dense(weight) => ops::linear(graph, x, weight, f.bias, f.transposed, f.residual),
        Weight::Packed(weight) => {
            let mut only = ops::packed_linears(graph, x, &[ops::PackedFactor { weight, bias: f.bias, residual: f.residual }])?;
            only.pop().ok_or_else(|| candle_core::Error::Msg("a product gave nothing".into()))
        }
    };
    factors.iter().map(one).collect()
}

/// A parameter as it stands in a file.
pub struct Raw<'a> {
    pub kind: Type,
    pub bytes: Cow<'a, [u8]>,
    /// Numbers of a row; rows are whole blocks.
    pub cols: usize,
    /// The file's row that holds a row of the parameter.
    pub order: Box<dyn Fn(usize) -> usize + Send + Sync>,
    /// What is taken from each number.
    pub less: f32,
}

impl Raw<'_> {
    fn row(&self, i: usize) -> &[u8] {
        let size = self.kind.size_of(self.cols as u64).unwrap_or(0) as usize;
        let at = (self.order)(i).saturating_mul(size);
        self.bytes.get(at..at.saturating_add(size)).unwrap_or_default()
    }
    /// All numbers of so many rows.
    pub fn numbers(&self, rows: usize) -> Vec<f32> {
        let mut out = vec![0f32; rows * self.cols];
        for (i, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            blocks::dequantize(self.kind, self.row(i), out);
            out.iter_mut().for_each(|x| *x -= self.less);
        }
        out
    }
    /// As a weight for inference on the processor: packed where it is a matrix, (rows, cols) as products want it.
    pub fn weight(&self, spec: &Spec, rows: usize) -> Result<Weight, ModelError> {
        if spec.shape.len() == 2 && matches!(spec.kind, Kind::Matrix | Kind::Expert | Kind::Embedding) && self.less == 0.0 {
            return Ok(Weight::Packed(Arc::new(Packed::new(self.kind, (rows, self.cols), |i| self.row(i))?)));
        }
        Ok(Weight::Dense(Tensor::from_vec(self.numbers(rows), spec.shape.as_slice(), &Device::Cpu)?))
    }
}
