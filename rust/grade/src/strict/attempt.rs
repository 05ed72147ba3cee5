//! Decides what each test's end means for one solution, and what to run next.
//!
//! - A wrong answer, error or memory failure in a process that ran earlier tests is run again in a fresh one, and the
//!   second verdict counts: state that an earlier test left behind never fails a solution. Once two failures were
//!   confirmed by a second run and none has vanished, the program is taken to keep no state: later failures count
//!   at once. If a failure vanishes, all tests run from the start, each in a fresh process, and the first verdict
//!   counts: a program that answers in another way once it finds itself in a fresh process gains nothing.
//! - State that an earlier test left behind never makes a solution pass either: it is bounded by the CPU time that it
//!   took to compute. After a quarter of one test's limit the next test gets a fresh process; and where a process has
//!   used more than one test's limit, this test included, an acceptance is repeated in a fresh one.
//! - A test that the machine starved runs again alone. One that naps even then is idle.
//! - A test is stopped at 1.3 times its CPU limit, to tell a time near the limit from one far beyond it.
//!   Between 1 and 1.3 times the limit it is run again alone, while no other program of this supervisor runs, and the
//!   smaller CPU time counts. Beyond, the first failure of a solution is run again in a fresh process (an earlier test
//!   may have slowed it down), beside others: other programs slow a test by a sixth at most, so running alone could not change this verdict.
//! - Once a test has failed, the rest run only while the solution stays within `min(tests x limit, 30 s)` of CPU
//!   time (an idle limit counts as its length), so that a program that is too slow does not cost every test's limit.
//!   A solution without a failure is never cut short. Skipped tests are `not_run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opsd_sandbox::{End, Limit, TestRun};

use super::ending::{outcome, time_message};
use crate::compare::checker::CheckerSandbox;
use crate::prepared::Prepared;
use crate::settings::Settings;
use crate::types::choices::{Isolation, Stop};
use crate::types::ends::SIGKILL;
use crate::types::verdict::{Judged, Outcome, Verdict};

/// CPU seconds for a whole solution once one of its tests has failed.
const BUDGET_SECONDS: f64 = 30.0;
/// Runs of a starved or killed test, besides the first.
const RETRIES: u32 = 2;
/// Failures that must be confirmed in a fresh process, at a fork each, before later ones are believed at once.
const CONFIRMATIONS: u32 = 2;
/// A test is stopped at this share of its CPU limit, unless it runs a second time because it was too slow.
pub(super) const SLACK: f64 = 1.3;
/// Share of one test's CPU limit after which the next test gets a fresh process.
const PROCESS_SHARE: f64 = 0.25;
/// CPU times near a limit, in shares of it: there a verdict may depend on the machine.
const BAND: (f64, f64) = (0.85, SLACK);

/// What to run next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next test, in the process that ran this one.
    Test,
    /// The next test, in a fresh process.
    Fresh,
    /// This test again, in a fresh process: it was disturbed, or an earlier test may have made it fail.
    Again,
    /// This test again, in a fresh process with no other program beside it: the machine starved it.
    Alone,
    /// This test a second time, at its limit itself: it was too slow.
    Repeat {
        /// So near the limit that no other program may run beside it.
        alone: bool,
    },
    /// The test whose outcome is missing, once another program has run alone.
    Yield,
    /// All tests, each in a fresh process: the program keeps state.
    Restart,
    /// No further test.
    Done,
}

