//! Which device computes: `cpu`, `cuda`, `cuda:1`, `metal`.
//! Deliberately not here: anything that computes.

use candle_core::Device;

use super::EngineError;

/// The device of this name; where none is given, the first accelerator that this build can use, else the CPU.
pub fn choose(name: Option<&str>) -> Result<Device, EngineError> {
    let wrong = |what: String| EngineError::Other(format!("--device {}: {what}", crate::text::visible(name.unwrap_or_default(), false)));
    match name {
        None if cfg!(feature = "cuda") => Device::new_cuda(0).or(Ok(Device::Cpu)),
        None if cfg!(feature = "metal") => Device::new_metal(0).or(Ok(Device::Cpu)),
        None | Some("cpu") => Ok(Device::Cpu),
        Some("metal") if cfg!(feature = "metal") => Device::new_metal(0).map_err(|e| wrong(first_line(&e))),
        Some("metal") => Err(wrong("this build has no Metal; build with --features metal on a Mac, or use cpu".into())),
        Some(text) => match text.split_once(':').map_or((text, Ok(0)), |(kind, n)| (kind, n.parse::<usize>())) {
            ("cuda", Ok(n)) if cfg!(feature = "cuda") => Device::new_cuda(n).map_err(|e| wrong(first_line(&e))),
            ("cuda", Ok(_)) => Err(wrong("this build has no CUDA; build with --features cuda where nvcc is, or use cpu".into())),
            ("cuda", Err(_)) => Err(wrong("the number of a GPU follows the colon, as in cuda:1".into())),
            _ => Err(wrong("no such device; devices are cpu, cuda, cuda:N, metal".into())),
        },
    }
}

/// Checks a device's name without touching the device.
pub fn known(name: Option<&str>) -> Result<(), EngineError> {
    let compute = |n: &str| n == "cuda" || n.starts_with("cuda:") || n == "metal";
    match name {
        Some(name) if compute(name) && !cfg!(any(feature = "cuda", feature = "metal")) => choose(Some(name)).map(drop),
        Some(name) if !compute(name) => choose(Some(name)).map(drop),
        _ => Ok(()),
    }
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

/// Threads that compute on the CPU.
pub fn threads() -> usize {
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_and_others_are_refused_with_a_remedy() {
        assert!(choose(Some("cpu")).unwrap().is_cpu());
        for (name, remedy) in [("gpu", "devices are cpu, cuda, cuda:N, metal"), ("cuda:x", "as in cuda:1"), ("", "no such device")] {
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
