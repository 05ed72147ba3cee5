//! Runs one solution through its tests: after each one `attempt` decides what to run next, and the loop here runs it.
//!
//! - Tests run in one process, in the order that `prepare` gives; the next input is released after the last output was
//!   judged.
//! - Every test runs under a turn of the run lock. A turn lasts for many tests, unless another program must run alone.
//! - An infrastructure fault is retried twice in a fresh sandbox, from the test where it happened. After that the verdict
//!   is `infra_error`.

use opsd_sandbox::{Go, Limits, Program, Sandboxes};

use super::attempt::{Attempt, Next, SLACK};
use super::run_lock::RunLock;
use crate::compare::checker::CheckerSandbox;
use crate::types::verdict::{Outcome, Verdict};

/// Infrastructure faults per solution that are retried.
const RETRIES: u32 = 2;

/// Runs `program` until `attempt` has all its outcomes, or a fault has used up its retries.
pub(crate) fn judge(
    program: &Program,
    attempt: &mut Attempt<'_>,
    sandboxes: &mut Sandboxes,
    checkers: &mut CheckerSandbox,
    run_lock: &RunLock,
) {
    let problem = attempt.problem;
    let mut num_faults = 0;
    let mut next = Next::Test;
    while next != Next::Done && attempt.outcomes.len() < problem.inputs.len() {
        let done = attempt.outcomes.len();
        let waiting = &problem.inputs[done..];
        let cpu_seconds = problem.limits.cpu_seconds;
        let repeats = matches!(next, Next::Repeat { .. });
        // The second run of a test that was too slow decides at the limit itself.
        let (inputs, cpu_seconds) = if repeats {
            (&waiting[..1], cpu_seconds)
        } else {
            (waiting, cpu_seconds * SLACK)
        };
        let limits = Limits {
            cpu_seconds,
            ..problem.limits.clone()
        };
        let turn = match next {
            Next::Alone | Next::Repeat { alone: true } => run_lock.alone(),
            _ => run_lock.shared(),
        };
        let result = sandboxes.run(program, inputs, &limits, &mut |at, run| {
            match attempt.next(done + at, run, turn.is_alone(), checkers) {
                // The second run itself was disturbed: the same run once more, under the same limits.
                Next::Again if repeats => return Go::Again,
                // Begin again with the next test: a process that waited here would keep its memory, and the one
                // that runs alone may need it.
                Next::Test | Next::Fresh | Next::Again if turn.is_wanted() => next = Next::Yield,
                decided => next = decided,
            }
            match next {
                Next::Test => Go::Next,
                Next::Fresh => Go::NextFresh,
                Next::Again => Go::Again,
                Next::Alone | Next::Repeat { .. } | Next::Yield | Next::Restart | Next::Done => {
                    Go::Stop
                }
            }
        });
        drop(turn);
        let Err(error) = result else { continue };
        if next == Next::Done {
            return; // it broke while cleaning up, after the last verdict
        }
        num_faults += 1;
        attempt.flag("retried");
        if num_faults > RETRIES {
            let fault = Outcome::bare(Verdict::InfraError, error.to_string());
            return attempt.outcomes.push(fault);
        }
    }
}
