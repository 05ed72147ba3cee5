//! One program under an official profile, step by step: what each report means, and what is asked for next.

use std::sync::atomic::Ordering;

use opsd_sandbox::{End, Limit, Step, TestRun};
use serde_json::Value as Json;

use super::equality::{AMBIGUOUS, EMPTY};
use super::harness;
use super::report::Report;
use super::run::{OfficialRun, Pending, measured};
use super::stdout::{Compared, compare};
use super::text::{cut, quote};
use super::value::{Equal, Typed};
use crate::compare::value::Value;
use crate::types::ends::SIGKILL;
use crate::types::verdict::{Outcome, Verdict};

/// `str` of the exception that comparing a signalling NaN raises.
const SIGNALLED: &[u8] = b"[<class 'decimal.InvalidOperation'>]";

/// Share of its timeout that a test which reached it must have waited for a core, to be run again alone: less could
/// hardly have changed the verdict.
const WAITED_SHARE: f64 = 0.1;

impl<'a> OfficialRun<'a> {
    /// Reads the report of a step; the next step, or None when all is known.
    pub(super) fn next(&mut self, run: &TestRun) -> Option<Step<'a>> {
        if self.cancelled.load(Ordering::Relaxed) {
            return None;
        }
        let timeout = f64::from(self.task.timeout_seconds);
        self.is_crowded |=
            run.wall_seconds >= timeout && run.waited_seconds >= WAITED_SHARE * timeout;
        if run.end == (End::Stopped { by: Limit::Cores }) {
            self.is_crowded = true;
            return None;
        }
        if let End::ImportBlocked { module } = &run.end {
            let words = format!("import blocked: {module} cannot be loaded at isolation level S1");
            self.outcomes
                .push(measured(run, Verdict::InfraError, words));
            self.verdict = Some(Verdict::InfraError); // another run would end the same way
            return None;
        }
        let report = run.value.as_deref().and_then(Report::parse);
        let Some(report) = report else {
            if run.end == (End::Signaled { signal: SIGKILL }) {
                return None; // killed from outside: without a verdict the program is run again
            }
            return self.gone(run);
        };
        // Only what was asked for counts: a program that could answer again after a wrong answer would guess until it is right.
        let function = self.task.function.is_some();
        let asked = (self.defined, self.pending.is_some());
        match (report.step, asked) {
            (b"ready", (false, _)) => {
                self.defined = true;
                match &self.task.quirks.defect {
                    None => self.start(),
                    Some(defect) => self.outside(run, defect.as_bytes(), defect.clone()),
                }
            }
            (b"outside", _) => self.outside(run, report.text("message"), report.brief()),
            (b"output", (true, false)) if !function => self.output(run, &report),
            (b"value", (true, false)) if function => self.value(run, &report),
            (b"error", (true, _)) => self.error(run, &report),
            (b"shown", (true, true)) => self.shown(run, &report),
            _ => self.gone(run),
        }
    }

    /// The next test, or the end.
    fn start(&mut self) -> Option<Step<'a>> {
        let Some(input) = self.problem.inputs.get(self.index) else {
            let seconds = Json::from(self.seconds);
            let metadata = format!("{{\"execution time\": {seconds}}}");
            return self.finish(Verdict::Accepted, metadata, None);
        };
        if let Some(error) = self
            .task
            .quirk(self.index)
            .and_then(|quirk| quirk.input_error.clone())
        {
            let outcome = Outcome::bare(Verdict::RuntimeError, error.clone());
            return self.failed(-4, error.as_bytes(), None, outcome);
        }
        Some(harness::test(input))
    }

    fn output(&mut self, run: &TestRun, report: &Report<'_>) -> Option<Step<'a>> {
        if let Some(error) = self
            .task
            .quirk(self.index)
            .and_then(|quirk| quirk.output_error.as_ref())
        {
            return self.outside(run, error.as_bytes(), error.clone());
        }
        let expected = self.problem.shown(self.index).expected;
        match compare(report.payload, expected) {
            Compared::Same => self.passed(run, report),
            Compared::Raises => {
                let brief = "InvalidOperation: a signalling NaN was compared".to_owned();
                self.outside(run, SIGNALLED, brief)
            }
            Compared::Differs(words) => {
                let mut outcome = measured(run, Verdict::WrongAnswer, String::new());
                if self.feedback.wanted() {
                    outcome.actual = self.feedback.answer(report.payload);
                    outcome.actual_bytes = report.payload.len();
                }
                self.outcomes.push(outcome);
                self.results.push(Json::from(-2));
                let metadata = format!(
                    "{{\"output\": {}, \"inputs\": {}, \"expected\": {}, \"error_code\": -2, \"error_message\": {}}}",
                    quote(&cut(report.payload)),
                    self.shown_input(None),
                    self.shown_expected(),
                    quote(&words),
                );
                self.finish(Verdict::WrongAnswer, metadata, Some(self.index))
            }
        }
    }

    fn value(&mut self, run: &TestRun, report: &Report<'_>) -> Option<Step<'a>> {
        let expected = self.problem.expected_value(self.index);
        let Some(typed) = Typed::parse(report.payload, expected.map_or(0, Value::size)) else {
            return self.gone(run);
        };
        let found = match expected {
            Some(expected) => typed.equals(expected),
            None => Ok(Equal::Plain(false)), // nested too deeply for us
        };
        let raised = match found {
            Ok(Equal::Plain(true)) => return self.passed(run, report),
            Ok(Equal::Each(answers)) if answers == [true] => return self.passed(run, report),
            Ok(Equal::Each(answers)) if answers.is_empty() => EMPTY.into(),
            Ok(Equal::Each(answers)) if answers.len() > 1 => {
                self.results.push(Json::from(answers[0])); // the runner shows an array by its first item
                AMBIGUOUS.into()
            }
            Ok(_) => {
                self.results.push(Json::from(false));
                self.pending = Some(Pending::WrongAnswer);
                return Some(harness::show());
            }
            Err(repr) => repr,
        };
        self.pending = Some(Pending::Raised(raised));
        Some(harness::show_inputs())
    }

    fn error(&mut self, run: &TestRun, report: &Report<'_>) -> Option<Step<'a>> {
        let timeout = report
            .get("timeout")
            .is_some_and(|value| matches!(value, Value::Bool(true)));
        let (code, verdict) = if timeout {
            (-3, Verdict::TimeLimit)
        } else {
            (-4, Verdict::RuntimeError)
        };
        let brief = if timeout {
            let (wall, bound) = (run.wall_seconds, self.task.timeout_seconds);
            format!("time_limit: {wall:.2} s of {bound} s")
        } else {
            report.brief()
        };
        let inputs = report.get("inputs").map(|_| report.text("inputs"));
        self.failed(
            code,
            report.text("error"),
            inputs,
            measured(run, verdict, brief),
        )
    }

    fn shown(&mut self, run: &TestRun, report: &Report<'_>) -> Option<Step<'a>> {
        let inputs = report.text("inputs");
        match self.pending.take() {
            Some(Pending::WrongAnswer) => {
                let output = report.text("output");
                let mut outcome = measured(run, Verdict::WrongAnswer, String::new());
                if self.feedback.wanted() {
                    outcome.actual = self.feedback.answer(output);
                    outcome.actual_bytes = output.len();
                }
                self.outcomes.push(outcome);
                let metadata = format!(
                    "{{\"output\": {}, \"inputs\": {}, \"expected\": null, \"error_code\": -2, \"error_message\": \
                     \"Wrong Answer\"}}",
                    quote(output),
                    quote(inputs),
                );
                self.finish(Verdict::WrongAnswer, metadata, Some(self.index))
            }
            Some(Pending::Raised(repr)) => {
                let words = String::from_utf8_lossy(&repr).into_owned();
                let outcome = measured(run, Verdict::RuntimeError, words);
                self.failed(-4, &repr, Some(inputs), outcome)
            }
            None => self.gone(run), // it was not asked for
        }
    }

    fn passed(&mut self, run: &TestRun, report: &Report<'_>) -> Option<Step<'a>> {
        if let Some(Value::Float(seconds)) = report.get("seconds") {
            self.seconds += seconds;
        }
        self.outcomes
            .push(measured(run, Verdict::Accepted, String::new()));
        self.results.push(Json::from(true));
        self.index += 1;
        self.start()
    }
}
