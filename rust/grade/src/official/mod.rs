//! Judging as LiveCodeBench's official runner does: its list of results, its metadata, and our verdict from them.
//!
//! The program runs in one process, its tests in the given order, up to the first failure; nothing is reset, repeated
//! or confirmed. What the runner says when it gives up is kept to the word, with its surprises: a fault outside a test
//! discards the passes before it (`[-4]`), a process that is gone leaves `[-2]` with an IndexError of the runner's own.

mod arrays;
mod compare;
mod end;
mod exam;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod grade;
mod prepare;
mod report;
mod statements;
mod text;
mod typed;
mod wrap;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opsd_sandbox::{End, OfficialProgram, Step, TestRun};
use serde::Serialize;
use serde_json::Value as Json;

use crate::ending::SIGKILL;
use crate::feedback::Feedback;
use crate::prepare::Prepared;
use crate::value::Value;
use crate::verdict::{Outcome, Verdict};
use compare::{Compared, compare};
pub(crate) use exam::Exam;
pub use exam::{Odd, Oddities};
#[cfg(fuzzing)]
pub use fuzzed::judge_any_reports;
use report::Report;
use text::{cut, quote};
use typed::{AMBIGUOUS, EMPTY, Equal, Typed};
pub use wrap::as_function;

/// `str` of what comparing a signalling NaN raises.
const SIGNALLED: &[u8] = b"[<class 'decimal.InvalidOperation'>]";

/// What the runner would have returned.
#[derive(Debug, Clone, Serialize)]
pub struct Official {
    /// `true`, `false`, -2, -3, -4 per test up to the first failure.
    pub results: Vec<Json>,
    /// A JSON object as text. `expected` is null in it for functions: the caller spells that value in Python.
    pub metadata: String,
    /// The JSON text of that value.
    pub expected_json: Option<String>,
}

/// A program under judgement. Made anew when an infrastructure fault makes it run again.
pub(crate) struct Sitting<'a> {
    problem: &'a Prepared,
    exam: &'a Exam,
    feedback: Feedback,
    cancelled: &'a Arc<AtomicBool>,
    results: Vec<Json>,
    seconds: f64,
    /// The program is there; its tests run.
    defined: bool,
    /// Test that runs now, or whose texts are being fetched.
    index: usize,
    /// What the metadata say about it, once its texts are here.
    pending: Option<Pending>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) official: Option<Official>,
}

enum Pending {
    WrongAnswer,
    /// Comparing raised this.
    Raised(Vec<u8>),
}

impl<'a> Sitting<'a> {
    pub(crate) fn new(
        problem: &'a Prepared,
        exam: &'a Exam,
        feedback: Feedback,
        cancelled: &'a Arc<AtomicBool>,
    ) -> Self {
        Self {
            problem,
            exam,
            feedback,
            cancelled,
            results: Vec::new(),
            seconds: 0.0,
            defined: false,
            index: 0,
            pending: None,
            outcomes: Vec::new(),
            verdict: None,
            official: None,
        }
    }

    pub(crate) fn program(&self, code: String) -> OfficialProgram {
        let function = self.exam.function.clone();
        let wrapped = if function.is_none() {
            as_function(&code)
        } else {
            None
        };
        OfficialProgram {
            code,
            wrapped,
            function,
            vintage: self.exam.vintage,
            timeout_seconds: self.exam.timeout_seconds,
        }
    }

    pub(crate) fn deadline_seconds(&self) -> f64 {
        self.exam.deadline_seconds(self.problem.inputs.len())
    }

    /// Reads a step's run; names the next step, or None when all is known.
    pub(crate) fn next(&mut self, run: &TestRun) -> Option<Step<'a>> {
        if self.cancelled.load(Ordering::Relaxed) {
            return None;
        }
        if let End::ImportBlocked { module } = &run.end {
            let words = format!("import blocked: {module} cannot be loaded at isolation level S1");
            self.outcomes
                .push(measured(run, Verdict::InfraError, words));
            self.verdict = Some(Verdict::InfraError); // again would be the same again
            return None;
        }
        let report = run.value.as_deref().and_then(Report::parse);
        let Some(report) = report else {
            if run.end == (End::Signaled { signal: SIGKILL }) {
                return None; // somebody else's doing: without a verdict the program is run again
            }
            return self.gone(run);
        };
        // Only what was asked for is an answer: who may answer a test again after a wrong answer guesses until it is right.
        let function = self.exam.function.is_some();
        let asked = (self.defined, self.pending.is_some());
        match (report.step, asked) {
            (b"ready", (false, _)) => {
                self.defined = true;
                match &self.exam.oddities.defect {
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
            .exam
            .odd(self.index)
            .and_then(|odd| odd.input_error.clone())
        {
            let outcome = Outcome::bare(Verdict::RuntimeError, error.clone());
            return self.failed(-4, error.as_bytes(), None, outcome);
        }
        Some(Step::Test(input))
    }

    fn output(&mut self, run: &TestRun, report: &Report<'_>) -> Option<Step<'a>> {
        if let Some(error) = self
            .exam
            .odd(self.index)
            .and_then(|odd| odd.output_error.as_ref())
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
                return Some(Step::Show);
            }
            Err(repr) => repr,
        };
        self.pending = Some(Pending::Raised(raised));
        Some(Step::ShowInputs)
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
            String::new()
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
            None => self.gone(run), // nobody asked
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

fn measured(run: &TestRun, verdict: Verdict, message: String) -> Outcome {
    let mut outcome = Outcome::bare(verdict, message);
    outcome.cpu_seconds = Some(run.cpu_seconds);
    outcome.wall_seconds = Some(run.wall_seconds);
    outcome.memory_mib = Some(run.memory_mib);
    outcome
}
