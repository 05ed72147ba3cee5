//! One solution, graded: extract, run, judge test after test, believe a failure only when it is the program's own.
//!
//! - Tests run in input order in one process; the next input is released after the last output was judged.
//! - A wrong answer, error or memory failure in a process that ran earlier tests is run again in a fresh one, and the
//!   second verdict counts: state that an earlier test left behind never fails a solution. Once two failures have
//!   stood the second run and none has vanished, the program is taken to keep no state and later failures stand.
//! - Once a test has failed, the rest run only while the solution stays within `min(tests x limit, 30 s)` of CPU
//!   time (an idle limit counts as its length), so that a program that is too slow does not cost every test's limit.
//!   A solution without a failure is never cut short. What is left out is `not_run`.
//! - An infrastructure fault is retried twice in a fresh sandbox, from the test where it happened; a starved test, or one
//!   whose process somebody else killed, is run again twice. After that the verdict is `infra_error`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opsd_sandbox::{End, Go, Limit, Program, Sandboxes, TestRun};

use crate::case::{Isolation, Settings, Solution, Stop};
use crate::ending::{SIGKILL, outcome};
use crate::extract::{Rule, extract};
use crate::feedback;
use crate::prepare::Prepared;
use crate::verdict::{CaseResult, Grade, Outcome, Verdict, verdict_of};

/// CPU seconds of a whole solution once one of its tests has failed.
const BUDGET_SECONDS: f64 = 30.0;
const RETRIES: u32 = 2;
/// Failures that must stand a run in a fresh process before further ones are believed at once; a fork each.
const CONFIRMATIONS: u32 = 2;

/// Grades solutions one after the other in a sandbox of its own. Lives and works on one thread.
#[derive(Debug)]
pub struct Judge {
    sandboxes: Sandboxes,
    stop: Stop,
    isolation: Isolation,
    rule: Rule,
    feedback: bool,
}

impl Judge {
    /// With sandboxes that are up.
    pub fn new(sandboxes: Sandboxes, settings: &Settings) -> Self {
        Self {
            sandboxes,
            stop: settings.stop,
            isolation: settings.isolation,
            rule: settings.extract,
            feedback: settings.feedback,
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
        let code = match (&solution.code, &solution.completion) {
            (Some(code), _) => (!code.trim().is_empty()).then(|| code.clone()),
            (None, completion) => completion
                .as_deref()
                .and_then(|text| extract(text, self.rule)),
        };
        let Some(code) = code else {
            return self.without_code(problem, solution);
        };
        let program = Program {
            code,
            entry: problem.entry.clone(),
        };
        let mut trial = Trial {
            problem,
            outcomes: Vec::new(),
            flags: Vec::new(),
            stop: self.stop,
            isolation: self.isolation,
            feedback: self.feedback,
            spent_seconds: 0.0,
            num_starved: 0,
            num_killed: 0,
            doubted: None,
            num_confirmed: 0,
            keeps_state: false,
            over: false,
            cancelled,
        };
        let fault = self.run(&program, &mut trial);
        let Trial {
            mut outcomes,
            flags,
            ..
        } = trial;
        if let Some(fault) = fault {
            outcomes.push(Outcome::bare(Verdict::InfraError, fault));
        }
        let verdict = verdict_of(&outcomes, problem.inputs.len());
        let message = outcomes
            .iter()
            .find(|outcome| outcome.verdict == verdict)
            .map_or("", |first| &first.message);
        let feedback = if self.feedback {
            feedback::feedback(&|index| problem.shown(index), &outcomes, &program.code)
        } else {
            String::new()
        };
        Grade {
            passed: (verdict != Verdict::InfraError).then_some(verdict == Verdict::Accepted),
            verdict,
            message: message.to_owned(),
            tests: case_results(&outcomes, problem.inputs.len()),
            feedback,
            flags: flags.into_iter().map(str::to_owned).collect(),
        }
    }

    fn without_code(&self, problem: &Prepared, solution: &Solution) -> Grade {
        let feedback = if self.feedback {
            feedback::no_code(solution.truncated)
        } else {
            String::new()
        };
        Grade {
            passed: Some(false),
            verdict: Verdict::NoCode,
            message: String::new(),
            tests: case_results(&[], problem.inputs.len()),
            feedback,
            flags: Vec::new(),
        }
    }

    /// Run until the trial has all its outcomes; the words of a fault that outlived its retries otherwise.
    fn run(&mut self, program: &Program, trial: &mut Trial<'_>) -> Option<String> {
        let mut num_faults = 0;
        loop {
            let done = trial.outcomes.len();
            let inputs = &trial.problem.inputs[done..];
            let limits = trial.problem.limits.clone();
            self.sandboxes.give_up_when(trial.cancelled);
            let result = self
                .sandboxes
                .run(program, inputs, &limits, &mut |at, run| {
                    trial.judge(done + at, run)
                });
            let Err(error) = result else { return None };
            if trial.over {
                return None; // it broke while clearing up; the verdicts were in
            }
            num_faults += 1;
            trial.flag("retried");
            if num_faults > RETRIES {
                return Some(error.to_string());
            }
        }
    }
}

/// One solution under judgement.
struct Trial<'a> {
    problem: &'a Prepared,
    outcomes: Vec<Outcome>,
    flags: Vec<&'static str>,
    stop: Stop,
    isolation: Isolation,
    feedback: bool,
    spent_seconds: f64,
    num_starved: u32,
    num_killed: u32,
    /// The test that was sent back to be run in a fresh process.
    doubted: Option<usize>,
    num_confirmed: u32,
    keeps_state: bool,
    /// No further test is wanted.
    over: bool,
    cancelled: &'a Arc<AtomicBool>,
}

