//! The end of a run: the runner's result list and metadata, byte for byte, and our verdict.

use opsd_sandbox::{End, Limit, Step, TestRun};
use serde_json::Value as Json;

use super::run::{OfficialRun, measured};
use super::text::{cut, quote};
use crate::types::official::Official;
use crate::types::verdict::{Outcome, Verdict};

const GONE: &str = r#"{"error": "IndexError('list index out of range')", "error_code": -5, "error_message": "TestRunnerError"}"#;

impl<'a> OfficialRun<'a> {
    /// Raised in a test: -3 or -4.
    pub(super) fn failed(
        &mut self,
        code: i32,
        error: &[u8],
        inputs: Option<&[u8]>,
        outcome: Outcome,
    ) -> Option<Step<'a>> {
        let verdict = outcome.verdict;
        self.outcomes.push(outcome);
        self.results.push(Json::from(code));
        let words = if code == -3 {
            "Time Limit Exceeded"
        } else {
            "Runtime Error"
        };
        let metadata = format!(
            "{{\"error\": {}, \"error_code\": {code}, \"error_message\": \"{words}\", \"inputs\": {}, \"expected\": {}}}",
            quote(error),
            self.shown_input(inputs),
            self.shown_expected(),
        );
        self.finish(verdict, metadata, Some(self.index))
    }

    /// Raised outside a test: the runner discards the results before it.
    pub(super) fn outside(
        &mut self,
        run: &TestRun,
        message: &[u8],
        brief: String,
    ) -> Option<Step<'a>> {
        self.outcomes
            .push(measured(run, Verdict::CompileError, brief));
        self.results = vec![Json::from(-4)];
        let words = [b"Error during testing: ", message].concat();
        let metadata = format!(
            "{{\"error_code\": -4, \"error_message\": {}}}",
            quote(&words)
        );
        self.finish(Verdict::CompileError, metadata, None)
    }

    /// The process is gone, or sends what no harness sends.
    pub(super) fn gone(&mut self, run: &TestRun) -> Option<Step<'a>> {
        let (verdict, words) = match &run.end {
            End::Stopped { by: Limit::Wall } if run.wall_seconds < self.deadline_seconds() => (
                Verdict::TimeLimit,
                format!(
                    "The test went on after its time limit of {} s, or all tests together after the deadline of {} s.",
                    self.task.timeout_seconds,
                    self.deadline_seconds()
                ),
            ),
            End::Stopped { by: Limit::Wall } => (
                Verdict::TimeLimit,
                format!(
                    "The deadline of {} s for all tests together was reached.",
                    self.deadline_seconds()
                ),
            ),
            End::Violation { call } => {
                (Verdict::SecurityViolation, call.clone().unwrap_or_default())
            }
            End::Signaled { signal } => (
                Verdict::RuntimeError,
                format!("The process was ended by signal {signal}."),
            ),
            _ => (
                Verdict::RuntimeError,
                "The program ended its process.".to_owned(),
            ),
        };
        self.outcomes.push(measured(run, verdict, words));
        self.results = vec![Json::from(-2)];
        self.finish(verdict, GONE.to_owned(), None)
    }

    pub(super) fn finish(
        &mut self,
        verdict: Verdict,
        metadata: String,
        failed_test: Option<usize>,
    ) -> Option<Step<'a>> {
        let expected_json = failed_test
            .filter(|_| self.task.function.is_some())
            .map(|index| String::from_utf8_lossy(self.problem.shown(index).expected).into_owned());
        self.verdict = Some(verdict);
        self.official = Some(Official {
            results: std::mem::take(&mut self.results),
            metadata,
            expected_json,
        });
        None
    }

    /// The input of the current test for the metadata; `own` is what the program's process shows of a function's arguments.
    pub(super) fn shown_input(&self, own: Option<&[u8]>) -> String {
        let quirk = self.task.quirk(self.index);
        match (own, quirk.and_then(|quirk| quirk.shown_input.as_ref())) {
            (Some(own), _) => quote(own),
            (None, Some(shown)) => quote(shown.as_bytes()),
            (None, None) => quote(&cut(self.problem.shown(self.index).input)),
        }
    }

    pub(super) fn shown_expected(&self) -> String {
        let quirk = self.task.quirk(self.index);
        match quirk.and_then(|quirk| quirk.shown_output.as_ref()) {
            Some(shown) => quote(shown.as_bytes()),
            None if self.task.function.is_some() => "null".to_owned(),
            None => quote(&cut(self.problem.shown(self.index).expected)),
        }
    }
}