/// One solution while it is judged.
pub(crate) struct Attempt<'a> {
    pub(super) problem: &'a Prepared,
    /// In the order in which the tests ran.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) flags: Vec<&'static str>,
    settings: &'a Settings,
    spent_seconds: f64,
    num_starved: u32,
    /// It has napped with no other program beside it.
    naps: bool,
    num_killed: u32,
    /// The test that runs again in a fresh process.
    doubted: Option<usize>,
    num_confirmed: u32,
    keeps_state: bool,
    /// CPU seconds of the first run of the test that now runs a second time, because it was too slow.
    first_run: Option<f64>,
    cancelled: &'a Arc<AtomicBool>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        problem: &'a Prepared,
        settings: &'a Settings,
        cancelled: &'a Arc<AtomicBool>,
    ) -> Self {
        Self {
            problem,
            outcomes: Vec::new(),
            flags: Vec::new(),
            settings,
            spent_seconds: 0.0,
            num_starved: 0,
            naps: false,
            num_killed: 0,
            doubted: None,
            num_confirmed: 0,
            keeps_state: false,
            first_run: None,
            cancelled,
        }
    }

    pub(super) fn flag(&mut self, flag: &'static str) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    fn failed(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.verdict.failed())
    }

    /// Keeps the outcome of the test that ran as the `position`-th, with nothing beside it or not, unless it must run
    /// once more; what to run next.
    pub(super) fn next(
        &mut self,
        position: usize,
        run: &TestRun,
        alone: bool,
        checkers: &mut CheckerSandbox,
    ) -> Next {
        if self.cancelled.load(Ordering::Relaxed) {
            return Next::Done;
        }
        self.spent_seconds += run.cpu_seconds;
        let mut idle = None;
        if run.starved {
            self.flag("starved");
            self.num_starved += 1;
            if run.naps && (alone || self.naps || self.num_starved > RETRIES) {
                self.naps |= alone;
                idle = Some(TestRun {
                    end: End::Stopped { by: Limit::Idle },
                    starved: false,
                    ..run.clone()
                });
            } else if self.num_starved <= RETRIES {
                return match self.first_run {
                    Some(_) => Next::Repeat { alone: true },
                    None => Next::Alone,
                };
            }
        }
        let run = idle.as_ref().unwrap_or(run);
        if run.end == (End::Signaled { signal: SIGKILL }) {
            self.flag("killed");
            self.num_killed += 1;
            if self.num_killed <= RETRIES {
                return Next::Again;
            }
        }
        let problem = self.problem;
        let (limits, entry) = (&problem.limits, &problem.entry);
        let mut found = outcome(limits, entry, run, self.settings.feedback, &mut |answer| {
            check(problem, position, answer, checkers)
        });
        if let Some(seconds) = self.first_run.take() {
            self.flag("confirmed");
            // A run that was stopped measured nothing.
            let stopped = run.end == (End::Stopped { by: Limit::Cpu });
            let second = if stopped {
                f64::INFINITY
            } else {
                run.cpu_seconds
            };
            let seconds = seconds.min(second);
            found.cpu_seconds = Some(seconds);
            if found.verdict == Verdict::TimeLimit {
                found.message = time_message(seconds, limits);
            }
        } else if found.verdict == Verdict::TimeLimit {
            let alone = run.cpu_seconds < SLACK * limits.cpu_seconds;
            if alone || !self.failed() {
                self.first_run = Some(run.cpu_seconds);
                return Next::Repeat { alone };
            }
        } else if self.may_come_from_state(&found, run) {
            self.doubted = Some(position);
            return Next::Again;
        } else if self.may_be_bought_by_state(&found, run) {
            self.flag("repeated");
            return Next::Again;
        }
        if self.doubted.take() == Some(position) {
            if found.verdict == Verdict::Accepted {
                self.keeps_state = true; // right alone, wrong after the tests before it
                self.flag("state_leak");
                self.outcomes.clear();
                return Next::Restart;
            }
            self.num_confirmed += 1;
        }
        self.keep(position, found, run)
    }

    /// Whether an earlier test of the same process may have caused this failure.
    fn may_come_from_state(&self, found: &Outcome, run: &TestRun) -> bool {
        let trusted = self.num_confirmed >= CONFIRMATIONS && !self.keeps_state;
        !run.fresh
            && !trusted
            && matches!(
                found.verdict,
                Verdict::WrongAnswer | Verdict::RuntimeError | Verdict::MemoryLimit
            )
    }

    /// Whether earlier tests of the same process may have done the work of this accepted one.
    fn may_be_bought_by_state(&self, found: &Outcome, run: &TestRun) -> bool {
        found.verdict == Verdict::Accepted
            && !run.fresh
            && run.process_cpu_seconds > self.problem.limits.cpu_seconds
    }

    /// Keeps an outcome; what to run next.
    fn keep(&mut self, position: usize, found: Outcome, run: &TestRun) -> Next {
        let (verdict, limits) = (found.verdict, &self.problem.limits);
        if verdict == Verdict::IdleLimit {
            self.spent_seconds += limits.idle_seconds;
        }
        let share = found.cpu_seconds.unwrap_or(0.0) / limits.cpu_seconds;
        if (BAND.0..BAND.1).contains(&share) {
            self.flag("near_limit");
        }
        self.outcomes.push(found);
        let failed = self.failed();
        if verdict == Verdict::CompileError || run.end == End::Missing {
            return Next::Done; // the same for every test
        }
        if verdict == Verdict::InfraError && run.end != End::Finished {
            return Next::Done; // starved or killed three times: the next test would be, too
        }
        let is_limit = matches!(
            verdict,
            Verdict::TimeLimit | Verdict::IdleLimit | Verdict::MemoryLimit | Verdict::OutputLimit
        );
        if failed && self.settings.stop == Stop::FirstFailure
            || is_limit && self.settings.stop == Stop::FirstTimeout
        {
            return Next::Done;
        }
        let num_tests = self.problem.inputs.len();
        let budget = (num_tests as f64 * self.problem.limits.cpu_seconds).min(BUDGET_SECONDS);
        if failed && self.spent_seconds >= budget && position + 1 < num_tests {
            self.flag("budget");
            return Next::Done;
        }
        let used = run.process_cpu_seconds >= PROCESS_SHARE * self.problem.limits.cpu_seconds;
        match self.settings.isolation {
            Isolation::Solution if !self.keeps_state && !used => Next::Test,
            // A program that fails and then passes keeps state or guesses: it gets no second guess.
            Isolation::Solution | Isolation::Test => Next::Fresh,
        }
    }
}

/// Whether an answer is right, by the comparator or by the checker program.
fn check(
    problem: &Prepared,
    position: usize,
    answer: &[u8],
    checkers: &mut CheckerSandbox,
) -> Judged {
    match (
        problem.is_right(position, answer),
        problem.comparator.checker(),
    ) {
        (None, Some(checker)) => {
            let expected = problem.outputs[position].text.as_bytes();
            checkers.check(checker, &problem.inputs[position], expected, answer)
        }
        (right, _) => Judged::plain(right == Some(true)),
    }
}
