//! Why a solution did not pass, in a form for programs; the feedback says the same to people.

use serde::Serialize;

use crate::types::verdict::{Outcome, Verdict};

/// The failure that decided a solution's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    /// Place in the problem's tests; None where no test was run.
    pub test: Option<usize>,
    /// The verdict of that test, and of the solution.
    pub verdict: Verdict,
    /// Class of the uncaught exception, `ZeroDivisionError`.
    pub exception: Option<String>,
    /// The exception's message, the checker program's remark, or our own fault.
    pub message: String,
    /// 1-based line in the user's own source where the error arose.
    pub line: Option<u32>,
    /// Function of that line, `<module>` at top level.
    pub function: Option<String>,
}

impl Reason {
    /// Why `outcomes` (one per test, in their order) give `verdict`; None when it is `accepted`.
    pub(crate) fn of(verdict: Verdict, outcomes: &[Outcome]) -> Option<Self> {
        if verdict == Verdict::Accepted {
            return None;
        }
        let found = outcomes
            .iter()
            .enumerate()
            .find(|(_, outcome)| outcome.verdict == verdict);
        let Some((index, outcome)) = found else {
            return Some(Self {
                test: None,
                verdict,
                exception: None,
                message: String::new(),
                line: None,
                function: None,
            });
        };
        let frame = outcome.frames.last();
        Some(Self {
            test: Some(index),
            verdict,
            exception: outcome.exception.clone(),
            message: outcome.message.clone(),
            line: frame.map(|frame| frame.line),
            function: frame
                .map(|frame| frame.function.clone())
                .filter(|name| !name.is_empty()),
        })
    }
}
