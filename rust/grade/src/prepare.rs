//! A problem made ready to be run and judged many times: inputs as bytes, results parsed, limits checked.
//!
//! Everything that can be wrong with the user's problem is found here, once, and named.

use opsd_sandbox::{Entry, Input, Limits};

use crate::case::{Overrides, Problem};
use crate::compare;
use crate::error::Error;
use crate::feedback::Shown;
use crate::value::Value;

/// See the module.
#[derive(Debug)]
pub struct Prepared {
    /// How programs are entered.
    pub entry: Entry,
    /// One per test, in order.
    pub inputs: Vec<Input>,
    /// Per test.
    pub limits: Limits,
    outputs: Vec<Expected>,
}

#[derive(Debug)]
struct Expected {
    text: String,
    /// Function problems only.
    value: Option<Value>,
}

impl Prepared {
    /// Check and convert. Fails on a problem without tests, on limits out of range, and on function arguments or
    /// results that are no JSON.
    pub fn new(problem: Problem, overrides: &Overrides) -> Result<Self, Error> {
        let Problem {
            problem_id,
            entry_point,
            tests,
            time_limit_seconds,
            memory_limit_mib,
        } = problem;
        let bad = |what: String| Error::BadProblem(format!("problem {problem_id}: {what}"));
        if tests.is_empty() {
            return Err(bad("has no tests, so nothing can be graded".to_owned()));
        }
        let own = Limits::with_cpu(overrides.cpu_seconds.unwrap_or(time_limit_seconds));
        let limits = Limits {
            idle_seconds: overrides.idle_seconds.unwrap_or(own.idle_seconds),
            wall_seconds: overrides.wall_seconds.unwrap_or(own.wall_seconds),
            memory_mib: overrides.memory_mib.unwrap_or(memory_limit_mib),
            output_mib: overrides.output_mib.unwrap_or(own.output_mib),
            threads: overrides.threads.unwrap_or(own.threads),
            ..own
        };
        limits.check().map_err(&bad)?;
        let entry = entry_point.map_or(Entry::Stdin, |entry_point| Entry::Function { entry_point });
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for (index, case) in tests.into_iter().enumerate() {
            if entry == Entry::Stdin {
                inputs.push(case.input.into_bytes().into());
                outputs.push(Expected {
                    text: case.output,
                    value: None,
                });
                continue;
            }
            let input = compare::strip(case.input.as_bytes());
            let wrong = (!input.is_empty())
                .then(|| {
                    input
                        .split(|&byte| byte == b'\n')
                        .position(|line| Value::parse(line).is_none())
                })
                .flatten();
            if let Some(line) = wrong {
                return Err(bad(format!(
                    "test {index}, input line {}: not a JSON value",
                    line + 1
                )));
            }
            let value = Value::parse(case.output.as_bytes())
                .ok_or_else(|| bad(format!("test {index}, output: not a JSON value")))?;
            inputs.push(input.to_vec().into());
            outputs.push(Expected {
                text: case.output,
                value: Some(value),
            });
        }
        Ok(Self {
            entry,
            inputs,
            limits,
            outputs,
        })
    }

    /// Whether `stdout` (or, for a function, its result as JSON text) is the answer to test `index`.
    pub fn accepts(&self, index: usize, answer: &[u8]) -> bool {
        let expected = &self.outputs[index];
        match &expected.value {
            None => compare::same_output(answer, expected.text.as_bytes()),
            Some(value) => Value::parse(answer).is_some_and(|answer| answer.same_value(value)),
        }
    }

    /// The texts of test `index` for the feedback.
    pub fn shown(&self, index: usize) -> Shown<'_> {
        Shown {
            input: &self.inputs[index],
            expected: self.outputs[index].text.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Prepared;
    use crate::case::{Case, Overrides, Problem};

    fn problem(entry_point: Option<&str>, input: &str, output: &str) -> Problem {
        Problem {
            problem_id: "p".to_owned(),
            entry_point: entry_point.map(str::to_owned),
            tests: vec![Case {
                input: input.to_owned(),
                output: output.to_owned(),
            }],
            time_limit_seconds: 6.0,
            memory_limit_mib: 1024,
        }
    }

    #[test]
    fn functions_are_judged_by_value_and_programs_by_text() {
        let function = Prepared::new(
            problem(Some("f"), "[1, 2]\n3\n", "[1, 2.0]"),
            &Overrides::default(),
        )
        .unwrap();
        assert!(function.accepts(0, b"[1.0,2]") && !function.accepts(0, b"[1, 2"));
        let program = Prepared::new(problem(None, "", "[1, 2]"), &Overrides::default()).unwrap();
        assert!(program.accepts(0, b"[1, 2]\n") && !program.accepts(0, b"[1,2]"));
    }

    #[test]
    fn what_is_wrong_with_a_problem_is_named() {
        let message = |problem| {
            Prepared::new(problem, &Overrides::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message(problem(Some("f"), "1\nx", "1")),
            "problem p: test 0, input line 2: not a JSON value"
        );
        assert_eq!(
            message(problem(Some("f"), "1", "[1")),
            "problem p: test 0, output: not a JSON value"
        );
        let mut bad = problem(None, "", "");
        bad.time_limit_seconds = 0.0;
        assert!(message(bad).starts_with("problem p: cpu_seconds = 0"));
        let mut empty = problem(None, "", "");
        empty.tests.clear();
        assert!(message(empty).contains("no tests"));
    }
}
