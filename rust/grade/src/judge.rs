//! One solution, graded: extract, run, judge test after test, believe a failure only when it is the program's own.
//!
//! - Tests run in one process, in the order that `prepare` gives; the next input is released after the last output was
//!   judged. Results stand in the order of the tests.
//! - What a test's end comes to, and which tests are run a second time, is decided in `trial`.
//! - An infrastructure fault is retried twice in a fresh sandbox, from the test where it happened; a starved test, or one
//!   whose process somebody else killed, is run again twice. After that the verdict is `infra_error`. So it is where a
//!   checker program fails.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use opsd_sandbox::{Limits, Options, Program, Sandboxes};

use crate::case::{Settings, Solution};
use crate::checker::CheckerRoom;
use crate::extract::extract;
use crate::prepare::Prepared;
use crate::quiet::Turnstile;
use crate::reason::Reason;
use crate::trial::Trial;
use crate::verdict::{Also, CaseResult, Grade, Outcome, Verdict, verdict_of};

pub(crate) const RETRIES: u32 = 2;
/// Grades solutions one after the other in a sandbox of its own. Lives and works on one thread.
#[derive(Debug)]
pub struct Judge {
    pub(crate) sandboxes: Sandboxes,
    room: CheckerRoom,
    turnstile: Arc<Turnstile>,
    pub(crate) settings: Settings,
}

impl Judge {
    /// With sandboxes that are up; `options` start those of checker programs. Judges that share a turnstile let each
    /// other run alone.
    pub(crate) fn new(
        sandboxes: Sandboxes,
        options: Options,
        settings: &Settings,
        turnstile: Arc<Turnstile>,
    ) -> Self {
        Self {
            sandboxes,
            room: CheckerRoom::new(options),
            turnstile,
            settings: settings.clone(),
        }
    }

    /// The whole way of one solution.
    ///
    /// Once `cancelled` is set the program is ended within a moment; what comes back then is of no use to anybody.
    pub fn grade(
        &mut self,
        problem: &Prepared,
        solution: &Solution,
        cancelled: &Arc<AtomicBool>,
    ) -> Grade {
        let mut grade = self.grade_under(problem, solution, cancelled);
        if let Some((profile, second)) = &problem.also {
            let second = match second {
                Ok(second) => Ok(self.grade_under(second, solution, cancelled)),
                Err(reason) => Err(reason.clone()),
            };
            let differs = |second: &Grade| second.passed != grade.passed;
            if second.as_ref().is_ok_and(differs) {
                grade.flags.push("profiles_disagree".to_owned());
            }
            grade.also = Some(Box::new(Also {
                profile: *profile,
                grade: second,
            }));
        }
        grade
    }

    fn grade_under(
        &mut self,
        problem: &Prepared,
        solution: &Solution,
        cancelled: &Arc<AtomicBool>,
    ) -> Grade {
        let code = match (&solution.code, &solution.completion) {
            (Some(code), _) => Some(code.clone()),
            (None, completion) => completion
                .as_deref()
                .and_then(|text| extract(text, self.settings.extract)),
        };
        if let Some(exam) = &problem.exam {
            return self.grade_officially(problem, exam, &code.unwrap_or_default(), cancelled);
        }
        let num_tests = problem.inputs.len();
        let Some(code) = code.filter(|code| !code.trim().is_empty()) else {
            let text = self.settings.feedback.no_code(solution.truncated);
            let outcomes = in_input_order(problem, Vec::new());
            return grade(Verdict::NoCode, &outcomes, text, Vec::new());
        };
        let program = Program {
            code,
            entry: problem.entry.clone(),
        };
        let turnstile = Arc::clone(&self.turnstile);
        let mut trial = Trial::new(problem, &self.settings, &turnstile, cancelled);
        let fault = self.run(&program, problem, &mut trial);
        let Trial {
            mut outcomes,
            flags,
            ..
        } = trial;
        if let Some(fault) = fault {
            outcomes.push(Outcome::bare(Verdict::InfraError, fault));
        }
        let outcomes = in_input_order(problem, outcomes);
        let verdict = verdict_of(&outcomes, num_tests);
        let text =
            self.settings
                .feedback
                .text(&|index| problem.shown(index), &outcomes, &program.code);
        grade(verdict, &outcomes, text, flags)
    }

    /// Run until the trial has all its outcomes; the words of a fault that outlived its retries otherwise.
    fn run(
        &mut self,
        program: &Program,
        problem: &Prepared,
        trial: &mut Trial<'_>,
    ) -> Option<String> {
        let mut num_faults = 0;
        while !trial.over && trial.outcomes.len() < problem.inputs.len() {
            let done = trial.outcomes.len();
            let (inputs, cpu_seconds) = trial.begin();
            let limits = Limits {
                cpu_seconds,
                ..problem.limits.clone()
            };
            self.sandboxes.give_up_when(trial.cancelled);
            let room = &mut self.room;
            let result = self
                .sandboxes
                .run(program, inputs, &limits, &mut |at, run| {
                    trial.judge(done + at, run, room)
                });
            trial.rest();
            let Err(error) = result else { continue };
            if trial.over {
                return None; // it broke while clearing up; the verdicts were in
            }
            num_faults += 1;
            trial.flag("retried");
            if num_faults > RETRIES {
                return Some(error.to_string());
            }
        }
        None
    }
}

/// One outcome per test of the problem; what did not run says so.
pub(crate) fn in_input_order(problem: &Prepared, outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut all: Vec<Outcome> = problem
        .order
        .iter()
        .map(|_| Outcome::bare(Verdict::NotRun, ""))
        .collect();
    for (outcome, &index) in outcomes.into_iter().zip(&problem.order) {
        all[index] = outcome;
    }
    all
}

pub(crate) fn grade(
    verdict: Verdict,
    outcomes: &[Outcome],
    feedback: String,
    flags: Vec<&'static str>,
) -> Grade {
    let reason = Reason::of(verdict, outcomes);
    Grade {
        passed: (verdict != Verdict::InfraError).then_some(verdict == Verdict::Accepted),
        verdict,
        message: reason
            .as_ref()
            .map_or_else(String::new, |reason| reason.message.clone()),
        tests: case_results(outcomes),
        feedback,
        reason,
        flags: flags.into_iter().map(str::to_owned).collect(),
        official: None,
        also: None,
    }
}

/// One line per test, in the order of the tests.
fn case_results(outcomes: &[Outcome]) -> Vec<CaseResult> {
    let results = outcomes.iter().enumerate();
    results
        .map(|(index, outcome)| CaseResult {
            index,
            verdict: outcome.verdict,
            cpu_seconds: outcome.cpu_seconds,
            wall_seconds: outcome.wall_seconds,
            memory_mib: outcome.memory_mib,
        })
        .collect()
}
