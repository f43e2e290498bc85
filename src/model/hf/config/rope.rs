//! Rotary positions in a `config.json`: `rope_theta` and `rope_scaling` (transformers 4), `rope_parameters` (5).
//! Deliberately not here: what the numbers mean (`positions`).

use super::super::super::config::{Config, Family};
use super::super::super::positions::{Rope, Scaling, long_gain, yarn_gain};
use super::{ANEW, Habits, ModelError, Reader, says_something, shortened};
use serde_json::{Map, Value, json};

/// Keys of a rope object that are read, by one kind of scaling or another.
const KNOWN: &[&str] = &[
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "short_factor",
    "long_factor",
    // Written by early releases of Phi-3 beside the attention factor that follows from the lengths.
    "finetuned",
];

/// What a config says of one rotation, gathered from wherever it stands.
struct Found<'a> {
    reader: &'a Reader<'a>,
    /// The key under which most of it stands.
    key: &'static str,
    map: Map<String, Value>,
}

impl Found<'_> {
    fn refuse(&self, what: &str, remedy: &str) -> ModelError {
        self.reader.refuse(self.key, what, remedy)
    }
    fn optional(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let number = |v: &Value| match v.as_f64() {
            Some(x) => Ok(x),
            None => Err(self.refuse(&format!("{key} {} is not a number", shortened(v)), ANEW)),
        };
        self.map.get(key).map(number).transpose()
    }
    /// A positive number that has to be there.
    fn positive(&self, key: &str) -> Result<f64, ModelError> {
        match self.optional(key)? {
            Some(x) if x > 0.0 && x.is_finite() => Ok(x),
            Some(x) => Err(self.refuse(&format!("{key} = {x} is out of range"), ANEW)),
            None => Err(self.refuse(&format!("{key} is missing"), ANEW)),
        }
    }
    fn list(&self, key: &str, n: usize) -> Result<Vec<f64>, ModelError> {
        let list: Option<Vec<f64>> = self.map.get(key).and_then(Value::as_array).map(|l| l.iter().filter_map(Value::as_f64).collect());
        match list {
            Some(list) if list.len() == n && list.iter().all(|x| *x > 0.0) => Ok(list),
            _ => Err(self.refuse(&format!("{key} is not a list of {n} positive numbers"), ANEW)),
        }
    }

    fn scaling(&self, dims: usize, context: usize, original: usize) -> Result<Scaling, ModelError> {
        let kind = self.map.get("rope_type").or_else(|| self.map.get("type"));
        let kind = kind.map_or(Some("default"), Value::as_str).unwrap_or("?");
        let factor = || match self.positive("factor")? {
            f if f >= 1.0 => Ok(f),
            f => Err(self.refuse(&format!("factor = {f} is out of range; it is 1 or more"), ANEW)),
        };
        Ok(match kind {
            "default" => Scaling::None,
            "linear" => Scaling::Linear { factor: self.positive("factor")? },
            "dynamic" if dims > 2 => Scaling::Dynamic { factor: factor()?, original: context },
            "llama3" => {
                let (low, high) = (self.positive("low_freq_factor")?, self.positive("high_freq_factor")?);
                if high <= low {
                    return Err(self.refuse(&format!("high_freq_factor = {high} is not above low_freq_factor = {low}"), ANEW));
                }
                Scaling::Llama3 { factor: self.positive("factor")?, low, high, original }
            }
            "yarn" => {
                let factor = factor()?;
                let gain = match self.optional("attention_factor")? {
                    Some(gain) => gain,
                    None => yarn_gain(factor, self.optional("mscale")?, self.optional("mscale_all_dim")?),
                };
                let turns = |key: &str, default: f64| Ok::<_, ModelError>(self.optional(key)?.filter(|x| *x > 0.0).unwrap_or(default));
                let truncate = self.map.get("truncate").and_then(Value::as_bool).unwrap_or(true);
                Scaling::Yarn { factor, original, fast: turns("beta_fast", 32.0)?, slow: turns("beta_slow", 1.0)?, truncate, gain }
            }
            "longrope" | "su" => {
                let factor = self.optional("factor")?.unwrap_or(context as f64 / original as f64);
                let gain = self.optional("attention_factor")?.unwrap_or_else(|| long_gain(factor, original));
                Scaling::Long { short: self.list("short_factor", dims / 2)?, long: self.list("long_factor", dims / 2)?, original, gain }
            }
            other => {
                let remedy = "choose a model with default, linear, dynamic, llama3, yarn or longrope positions";
                return Err(self.refuse(&format!("rope_type {other:?} is not built here"), remedy));
            }
        })
    }
}

