//! Infrastructure faults, and how long the driver waits before it reports one.

use std::path::PathBuf;
use std::time::Duration;

/// How long the driver waits for a zygote or a fresh child. A zygote boots in about 60 ms on a quiet machine.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

/// An infrastructure fault: never caused by the program, never its result. Retry with a fresh [`crate::Sandbox`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine cannot provide the requested level of isolation, and why.
    #[error("sandbox unavailable: {0}")]
    Unavailable(String),
    /// The interpreter did not start.
    #[error("sandbox: starting {python}: {cause}")]
    Start {
        /// Which interpreter.
        python: PathBuf,
        /// What it printed.
        cause: String,
    },
    /// The zygote or the fresh child failed before any user code ran.
    #[error("sandbox: {step}: {cause}")]
    Broken {
        /// What was being done.
        step: &'static str,
        /// What happened.
        cause: String,
    },
    /// A limit outside its range.
    #[error("sandbox limits: {0}")]
    Limits(String),
}

/// Names the step that failed: `.map_err(broken("socket pair"))`.
pub(crate) fn broken<E: ToString>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |cause| Error::Broken {
        step,
        cause: cause.to_string(),
    }
}
