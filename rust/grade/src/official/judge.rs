//! One solution under an official profile: run, and run again after a fault of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opsd_sandbox::Sandboxes;

use super::harness::HARNESS;
use super::run::OfficialRun;
use crate::feedback::Feedback;
use crate::prepared::Prepared;
use crate::types::grade::Grade;
use crate::types::official::OfficialTask;
use crate::types::verdict::{Outcome, Verdict};

/// Runs of a program after a fault of ours, besides the first.
const RETRIES: u32 = 2;

/// The grade of `code`. A fault of ours starts the whole program again: it keeps state from test to test.
pub(crate) fn judge(
    problem: &Prepared,
    task: &OfficialTask,
    code: &str,
    feedback: Feedback,
    sandboxes: &mut Sandboxes,
    cancelled: &Arc<AtomicBool>,
) -> Grade {
    sandboxes.give_up_when(cancelled);
    let mut num_faults = 0;
    loop {
        let mut run = OfficialRun::new(problem, task, feedback, cancelled);
        let text = run.text(code);
        let deadline = Duration::from_secs_f64(run.deadline_seconds());
        let result = sandboxes.lead(
            &HARNESS,
            &text,
            code,
            &problem.limits,
            deadline,
            &mut |end| run.next(end),
        );
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
        return grade(problem, code, feedback, run, num_faults);
    }
}

fn grade(
    problem: &Prepared,
    code: &str,
    feedback: Feedback,
    run: OfficialRun<'_>,
    num_faults: u32,
) -> Grade {
    let last = run.outcomes.last();
    let message = last.map_or_else(String::new, |last| last.message.clone());
    let outcomes = problem.in_input_order(run.outcomes);
    let text = feedback.text(&|index| problem.shown(index), &outcomes, code);
    let verdict = run.verdict.unwrap_or(Verdict::InfraError);
    let flags = (num_faults > 0).then_some("retried");
    Grade {
        message,
        official: run.official,
        ..Grade::new(verdict, &outcomes, text, flags.into_iter().collect())
    }
}