impl Reader<'_> {
    /// The rotation of heads of this width in a model of this context.
    pub fn rope(&self, head_dim: usize, context: usize, habits: Habits) -> Result<Rope, ModelError> {
        let found = self.gather(habits)?;
        let theta = found.optional("rope_theta")?.unwrap_or(habits.theta);
        let partial = found.optional("partial_rotary_factor")?.unwrap_or(habits.partial.unwrap_or(1.0));
        if habits.partial.is_none() && partial != 1.0 {
            let what = "partial_rotary_factor other than 1 is not built here for this family";
            return Err(found.refuse(what, "choose a model whose heads are rotated whole"));
        }
        if !(partial > 0.0 && partial <= 1.0) {
            return Err(found.refuse(&format!("partial_rotary_factor = {partial} is out of range"), ANEW));
        }
        let dims = (head_dim as f64 * partial) as usize;
        let own = found.optional("original_max_position_embeddings")?.map(|n| n as usize);
        let original = match self.present("original_max_position_embeddings") {
            Some(_) => self.size("original_max_position_embeddings", None)?,
            None => own.unwrap_or(context),
        };
        if original == 0 || context == 0 {
            return Err(found.refuse("positions of a context of 0", ANEW));
        }
        if theta <= 1.0 && found.map.contains_key("factor") {
            return Err(found.refuse(&format!("rope_theta = {theta} is out of range"), ANEW));
        }
        Ok(Rope { theta, dims, scaling: found.scaling(dims, context, original)? })
    }

    fn gather(&self, habits: Habits) -> Result<Found<'_>, ModelError> {
        let near = habits.rope_of == Some("sliding_attention");
        let mut found = Found { reader: self, key: if near { "rope_local_base_freq" } else { "rope_theta" }, map: Map::new() };
        if let Some(theta) = self.present(found.key) {
            found.map.insert("rope_theta".into(), theta.clone());
        }
        if let Some(part) = self.present("partial_rotary_factor") {
            found.key = "partial_rotary_factor";
            found.map.insert("partial_rotary_factor".into(), part.clone());
        }
        for key in ["rope_parameters", "rope_scaling"] {
            let Some(value) = self.present(key) else { continue };
            let Value::Object(object) = value else { return Err(self.refuse(key, "is not an object", ANEW)) };
            let nested = object.values().any(Value::is_object);
            let object = match (habits.rope_of, nested) {
                (Some(kind), true) => match object.get(kind) {
                    Some(Value::Object(own)) => own,
                    _ => continue,
                },
                (None, true) => {
                    return Err(self.refuse(
                        key,
                        "differs from layer to layer, which is not built here for this family",
                        "choose another model",
                    ));
                }
                // The older dialect scales the far positions alone.
                (Some(_), false) if near => continue,
                _ => object,
            };
            if let Some((other, _)) = object.iter().find(|(k, v)| !KNOWN.contains(&k.as_str()) && says_something(v)) {
                return Err(self.refuse(key, &format!("{other} is not known here and may change the positions"), "choose another model"));
            }
            found.key = key;
            found.map.extend(object.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())));
        }
        Ok(found)
    }
}

/// Writes the (first) rotation in both dialects.
pub fn write(c: &Config, map: &mut Map<String, Value>) {
    let Some(rope) = c.arch.ropes.first() else { return };
    let mut own = Map::new();
    let mut put = |pairs: Value| own.extend(pairs.as_object().cloned().unwrap_or_default());
    put(json!({ "rope_theta": rope.theta }));
    match &rope.scaling {
        Scaling::None => put(json!({ "rope_type": "default" })),
        Scaling::Linear { factor } => put(json!({ "rope_type": "linear", "factor": factor })),
        Scaling::Dynamic { factor, original } => {
            put(json!({ "rope_type": "dynamic", "factor": factor }));
            map.insert("max_position_embeddings".into(), json!(original));
        }
        Scaling::Llama3 { factor, low, high, original } => put(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original,
        })),
        Scaling::Yarn { factor, original, fast, slow, truncate, gain } => put(json!({
            "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, "beta_fast": fast,
            "beta_slow": slow, "truncate": truncate, "attention_factor": gain,
        })),
        Scaling::Long { short, long, original, gain } => {
            put(json!({
                "rope_type": "longrope", "short_factor": short, "long_factor": long, "attention_factor": gain,
                "original_max_position_embeddings": original,
            }));
            map.insert("original_max_position_embeddings".into(), json!(original));
        }
    }
    if rope.dims != c.head_dim || matches!(c.family, Family::Phi | Family::Stablelm | Family::GptNeox) {
        own.insert("partial_rotary_factor".into(), json!(rope.dims as f64 / c.head_dim as f64));
    }
    map.insert("rope_theta".into(), json!(rope.theta));
    if rope.scaling != Scaling::None {
        let mut older = own.clone();
        older.insert("type".into(), own.get("rope_type").cloned().unwrap_or(Value::Null));
        map.insert("rope_scaling".into(), Value::Object(older));
    }
    map.insert("rope_parameters".into(), Value::Object(own));
}
