//! What grading found out about one test: whether its answer is right, the verdict, and what the feedback needs.

use opsd_sandbox::Frame;
use serde::Serialize;

/// Verdict on a test or a solution. `NotRun` is for tests only, `NoCode` for solutions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The expected answer.
    Accepted,
    /// Another answer.
    WrongAnswer,
    /// Uncaught exception, non-zero exit, crash, missing entry point.
    RuntimeError,
    /// Too much CPU time.
    TimeLimit,
    /// Neither computing nor finished.
    IdleLimit,
    /// Too much memory.
    MemoryLimit,
    /// Too much output.
    OutputLimit,
    /// Killed for a system call that no honest program makes.
    SecurityViolation,
    /// The source does not compile.
    CompileError,
    /// The completion holds no code, or the code is blank.
    NoCode,
    /// Our own fault, after retries; says nothing about the program.
    InfraError,
    /// Skipped after an earlier failure.
    NotRun,
}

impl Verdict {
    /// Whether it counts against the program: not accepted, not skipped, not our own fault.
    pub fn failed(self) -> bool {
        !matches!(self, Self::Accepted | Self::InfraError | Self::NotRun)
    }
}

/// One test's outcome with what the feedback needs from it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// CPU seconds of the test.
    pub cpu_seconds: Option<f64>,
    /// Wall seconds from the release of the input to the end.
    pub wall_seconds: Option<f64>,
    /// Peak resident memory of the process.
    pub memory_mib: Option<f64>,
    /// A wrong answer as the feedback shows it (see `Feedback::answer`).
    pub actual: String,
    /// Length of the whole wrong answer.
    pub actual_bytes: usize,
    /// Standard error as the feedback shows it.
    pub debug: String,
    /// `ZeroDivisionError: division by zero`, the checker's remark, or our own fault.
    pub message: String,
    /// Class of the uncaught exception, or of what the compiler said.
    pub exception: Option<String>,
    /// In the user's own source, outermost first.
    pub frames: Vec<Frame>,
}

impl Outcome {
    /// A test without measurements.
    pub fn bare(verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            verdict,
            cpu_seconds: None,
            wall_seconds: None,
            memory_mib: None,
            actual: String::new(),
            actual_bytes: 0,
            debug: String::new(),
            message: message.into(),
            exception: None,
            frames: Vec::new(),
        }
    }
}

/// Whether one test's answer is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged {
    Right,
    Wrong {
        /// What the checker printed; mostly empty.
        remark: String,
    },
    /// It could not be judged, by our own or the checker's fault.
    Unknown {
        cause: String,
    },
}

impl Judged {
    pub(crate) fn plain(right: bool) -> Self {
        if right {
            Self::Right
        } else {
            Self::Wrong {
                remark: String::new(),
            }
        }
    }
}
