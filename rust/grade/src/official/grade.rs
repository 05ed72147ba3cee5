//! One solution under an official profile: run, and run again where a fault was ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opsd_sandbox::Error;

use super::{Exam, Sitting};
use crate::judge::{Judge, RETRIES, grade, in_input_order};
use crate::prepare::Prepared;
use crate::verdict::{Grade, Outcome, Verdict};

impl Judge {
    /// A fault of ours starts the whole program again, for it keeps state from test to test.
    pub(crate) fn grade_officially(
        &mut self,
        problem: &Prepared,
        exam: &Exam,
        code: &str,
        cancelled: &Arc<AtomicBool>,
    ) -> Grade {
        let mut num_faults = 0;
        loop {
            let mut sitting = Sitting::new(problem, exam, self.settings.feedback, cancelled);
            let result = self.sit(&mut sitting, code);
            if sitting.verdict.is_none() {
                num_faults += 1;
                if num_faults <= RETRIES && !cancelled.load(Ordering::Relaxed) {
                    continue;
                }
                let fault = result.err().map_or_else(
                    || "killed: somebody else ended the program's process".to_owned(),
                    |error| error.to_string(),
                );
                sitting
                    .outcomes
                    .push(Outcome::bare(Verdict::InfraError, fault));
            }
            return self.graded(problem, code, sitting, num_faults);
        }
    }

    fn sit(&mut self, sitting: &mut Sitting<'_>, code: &str) -> Result<(), Error> {
        let program = sitting.program(code.to_owned());
        let deadline = Duration::from_secs_f64(sitting.deadline_seconds());
        let limits = &sitting.problem.limits;
        self.sandboxes.give_up_when(sitting.cancelled);
        self.sandboxes
            .converse(&program, limits, deadline, &mut |run| sitting.next(run))
    }

    fn graded(
        &self,
        problem: &Prepared,
        code: &str,
        sitting: Sitting<'_>,
        num_faults: u32,
    ) -> Grade {
        let last = sitting.outcomes.last();
        let message = last.map_or_else(String::new, |last| last.message.clone());
        let outcomes = in_input_order(problem, sitting.outcomes);
        let shown = |index| problem.shown(index);
        let text = self.settings.feedback.text(&shown, &outcomes, code);
        let verdict = sitting.verdict.unwrap_or(Verdict::InfraError);
        let flags = (num_faults > 0).then_some("retried");
        Grade {
            message,
            official: sitting.official,
            ..grade(verdict, &outcomes, text, flags.into_iter().collect())
        }
    }
}
