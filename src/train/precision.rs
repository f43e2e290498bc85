//! In which numbers a training computes: what the recipe asks for (`optim.precision`, `optim.tf32`) and what the device
//! can give. Deliberately not here: the casts themselves (`model`), and the weights, which are f32 in every case.

use candle_core::Device;

use crate::model::accelerator::{self, Tf32};
use crate::model::decoder::Decoder;
use crate::recipe::OptimSection;

/// Set up for a training, and in force for as long as this lives: the switch of TF32 is the whole process's.
pub struct Precision {
    /// What was asked for and is not given, for a person.
    pub notes: Vec<String>,
    tf32: Option<Tf32>,
}

impl Precision {
    /// Sets the decoder up as the recipe wants it.
    pub fn of_recipe(optim: &OptimSection, decoder: &mut Decoder) -> Self {
        let device = decoder.device().clone();
        let mut notes = Vec::new();
        let bf16 = optim.precision == "bf16";
        let possible = accelerator::bf16(&device);
        decoder.set_bf16(bf16 && possible.is_ok());
        if let (true, Err(why)) = (bf16, possible) {
            notes.push(format!("optim.precision = \"bf16\": {why}; this run computes in f32"));
        }
        let cuda = matches!(device, Device::Cuda(_));
        if optim.tf32 == Some(true) && !cuda {
            notes.push("optim.tf32 = true does nothing on this device: TF32 is CUDA's alone; products are in f32".into());
        }
        // A training bears TF32's rounding (10 bits of mantissa, as f16 has, with sums in f32), and its products take a
        // fraction of the time: PyTorch's documentation recommends it for training and leaves it off for everything else.
        let tf32 = cuda.then(|| Tf32::set(optim.tf32.unwrap_or(true)));
        Self { notes, tf32 }
    }

    /// What products are made in: `bf16`, `tf32`, `f32`.
    pub fn name(&self, decoder: &Decoder) -> &'static str {
        match &self.tf32 {
            _ if decoder.bf16() => "bf16",
            Some(tf32) if tf32.on() => "tf32",
            _ => "f32",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Config;
    use crate::recipe::ModelSection;
    use candle_core::DType;

    #[test]
    fn what_the_cpu_cannot_give_is_told_and_not_half_done() {
        let section = ModelSection { width: 8, heads: 2, layers: 1, context: 8, ..ModelSection::default() };
        let mut decoder = Decoder::new(Config::from_recipe(&section, 5, None).unwrap(), 1, DType::F32, &Device::Cpu).unwrap();
        let notes = |precision: &str, tf32, decoder: &mut Decoder| {
            Precision::of_recipe(&OptimSection { precision: precision.into(), tf32, ..OptimSection::default() }, decoder).notes
        };
        assert!(notes("f32", None, &mut decoder).is_empty());
        assert!(notes("f32", Some(false), &mut decoder).is_empty());
        let told = notes("bf16", Some(true), &mut decoder);
        assert!(told.last().is_some_and(|note| note.contains("tf32")), "{told:?}");
        match accelerator::bf16(&Device::Cpu) {
            Ok(()) => assert!(told.len() == 1 && decoder.bf16(), "{told:?}"),
            Err(_) => assert!(told.len() == 2 && told[0].contains("computes in f32") && !decoder.bf16(), "{told:?}"),
        }
    }
}
