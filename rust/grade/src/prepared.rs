//! A problem made ready to be run and judged many times. It runs nothing itself.
//!
//! Tests are kept in the order in which they run; results are reported in the order given.

use std::sync::OnceLock;

use opsd_sandbox::{Entry, Input, Limits};

use crate::compare::Comparator;
use crate::compare::value::Value;
use crate::feedback::Shown;
use crate::types::choices::Profile;
use crate::types::official::OfficialTask;
use crate::types::verdict::{Outcome, Verdict};

/// Values in a result that a checker program is to judge; the sandbox writes no more.
const MOST_FOR_CHECKER: usize = 4_000_000;

/// A problem, ready to be judged.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// How programs are entered.
    pub(crate) entry: Entry,
    /// One per test, in the order in which they run.
    pub(crate) inputs: Vec<Input>,
    /// Place in the problem of the test that runs n-th.
    pub(crate) order: Vec<usize>,
    /// Per test.
    pub(crate) limits: Limits,
    pub(crate) outputs: Vec<Expected>,
    pub(crate) comparator: Comparator,
    /// Official profiles only.
    pub(crate) task: Option<OfficialTask>,
    /// The same for a second profile, or why that is impossible.
    pub(crate) also: Option<(Profile, Result<Box<Prepared>, String>)>,
}

#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) text: String,
    is_value: bool,
    value: OnceLock<Option<Value>>,
}

impl Expected {
    /// `is_value`: the result of a function, as JSON.
    pub(crate) fn new(text: String, is_value: bool) -> Self {
        let value = OnceLock::new();
        Self {
            text,
            is_value,
            value,
        }
    }

    /// A function's result, parsed on first use: with a failing program most tests of a problem are never needed.
    pub(crate) fn value(&self) -> Option<&Value> {
        let read = || Value::parse(self.text.as_bytes());
        self.value
            .get_or_init(|| self.is_value.then(read).flatten())
            .as_ref()
    }
}

impl Prepared {
    /// Whether `answer` (standard output, or a function's result as JSON text) is right for the test that runs as the
    /// `position`-th. None: only the checker program can tell.
    pub(crate) fn is_right(&self, position: usize, answer: &[u8]) -> Option<bool> {
        let expected = &self.outputs[position];
        match expected.value() {
            None => self
                .comparator
                .same_output(answer, expected.text.as_bytes()),
            // An answer of more values than the expected result cannot equal it.
            Some(value) => match Value::parse_up_to(answer, self.most_values(value)) {
                Some(answer) => self.comparator.same_value(&answer, value),
                None => Some(false),
            },
        }
    }

    fn most_values(&self, expected: &Value) -> usize {
        match self.comparator.checker() {
            Some(_) => MOST_FOR_CHECKER,
            None => expected.size(),
        }
    }

    /// The texts of test `index` of the problem, for the feedback.
    pub(crate) fn shown(&self, index: usize) -> Shown<'_> {
        let position = self.position(index);
        Shown {
            input: &self.inputs[position],
            expected: self.outputs[position].text.as_bytes(),
        }
    }

    fn position(&self, index: usize) -> usize {
        let found = self.order.iter().position(|&test| test == index);
        found.unwrap_or(index) // it is a permutation, so it is found
    }

    /// The expected result of a function's test; None if it is no JSON value.
    pub(crate) fn expected_value(&self, index: usize) -> Option<&Value> {
        self.outputs.get(index)?.value()
    }

    /// One outcome per test, in the order of the problem; missing ones become `NotRun`.
    pub(crate) fn in_input_order(&self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let not_run = |_| Outcome::bare(Verdict::NotRun, "");
        let mut all: Vec<Outcome> = self.order.iter().map(not_run).collect();
        for (outcome, &index) in outcomes.into_iter().zip(&self.order) {
            all[index] = outcome;
        }
        all
    }
}