impl Trial<'_> {
    fn flag(&mut self, flag: &'static str) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// Called by the sandbox after each test; the next input waits for the answer.
    fn judge(&mut self, index: usize, run: &TestRun) -> Go {
        let go = self.decide(index, run);
        self.over = go == Go::Stop;
        go
    }

    fn decide(&mut self, index: usize, run: &TestRun) -> Go {
        if self.cancelled.load(Ordering::Relaxed) {
            return Go::Stop;
        }
        self.spent_seconds += run.cpu_seconds;
        if run.starved || run.end == (End::Stopped { by: Limit::Wall }) {
            self.flag("starved");
            self.num_starved += 1;
            if self.num_starved <= RETRIES {
                return Go::Again;
            }
        }
        if run.end == (End::Signaled { signal: SIGKILL }) {
            self.flag("killed");
            self.num_killed += 1;
            if self.num_killed <= RETRIES {
                return Go::Again;
            }
        }
        let found = outcome(self.problem, index, run, self.feedback);
        let trusted = self.num_confirmed >= CONFIRMATIONS && !self.keeps_state;
        if !run.fresh && !trusted && may_come_from_state(found.verdict) {
            self.doubted = Some(index);
            return Go::Again;
        }
        if self.doubted.take() == Some(index) {
            if found.verdict == Verdict::Accepted {
                self.keeps_state = true; // right by itself, wrong after the tests before it
                self.flag("state_leak");
            } else {
                self.num_confirmed += 1;
            }
        }
        if found.verdict == Verdict::IdleLimit {
            self.spent_seconds += self.problem.limits.idle_seconds;
        }
        let verdict = found.verdict;
        self.outcomes.push(found);
        let failed = self.outcomes.iter().any(|outcome| outcome.verdict.failed());
        if verdict == Verdict::CompileError || run.end == End::Missing {
            return Go::Stop; // the same for every test
        }
        if verdict == Verdict::InfraError {
            return Go::Stop; // starved or killed three times: the next test would be, too
        }
        let timeout = matches!(verdict, Verdict::TimeLimit | Verdict::IdleLimit);
        if failed && self.stop == Stop::FirstFailure || timeout && self.stop == Stop::FirstTimeout {
            return Go::Stop;
        }
        let budget = (self.problem.inputs.len() as f64 * self.problem.limits.cpu_seconds)
            .min(BUDGET_SECONDS);
        if failed && self.spent_seconds >= budget && index + 1 < self.problem.inputs.len() {
            self.flag("budget");
            return Go::Stop;
        }
        match self.isolation {
            Isolation::Solution => Go::Next,
            Isolation::Test => Go::NextFresh,
        }
    }
}

/// Verdicts that an earlier test of the same process may have caused. Times are left out: they are dear to repeat.
fn may_come_from_state(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::WrongAnswer | Verdict::RuntimeError | Verdict::MemoryLimit
    )
}

/// One line per test of the problem; what has no outcome was not run.
fn case_results(outcomes: &[Outcome], num_tests: usize) -> Vec<CaseResult> {
    (0..num_tests)
        .map(|index| match outcomes.get(index) {
            Some(outcome) => CaseResult {
                index,
                verdict: outcome.verdict,
                cpu_seconds: outcome.cpu_seconds,
                wall_seconds: outcome.wall_seconds,
                memory_mib: outcome.memory_mib,
            },
            None => CaseResult {
                index,
                verdict: Verdict::NotRun,
                cpu_seconds: None,
                wall_seconds: None,
                memory_mib: None,
            },
        })
        .collect()
}
