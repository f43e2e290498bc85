//! With the feature `cuda`: compiles the project's own kernels to PTX. Deliberately not here: anything for other builds.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// The oldest cards that the kernels' PTX is for; drivers compile it for newer ones.
const ARCH: &str = "-arch=compute_75";
const KERNELS: &str = "src/model/ops/cuda/kernels.cu";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={KERNELS}");
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    let home = || std::env::var_os("CUDA_HOME").or_else(|| std::env::var_os("CUDA_PATH"));
    let nvcc = std::env::var_os("NVCC").map(PathBuf::from).or_else(|| Some(PathBuf::from(home()?).join("bin/nvcc")));
    let nvcc = nvcc.unwrap_or_else(|| "nvcc".into());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?).join("kernels.ptx");
    let ran = Command::new(&nvcc).args(["--ptx", ARCH, "-O3", "-std=c++17", KERNELS, "-o"]).arg(&out).status();
    match ran {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{KERNELS}: {} ended with {status}; see above", nvcc.display()).into()),
        Err(error) => {
            let remedy = "the feature cuda needs NVIDIA's compiler: put nvcc into the PATH, or name it in NVCC";
            Err(format!("{}: {error}; {remedy}", nvcc.display()).into())
        }
    }
}
