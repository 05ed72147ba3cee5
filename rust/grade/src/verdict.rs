//! What grading found out: a verdict per test, one for the solution, in the words of the result line.

use opsd_sandbox::Frame;
use serde::Serialize;

use crate::case::Profile;
use crate::official::Official;
use crate::reason::Reason;

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
    /// Killed for a system call no honest program makes.
    SecurityViolation,
    /// The source does not compile.
    CompileError,
    /// The completion holds no code, or the code is blank.
    NoCode,
    /// Our own fault, after retries; says nothing about the program.
    InfraError,
    /// Left out after an earlier failure.
    NotRun,
}

impl Verdict {
    /// A verdict against the program (neither accepted, nor left out, nor our own fault).
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
    /// From release of the input to the end.
    pub wall_seconds: Option<f64>,
    /// Peak resident memory of the process.
    pub memory_mib: Option<f64>,
    /// A wrong answer as the feedback shows it (see `feedback::answer`).
    pub actual: String,
    /// Length of the whole wrong answer.
    pub actual_bytes: usize,
    /// Standard error as the feedback shows it.
    pub debug: String,
    /// `ZeroDivisionError: division by zero`, the checker's remark, or what our own fault was.
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

/// One test in a result line.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// Place in the problem's tests.
    pub index: usize,
    /// The verdict.
    pub verdict: Verdict,
    /// CPU seconds, None when not run.
    pub cpu_seconds: Option<f64>,
    /// Wall seconds, None when not run.
    pub wall_seconds: Option<f64>,
    /// Peak resident memory, None when not run.
    pub memory_mib: Option<f64>,
}

/// One solution's result.
#[derive(Debug, Clone, Serialize)]
pub struct Grade {
    /// None for `infra_error`: not known.
    pub passed: Option<bool>,
    /// See [`verdict_of`].
    pub verdict: Verdict,
    /// In input order.
    pub tests: Vec<CaseResult>,
    /// What a teacher may read about the failure; empty when every test passed.
    pub feedback: String,
    /// The same for programs; None when every test passed.
    pub reason: Option<Reason>,
    /// What happened on the way: `state_leak` (a failure vanished in a fresh process), `budget` (tests left out after
    /// a failure), `starved`, `killed` (a test was run again), `retried` (a sandbox was replaced), `confirmed` (a time limit was
    /// run a second time), `near_limit` (a test took 0.85 to 1.3 times its CPU limit).
    pub flags: Vec<String>,
    /// Words for `infra_error` and `runtime_error`, machine-readable enough for a log.
    pub message: String,
    /// What the official runner would have returned; official profiles only.
    pub official: Option<Official>,
    /// The verdict under a second profile, if one was asked for.
    pub also: Option<Box<Also>>,
}

/// A grade under a second profile.
#[derive(Debug, Clone, Serialize)]
pub struct Also {
    /// Which.
    pub profile: Profile,
    /// None: the problem cannot be run under it, for this reason.
    pub grade: Result<Grade, String>,
}

/// The solution's verdict: accepted iff all `num_tests` tests are; else the first failure in input order. An
/// infrastructure fault decides only when no test failed by itself: a sure failure is never hidden by our own.
pub(crate) fn verdict_of(outcomes: &[Outcome], num_tests: usize) -> Verdict {
    let accepted = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Accepted)
        .count();
    match outcomes.iter().find(|outcome| outcome.verdict.failed()) {
        Some(first) => first.verdict,
        None if accepted == num_tests && num_tests > 0 => Verdict::Accepted,
        None => Verdict::InfraError, // a test without an outcome never counts as passed
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Verdict, verdict_of};

    fn of(verdicts: &[Verdict], num_tests: usize) -> Verdict {
        let outcomes: Vec<_> = verdicts
            .iter()
            .map(|&verdict| Outcome::bare(verdict, ""))
            .collect();
        verdict_of(&outcomes, num_tests)
    }

    #[test]
    fn first_failure_decides_and_our_fault_never_hides_it() {
        use Verdict::{Accepted, InfraError, TimeLimit, WrongAnswer};
        assert_eq!(of(&[Accepted, Accepted], 2), Accepted);
        assert_eq!(of(&[Accepted, TimeLimit, WrongAnswer], 3), TimeLimit);
        assert_eq!(of(&[InfraError, WrongAnswer], 2), WrongAnswer);
        assert_eq!(of(&[Accepted, InfraError], 2), InfraError);
        assert_eq!(
            of(&[Accepted], 2),
            InfraError,
            "a test left out is never counted as passed"
        );
        assert_eq!(of(&[], 0), InfraError);
    }
}
