//! What this machine offers, for `doctor`.

/// One mechanism and whether it works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerStatus {
    /// `seccomp`, `landlock`, `user_notif`, ...
    pub name: &'static str,
    /// Grading refuses to start without it.
    pub required: bool,
    /// It works.
    pub available: bool,
    /// Version, or the cause when missing and what follows from it.
    pub detail: String,
}

/// Asks the kernel, changing nothing that lasts.
pub fn probe() -> Vec<LayerStatus> {
    Vec::new()
}
