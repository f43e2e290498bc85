//! Which device computes: `cpu`, `cuda`, `cuda:1`, `metal`.
//! Deliberately not here: anything that computes.

use candle_core::Device;

use super::EngineError;
use crate::model::accelerator;

/// What a device's name means, whether or not this build and this machine have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cpu,
    /// With the number of the card.
    Cuda(usize),
    Metal,
}

/// Reads a device's name.
pub fn parse(name: &str) -> Result<Kind, EngineError> {
    match name.split_once(':').map_or((name, Ok(0)), |(kind, n)| (kind, n.parse::<usize>())) {
        ("cpu", _) if name == "cpu" => Ok(Kind::Cpu),
        ("metal", _) if name == "metal" => Ok(Kind::Metal),
        ("cuda", Ok(n)) => Ok(Kind::Cuda(n)),
        ("cuda", Err(_)) => Err(wrong(name, "the number of a GPU follows the colon, as in cuda:1")),
        _ => Err(wrong(name, "no such device; devices are cpu, cuda, cuda:N, metal")),
    }
}

/// The device of this name; where none is given, the first accelerator that this build can use, else the CPU.
pub fn choose(name: Option<&str>) -> Result<Device, EngineError> {
    let Some(name) = name else {
        return match default_name() {
            "cuda" => Device::new_cuda(0).or(Ok(Device::Cpu)),
            "metal" => Device::new_metal(0).or(Ok(Device::Cpu)),
            _ => Ok(Device::Cpu),
        };
    };
    known(Some(name))?;
    let made = match parse(name)? {
        Kind::Cpu => Ok(Device::Cpu),
        Kind::Cuda(n) => Device::new_cuda(n),
        Kind::Metal => Device::new_metal(0),
    };
    made.map_err(|e| wrong(name, &first_line(&e)))
}

/// Checks a device's name, and that this build has such devices, without touching any.
pub fn known(name: Option<&str>) -> Result<(), EngineError> {
    let Some(name) = name else { return Ok(()) };
    match parse(name)? {
        Kind::Cuda(_) if !cfg!(feature = "cuda") => {
            Err(wrong(name, "this build has no CUDA; build with --features cuda where nvcc is, or use cpu"))
        }
        Kind::Metal if !cfg!(feature = "metal") => {
            Err(wrong(name, "this build has no Metal; build with --features metal on a Mac, or use cpu"))
        }
        _ => Ok(()),
    }
}

fn wrong(name: &str, what: &str) -> EngineError {
    EngineError::Other(format!("--device {}: {what}", crate::text::visible(name, false)))
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

/// What `choose(None)` would try first, without touching it.
pub fn default_name() -> &'static str {
    if cfg!(feature = "cuda") {
        "cuda"
    } else if cfg!(feature = "metal") {
        "metal"
    } else {
        "cpu"
    }
}

/// What `choose(None)` gives, in words and figures for a page that is pasted into a bug report.
pub fn describe() -> Vec<(&'static str, serde_json::Value)> {
    let device = match choose(None) {
        Ok(device) => device,
        Err(error) => return vec![("device", error.to_string().into())],
    };
    let mut facts = vec![("device", format!("{:?}", device.location()).to_lowercase().into())];
    let Some(gpu) = accelerator::about(&device) else { return facts };
    facts.push(("gpu", gpu.name.into()));
    facts.push(("gpu_memory_mb", (gpu.memory_bytes / 1_000_000).into()));
    facts.push(("gpu_memory_free_mb", (gpu.free_bytes / 1_000_000).into()));
    facts.extend(gpu.capability.map(|(major, minor)| ("gpu_capability", format!("{major}.{minor}").into())));
    facts.extend(gpu.driver.map(|driver| ("gpu_driver", driver.into())));
    facts
}

pub use crate::train::lanes::threads;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_and_others_are_refused_with_a_remedy() {
        assert!(choose(Some("cpu")).unwrap().is_cpu());
        for (name, remedy) in [
            ("gpu", "devices are cpu, cuda, cuda:N, metal"),
            ("cuda:x", "as in cuda:1"),
            ("", "no such device"),
            ("cpu:1", "no such device"),
            ("metal:0", "no such device"),
        ] {
            let error = choose(Some(name)).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
        if cfg!(not(feature = "cuda")) {
            assert!(choose(Some("cuda:1")).unwrap_err().to_string().contains("--features cuda"));
        }
        if cfg!(not(feature = "metal")) {
            assert!(choose(Some("metal")).unwrap_err().to_string().contains("--features metal"));
        }
    }
}
