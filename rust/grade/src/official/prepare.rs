//! A problem made ready for a grader's profiles, the official ones among them.

use opsd_sandbox::{Entry, Limits};

use super::Exam;
use crate::case::{Problem, Profile, Settings};
use crate::comparator::Comparator;
use crate::error::Error;
use crate::prepare::{Expected, Prepared};
use crate::value::Value;

/// Theirs has no memory limit; this much, in MiB, the machine must give.
const MEMORY_MIB: u64 = 4096;
/// Under it, in MiB, the runner starts programs; a program may raise it.
const STACK_MIB: u64 = 8;
/// Captured text per test, MiB; what is longer is wrong wherever the expected one is shorter.
const OUTPUT_MIB: u64 = 128;
/// The runner has no limit; honest programs stay far below.
const THREADS: u32 = 128;

impl Prepared {
    /// For a grader's profile, and for its second one. Fails as [`Prepared::new`] does for the first.
    pub fn under(
        problem: Problem,
        settings: &Settings,
        comparator: &Comparator,
    ) -> Result<Self, Error> {
        let second = settings.also.map(|also| (also, problem.clone()));
        let mut prepared = Self::for_profile(problem, settings.profile, settings, comparator)?;
        prepared.also = second.map(|(also, problem)| {
            let second = Self::for_profile(problem, also, settings, comparator);
            (
                also,
                second.map(Box::new).map_err(|error| error.to_string()),
            )
        });
        Ok(prepared)
    }

    fn for_profile(
        problem: Problem,
        profile: Profile,
        settings: &Settings,
        comparator: &Comparator,
    ) -> Result<Self, Error> {
        let overrides = &settings.limits;
        let seconds = overrides.cpu_seconds.unwrap_or(problem.time_limit_seconds);
        let oddities = problem.official.clone();
        let exam = Exam::new(profile, seconds, problem.entry_point.as_deref(), oddities);
        let Some(exam) = exam else {
            return Self::new(problem, overrides, comparator);
        };
        let limits = Limits {
            memory_mib: overrides.memory_mib.unwrap_or(MEMORY_MIB),
            stack_mib: STACK_MIB,
            output_mib: overrides.output_mib.unwrap_or(OUTPUT_MIB),
            threads: overrides.threads.unwrap_or(THREADS),
            ..Limits::with_cpu(seconds)
        };
        limits
            .check()
            .map_err(|what| Error::BadProblem(format!("problem {}: {what}", problem.problem_id)))?;
        Ok(Self::for_exam(problem, limits, exam))
    }

    /// Nothing about a problem is refused but its limits: what is wrong with it is the official runner's to say. Tests
    /// run in the order given.
    pub(super) fn for_exam(problem: Problem, limits: Limits, exam: Exam) -> Self {
        let entry = problem
            .entry_point
            .map_or(Entry::Stdin, |entry_point| Entry::Function { entry_point });
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for case in problem.tests {
            inputs.push(case.input.into_bytes().into());
            outputs.push(Expected::new(case.output, entry != Entry::Stdin));
        }
        Self {
            entry,
            order: (0..inputs.len()).collect(),
            inputs,
            limits,
            outputs,
            comparator: Comparator::Official,
            exam: Some(exam),
            also: None,
        }
    }

    /// The expected result of a function's test; None if it is no JSON value.
    pub(crate) fn expected_value(&self, index: usize) -> Option<&Value> {
        self.outputs.get(index)?.value()
    }
}
