//! Giving memory back after a rush.

use std::time::Duration;

/// How often unused memory is given back.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

/// Returns to the system what the allocator keeps free; without this, memory stays at its peak.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, and may be called at any time and from any thread (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
