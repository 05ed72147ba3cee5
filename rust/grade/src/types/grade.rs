//! One solution's grade, with the fields of the result line: a verdict per test, and one for all of them.

use serde::Serialize;

use crate::types::choices::Profile;
use crate::types::official::Official;
use crate::types::reason::Reason;
use crate::types::verdict::{Outcome, Verdict};

/// One test in a result line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CaseResult {
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
pub(crate) struct Grade {
    /// None for `infra_error`: not known.
    pub passed: Option<bool>,
    /// See [`verdict_of`].
    pub verdict: Verdict,
    /// In input order.
    pub tests: Vec<CaseResult>,
    /// What a teacher may read about the failure; empty when every test passed.
    pub feedback: String,
    /// The same in a form for programs; None when every test passed.
    pub reason: Option<Reason>,
    /// What happened during the run: `state_leak` (a failure vanished in a fresh process), `budget` (tests skipped
    /// after a failure), `starved`, `killed` (a test was run again), `repeated` (an accepted test was run again in a
    /// fresh process, because earlier tests had used CPU time in its own), `retried` (a sandbox was replaced),
    /// `confirmed` (a test over its time limit was run a second time), `no_code` (under an official profile: the answer
    /// held no program, and the empty one was judged), `near_limit` (a test took 0.85 to 1.3 times its CPU limit).
    pub flags: Vec<String>,
    /// One line for `infra_error`, `runtime_error` and `no_code`, fit for a log.
    pub message: String,
    /// What the official runner would have returned; official profiles only.
    pub official: Option<Official>,
    /// The verdict under a second profile, if one was asked for.
    pub also: Option<Box<Also>>,
}

impl Grade {
    /// The grade that `outcomes` (one per test, in their order) give.
    pub(crate) fn new(
        verdict: Verdict,
        outcomes: &[Outcome],
        feedback: String,
        flags: Vec<&'static str>,
    ) -> Self {
        let reason = Reason::of(verdict, outcomes);
        Self {
            passed: (verdict != Verdict::InfraError).then_some(verdict == Verdict::Accepted),
            verdict,
            message: reason
                .as_ref()
                .map_or_else(String::new, |reason| reason.message.clone()),
            tests: case_results(outcomes),
            feedback,
            reason,
            flags: flags.into_iter().map(str::to_owned).collect(),
            official: None,
            also: None,
        }
    }
}

impl Grade {
    /// The grade with a reason that no test gave.
    pub(crate) fn because(mut self, why: String) -> Self {
        if let Some(reason) = &mut self.reason {
            reason.message.clone_from(&why);
        }
        self.message = why;
        self
    }
}

/// One line per test, in the order of the tests.
fn case_results(outcomes: &[Outcome]) -> Vec<CaseResult> {
    let results = outcomes.iter().enumerate();
    results
        .map(|(index, outcome)| CaseResult {
            index,
            verdict: outcome.verdict,
            cpu_seconds: outcome.cpu_seconds,
            wall_seconds: outcome.wall_seconds,
            memory_mib: outcome.memory_mib,
        })
        .collect()
}

/// A grade under a second profile.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Also {
    /// Which.
    pub profile: Profile,
    /// None: the problem cannot be run under it, for this reason.
    pub grade: Result<Grade, String>,
}

/// The solution's verdict: accepted iff all `num_tests` tests are; else the first failure in input order. An
/// infrastructure fault decides only when no test failed by itself: our own fault never hides a real failure.
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
