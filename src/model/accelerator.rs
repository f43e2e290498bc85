//! What is known of a device beyond its arithmetic: its name, its memory, how busy and how warm it is.
//! Deliberately not here: choosing one (`engine::device`), and the host's memory (`memory`, `train::measure`).

use candle_core::Device;

/// A GPU as its driver describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub name: String,
    pub memory_bytes: u64,
    pub free_bytes: u64,
    /// Major and minor; of CUDA alone.
    pub capability: Option<(i32, i32)>,
    /// The driver's version, where it tells it.
    pub driver: Option<String>,
}

/// None for the CPU, and where the driver does not answer.
pub fn about(device: &Device) -> Option<About> {
    match device {
        Device::Cuda(_) => cuda::about(device),
        _ => None,
    }
}

/// Bytes in use on the device, by all programs; none where it shares the host's memory or does not say.
pub fn used_bytes(device: &Device) -> Option<u64> {
    match device {
        Device::Cuda(_) => cuda::memory(device).map(|(free, all)| all.saturating_sub(free)),
        _ => None,
    }
}

/// Whether mixed precision in bf16 pays here; otherwise the reason why not.
pub fn bf16(device: &Device) -> Result<(), String> {
    match device {
        Device::Cpu if super::ops::has_bf16() => Ok(()),
        Device::Cpu => Err("bf16 needs a processor with AVX512-BF16, and this one has none".into()),
        Device::Cuda(_) => match about(device).and_then(|about| about.capability) {
            Some((major, minor)) if major < 8 => {
                Err(format!("bf16 needs a card of compute capability 8.0 or later, and this one has {major}.{minor}"))
            }
            _ => Ok(()),
        },
        Device::Metal(_) => Ok(()),
    }
}

/// Says whether f32 products may take TF32 (inputs of 10 bits of mantissa, sums in f32), for as long as it lives; the
/// device library has one such switch for the whole process.
pub struct Tf32 {
    on: bool,
    before: bool,
}

impl Tf32 {
    pub fn set(on: bool) -> Self {
        let before = candle_core::cuda::gemm_reduced_precision_f32();
        candle_core::cuda::set_gemm_reduced_precision_f32(on);
        Self { on, before }
    }
    pub fn on(&self) -> bool {
        self.on
    }
}

impl Drop for Tf32 {
    fn drop(&mut self) {
        candle_core::cuda::set_gemm_reduced_precision_f32(self.before);
    }
}

/// How busy and how warm a card is. Opened once, since the driver's library is loaded for it.
pub struct Gauge(Option<cuda::Gauge>);

impl Gauge {
    /// Tells nothing for other devices, and where the driver's library is missing.
    pub fn open(device: &Device) -> Self {
        Self(match device {
            Device::Cuda(_) => cuda::Gauge::open(device),
            _ => None,
        })
    }
    /// Percent of the last moments in which the card computed, and degrees Celsius.
    pub fn read(&self) -> Option<(f64, f64)> {
        self.0.as_ref().and_then(cuda::Gauge::read)
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::{About, Device};
    use candle_core::cuda::cudarc::driver::{CudaContext, sys};
    use nvml_wrapper::Nvml;
    use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
    use std::sync::Arc;

    fn context(device: &Device) -> Option<Arc<CudaContext>> {
        Some(device.as_cuda_device().ok()?.cuda_stream().context().clone())
    }

    /// Free bytes and all bytes.
    pub fn memory(device: &Device) -> Option<(u64, u64)> {
        let (free, all) = context(device)?.mem_get_info().ok()?;
        Some((free as u64, all as u64))
    }

    pub fn about(device: &Device) -> Option<About> {
        let context = context(device)?;
        let (free_bytes, memory_bytes) = memory(device)?;
        Some(About {
            name: context.name().ok()?,
            memory_bytes,
            free_bytes,
            capability: context.compute_capability().ok(),
            driver: Nvml::init().and_then(|nvml| nvml.sys_driver_version()).ok().or_else(newest_cuda),
        })
    }

    /// What the driver says where its management library is missing.
    fn newest_cuda() -> Option<String> {
        let mut version = 0;
        // SAFETY: the call writes one number, which outlives it.
        let result = unsafe { sys::cuDriverGetVersion(&raw mut version) };
        (result == sys::CUresult::CUDA_SUCCESS).then(|| format!("for CUDA {}.{}", version / 1000, version % 1000 / 10))
    }

    pub struct Gauge {
        nvml: Nvml,
        uuid: String,
    }

    impl Gauge {
        pub fn open(device: &Device) -> Option<Self> {
            let bytes = context(device)?.uuid().ok()?.bytes;
            let hex: String = bytes.iter().map(|b| format!("{:02x}", b.cast_unsigned())).collect();
            // The number of a card differs between CUDA and the management library; its name of 32 digits does not.
            let uuid = format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
            let nvml = Nvml::init().ok()?;
            nvml.device_by_uuid(uuid.as_str()).ok()?;
            Some(Self { nvml, uuid })
        }
        pub fn read(&self) -> Option<(f64, f64)> {
            let card = self.nvml.device_by_uuid(self.uuid.as_str()).ok()?;
            let busy = card.utilization_rates().ok()?.gpu;
            Some((f64::from(busy), f64::from(card.temperature(TemperatureSensor::Gpu).ok()?)))
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{About, Device};

    pub fn memory(_: &Device) -> Option<(u64, u64)> {
        None
    }
    pub fn about(_: &Device) -> Option<About> {
        None
    }
    pub enum Gauge {}
    impl Gauge {
        pub fn open(_: &Device) -> Option<Self> {
            None
        }
        pub fn read(&self) -> Option<(f64, f64)> {
            match *self {}
        }
    }
}
