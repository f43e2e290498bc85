//! What time it is where the person sits, as a chat template is told it.
//! Deliberately not here: how a template writes it (`data::template::Moment`).

use std::time::{SystemTime, UNIX_EPOCH};

use crate::data::template::Moment;

/// Now, in local time where the system says what that is.
pub fn now() -> Moment {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    Moment::utc(seconds + offset(seconds))
}

/// Seconds that local time is ahead of universal time.
#[cfg(unix)]
fn offset(seconds: i64) -> i64 {
    let time: libc::time_t = seconds;
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are of values that live here, and a zeroed `tm` is a valid one.
    let local = unsafe {
        libc::localtime_r(&time, local.as_mut_ptr());
        local.assume_init()
    };
    #[allow(clippy::useless_conversion)] // c_long has other widths elsewhere
    i64::from(local.tm_gmtoff)
}

#[cfg(not(unix))]
fn offset(_: i64) -> i64 {
    0
}
