//! One solution under an official profile: run, and run again after a fault of ours, or alone.
//!
//! The official runner measures wall time, so programs that run at the same time change each other's verdicts. A program
//! that reached a timeout and has waited for a core meanwhile runs again with no other beside it, and that run counts.
//! A program that uses more than one core takes time from others: that is no failure here, and it too runs again alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opsd_sandbox::{Limits, Sandboxes};

use super::harness::HARNESS;
use super::run::OfficialRun;
use crate::feedback::Feedback;
use crate::prepared::Prepared;
use crate::strict::run_lock::RunLock;
use crate::types::grade::Grade;
use crate::types::official::OfficialTask;
use crate::types::verdict::{Outcome, Verdict};

/// Runs of a program after a fault of ours, besides the first.
const RETRIES: u32 = 2;
/// Seconds that a program's threads compute, or wait for a core, beyond wall time, after which it runs alone.
const AHEAD_SECONDS: f64 = 0.5;
/// Wall seconds of a step: the deadline decides. Alone a step ends so long after it should have: a program that has
/// switched the runner's alarm off keeps everybody waiting.
const ANY_SECONDS: f64 = 999_999.0;
const LATE_SECONDS: f64 = 2.0;

/// The grade of `code`. A fault of ours starts the whole program again: it keeps state from test to test.
pub(crate) fn judge(
    problem: &Prepared,
    task: &OfficialTask,
    code: &str,
    feedback: Feedback,
    sandboxes: &mut Sandboxes,
    run_lock: &RunLock,
    cancelled: &Arc<AtomicBool>,
) -> Grade {
    sandboxes.give_up_when(cancelled);
    let (mut num_faults, mut num_crowded) = (0, 0);
    loop {
        let turn = if num_crowded > 0 {
            run_lock.alone()
        } else {
            run_lock.shared()
        };
        let counts = turn.is_alone() || num_crowded > RETRIES;
        let late = f64::from(task.timeout_seconds) + LATE_SECONDS;
        let limits = Limits {
            wall_seconds: if counts { late } else { ANY_SECONDS },
            ahead_seconds: if counts { f64::INFINITY } else { AHEAD_SECONDS },
            ..problem.limits.clone()
        };
        let mut run = OfficialRun::new(problem, task, feedback, cancelled);
        let text = run.text(code);
        let deadline = Duration::from_secs_f64(run.deadline_seconds());
        let result = sandboxes.lead(&HARNESS, &text, code, &limits, deadline, &mut |end| {
            run.next(end)
        });
        drop(turn);
        let is_failure = run.verdict != Some(Verdict::Accepted);
        if run.is_crowded && is_failure && !counts && !cancelled.load(Ordering::Relaxed) {
            num_crowded += 1;
            continue;
        }
        if run.verdict.is_none() {
            num_faults += 1;
            if num_faults <= RETRIES && !cancelled.load(Ordering::Relaxed) {
                continue;
            }
            let fault = result.err().map_or_else(
                || "killed: somebody else ended the program's process".to_owned(),
                |error| error.to_string(),
            );
            run.outcomes.push(Outcome::bare(Verdict::InfraError, fault));
        }
        let flags = [(num_faults, "retried"), (num_crowded, "starved")];
        let flags = flags.into_iter().filter(|(num, _)| *num > 0);
        let flags = flags.map(|(_, flag)| flag).collect();
        return grade(problem, code, feedback, run, flags);
    }
}

fn grade(
    problem: &Prepared,
    code: &str,
    feedback: Feedback,
    run: OfficialRun<'_>,
    flags: Vec<&'static str>,
) -> Grade {
    let last = run.outcomes.last();
    let message = last.map_or_else(String::new, |last| last.message.clone());
    let outcomes = problem.in_input_order(run.outcomes);
    let text = feedback.text(&|index| problem.shown(index), &outcomes, code);
    let verdict = run.verdict.unwrap_or(Verdict::InfraError);
    Grade {
        message,
        official: run.official,
        ..Grade::new(verdict, &outcomes, text, flags)
    }
}
