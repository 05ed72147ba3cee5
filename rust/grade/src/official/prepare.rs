//! A problem made ready for an official profile.

use opsd_sandbox::{Entry, Limits};

use crate::compare::Comparator;
use crate::error::Error;
use crate::prepared::{Expected, Prepared};
use crate::settings::Overrides;
use crate::strict::prepare::output_mib;
use crate::types::case::Problem;
use crate::types::official::OfficialTask;

/// The official runner has no memory limit; the machine must give this much, MiB.
const MEMORY_MIB: u64 = 4096;
/// Stack, MiB, under which the runner starts programs; a program may raise it.
const STACK_MIB: u64 = 8;
/// Captured text per test, MiB; a longer output is wrong wherever the expected one is shorter.
const OUTPUT_MIB: u64 = 128;
/// The runner has no limit; honest programs stay far below.
const THREADS: u32 = 128;

/// Fails only on limits out of range.
pub(crate) fn prepare(
    problem: Problem,
    overrides: &Overrides,
    task: OfficialTask,
    seconds: f64,
) -> Result<Prepared, Error> {
    let longest = problem.tests.iter().map(|case| case.output.len()).max();
    let is_value = problem.entry_point.is_some();
    let output_mib = output_mib(
        overrides.output_mib,
        OUTPUT_MIB,
        longest.unwrap_or(0),
        is_value,
    );
    let limits = Limits {
        memory_mib: overrides.memory_mib.unwrap_or(MEMORY_MIB),
        stack_mib: STACK_MIB,
        output_mib,
        threads: overrides.threads.unwrap_or(THREADS),
        ..Limits::with_cpu(seconds)
    };
    limits
        .check()
        .map_err(|what| Error::BadProblem(format!("problem {}: {what}", problem.problem_id)))?;
    Ok(with_limits(problem, limits, task))
}

/// Nothing about a problem is refused but its limits: the official runner reports what is wrong with it. Tests
/// run in the order given.
pub(super) fn with_limits(problem: Problem, limits: Limits, task: OfficialTask) -> Prepared {
    let entry = problem
        .entry_point
        .map_or(Entry::Stdin, |entry_point| Entry::Function { entry_point });
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for case in problem.tests {
        inputs.push(case.input.into_bytes().into());
        outputs.push(Expected::new(case.output, entry != Entry::Stdin));
    }
    Prepared {
        entry,
        order: (0..inputs.len()).collect(),
        inputs,
        limits,
        outputs,
        comparator: Comparator::Official,
        task: Some(task),
        also: None,
    }
}
