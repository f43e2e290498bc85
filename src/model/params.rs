//! stub
use candle_core::Var;

/// What a parameter is, for weight decay and display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Matrix,
    Embedding,
    Norm,
    Bias,
}

/// A trainable parameter under its Hugging Face name. Order is fixed by the architecture.
#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub var: Var,
    pub kind: Kind,
}
