//! Errors of grading itself. A program that fails its tests is a verdict, never one of these.

/// What stops a grader.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's problem cannot be run; the message says which and why.
    #[error("{0}")]
    BadProblem(String),
    /// The sandbox could not be set up at the level asked for.
    #[error(transparent)]
    Sandbox(#[from] opsd_sandbox::Error),
    /// An unknown level of isolation.
    #[error("no isolation level {0:?}; there are S3, S2, S2j, S1 and S0")]
    Level(String),
    /// Level S0 was asked for without `allow_unsandboxed`.
    #[error("level S0 runs programs without any isolation; only allow_unsandboxed=True accepts it")]
    Unsandboxed,
    /// A job named a problem that was not put, or was dropped: a bug in the caller.
    #[error("job {job} names problem {key}, which was not sent")]
    UnknownProblem {
        /// Number of the job.
        job: u64,
        /// Key it named.
        key: u64,
    },
    /// No worker thread is left.
    #[error("all grading threads have ended")]
    Workers,
    /// The socket to the caller.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A frame that is not a message of the protocol.
    #[error("frame from the caller: {0}")]
    Frame(#[from] serde_json::Error),
    /// A test's text that is not UTF-8.
    #[error("test from the caller: {0}")]
    Text(#[source] std::string::FromUtf8Error),
}
