//! Whether there is room for what is about to be allocated, asked before it is.
//! Deliberately not here: measuring what is used; that is the engine's.

use super::ModelError;
use candle_core::{DType, Device};

/// Fails where `elements` numbers of `dtype` cannot fit into the machine's memory. Devices with a memory of their
/// own say so themselves.
pub fn check(elements: u64, dtype: DType, device: &Device, what: &str) -> Result<(), ModelError> {
    if !device.is_cpu() {
        return Ok(());
    }
    let needed = elements.saturating_mul(dtype.size_in_bytes() as u64);
    // Asking the system costs some microseconds, and small models fit anywhere.
    if needed < 1 << 28 {
        return Ok(());
    }
    // Where the system does not say, its allocator will.
    let Ok(mut system) = sysinfo::System::new() else { return Ok(()) };
    system.refresh_memory();
    let available = system.available_memory();
    if available == 0 || needed <= available {
        return Ok(());
    }
    Err(ModelError::Config(format!(
        "{what} needs {} MB of memory and {} MB are free; choose fewer layers, a smaller width or vocabulary, or a machine with more memory",
        needed >> 20,
        available >> 20
    )))
}
