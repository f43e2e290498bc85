//! What a training frees stays with the process while it trains: a step needs again what the step before it freed, and
//! pages that went back to the system come cleared, at a tenth of a step's time. Deliberately not here: how much.

use std::ffi::{c_int, c_long};

/// `mi_option_purge_delay` in mimalloc's list of options.
const PURGE_DELAY: c_int = 15;
/// mimalloc's own, in ms.
const USUAL: c_long = 10;

/// While this lives, the allocator keeps what is freed; after it, the system gets it back.
pub struct Kept(());

impl Kept {
    pub fn new() -> Self {
        // SAFETY: sets a number of the allocator, which any thread may do at any time.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
        Self(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: as above; collecting takes the allocator's own locks.
        unsafe {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, USUAL);
            libmimalloc_sys::mi_collect(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        let before = delay();
        assert!((0..10_000).contains(&before), "{before}");
        let kept = Kept::new();
        assert_eq!(delay(), -1);
        drop(kept);
        assert_eq!(delay(), USUAL);
    }
}
