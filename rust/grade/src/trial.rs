//! One solution under judgement: what each test's end comes to, and how to go on.
//!
//! - A wrong answer, error or memory failure in a process that ran earlier tests is run again in a fresh one, and the
//!   second verdict counts: state that an earlier test left behind never fails a solution. Once two failures have
//!   stood the second run and none has vanished, the program is taken to keep no state and later failures stand.
//! - A test is stopped at 1.3 times its CPU limit, so that what is near the limit can be told from what is far beyond.
//!   Between 1 and 1.3 times the limit it is run again alone, while no other program of this supervisor runs, and the
//!   smaller CPU time counts. Beyond, the first failure of a solution is run again in a fresh process (an earlier test
//!   may have slowed it down), beside others: neighbours cost a sixth at most, so that quiet could not change it.
//! - Once a test has failed, the rest run only while the solution stays within `min(tests x limit, 30 s)` of CPU
//!   time (an idle limit counts as its length), so that a program that is too slow does not cost every test's limit.
//!   A solution without a failure is never cut short. What is left out is `not_run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opsd_sandbox::{End, Go, Input, Limit, TestRun};

use crate::case::{Isolation, Settings, Stop};
use crate::checker::CheckerRoom;
use crate::ending::{SIGKILL, outcome};
use crate::feedback::Feedback;
use crate::prepare::Prepared;
use crate::quiet::{Turn, Turnstile};
use crate::verdict::{Outcome, Verdict};

/// CPU seconds of a whole solution once one of its tests has failed.
const BUDGET_SECONDS: f64 = 30.0;
/// Runs that a starved or killed test gets besides the first.
const RETRIES: u32 = 2;
/// Failures that must stand a run in a fresh process before further ones are believed at once; a fork each.
const CONFIRMATIONS: u32 = 2;
/// CPU times near a limit, in shares of it: there a verdict may hang on the machine.
const BAND: (f64, f64) = (0.85, 1.3);

/// One solution under judgement.
pub(crate) struct Trial<'a> {
    problem: &'a Prepared,
    /// In the order in which the tests ran.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) flags: Vec<&'static str>,
    stop: Stop,
    isolation: Isolation,
    feedback: Feedback,
    spent_seconds: f64,
    num_starved: u32,
    num_killed: u32,
    /// The test that was sent back to be run in a fresh process.
    doubted: Option<usize>,
    num_confirmed: u32,
    keeps_state: bool,
    /// The next test is run a second time, because it was too slow.
    pub(crate) slow: Option<Slow>,
    /// No further test is wanted.
    pub(crate) over: bool,
    turnstile: &'a Turnstile,
    turn: Option<Turn<'a>>,
    pub(crate) cancelled: &'a Arc<AtomicBool>,
}

/// A test's first run that took too long.
pub(crate) struct Slow {
    cpu_seconds: f64,
    /// So near the limit that the second run is to be alone.
    near: bool,
}

impl Slow {
    fn turn<'a>(&self, turnstile: &'a Turnstile) -> Turn<'a> {
        if self.near {
            turnstile.alone()
        } else {
            turnstile.shared()
        }
    }
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        problem: &'a Prepared,
        settings: &Settings,
        turnstile: &'a Turnstile,
        cancelled: &'a Arc<AtomicBool>,
    ) -> Self {
        Self {
            problem,
            outcomes: Vec::new(),
            flags: Vec::new(),
            stop: settings.stop,
            isolation: settings.isolation,
            feedback: settings.feedback,
            spent_seconds: 0.0,
            num_starved: 0,
            num_killed: 0,
            doubted: None,
            num_confirmed: 0,
            keeps_state: false,
            slow: None,
            over: false,
            turnstile,
            turn: None,
            cancelled,
        }
    }

    /// The inputs still to be run and the CPU limit for them; the turn to run them is held from here on.
    pub(crate) fn begin(&mut self) -> (&'a [Input], f64) {
        let inputs = &self.problem.inputs[self.outcomes.len()..];
        let limit = self.problem.limits.cpu_seconds;
        if let Some(slow) = &self.slow {
            self.turn = Some(slow.turn(self.turnstile));
            (&inputs[..1], limit) // the second run decides at the limit itself
        } else {
            self.turn = Some(self.turnstile.shared());
            (inputs, limit * BAND.1)
        }
    }

    /// No test runs any more.
    pub(crate) fn rest(&mut self) {
        self.turn = None;
    }

    pub(crate) fn flag(&mut self, flag: &'static str) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    fn failed(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.verdict.failed())
    }

    /// Called by the sandbox after each test; the next input waits for the answer.
    pub(crate) fn judge(&mut self, position: usize, run: &TestRun, room: &mut CheckerRoom) -> Go {
        let go = self.decide(position, run, room);
        self.over = go == Go::Stop && self.slow.is_none();
        if go != Go::Stop && self.slow.is_none() && self.turn.as_ref().is_some_and(Turn::is_wanted)
        {
            // Somebody wants to be alone. Begin again with the next test: a process that waited here would keep its
            // memory, for which the one who is alone may have to wait.
            return Go::Stop;
        }
        go
    }

    fn decide(&mut self, position: usize, run: &TestRun, room: &mut CheckerRoom) -> Go {
        if self.cancelled.load(Ordering::Relaxed) {
            self.slow = None;
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
        let problem = self.problem;
        let mut found = outcome(problem, run, self.feedback, &mut |answer| {
            problem.judge(position, answer, room)
        });
        if self.must_repeat(&found, run) {
            return Go::Stop; // and begin again with this test
        }
        let second = self.slow.take();
        if let Some(first) = &second {
            self.flag("confirmed");
            // The time at which a run was stopped is no measurement.
            let stopped = run.end == (End::Stopped { by: Limit::Cpu });
            let seconds = first.cpu_seconds.min(if stopped {
                f64::INFINITY
            } else {
                run.cpu_seconds
            });
            found.cpu_seconds = Some(seconds);
        }
        if second.is_none() && self.may_come_from_state(&found, run) {
            self.doubted = Some(position);
            return Go::Again;
        }
        if self.doubted.take() == Some(position) {
            if found.verdict == Verdict::Accepted {
                self.keeps_state = true; // right by itself, wrong after the tests before it
                self.flag("state_leak");
            } else {
                self.num_confirmed += 1;
            }
        }
        self.enter(position, found, run)
    }

    /// Whether a time limit is to be run a second time; `slow` is set then.
    fn must_repeat(&mut self, found: &Outcome, run: &TestRun) -> bool {
        if found.verdict != Verdict::TimeLimit || self.slow.is_some() {
            return false;
        }
        let near = run.cpu_seconds < BAND.1 * self.problem.limits.cpu_seconds;
        let repeat = near || !self.failed();
        if repeat {
            self.slow = Some(Slow {
                cpu_seconds: run.cpu_seconds,
                near,
            });
        }
        repeat
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

    /// Writes an outcome down; how to go on.
    fn enter(&mut self, position: usize, found: Outcome, run: &TestRun) -> Go {
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
            return Go::Stop; // the same for every test
        }
        if verdict == Verdict::InfraError && run.end != End::Finished {
            return Go::Stop; // starved or killed three times: the next test would be, too
        }
        let timeout = matches!(verdict, Verdict::TimeLimit | Verdict::IdleLimit);
        if failed && self.stop == Stop::FirstFailure || timeout && self.stop == Stop::FirstTimeout {
            return Go::Stop;
        }
        let num_tests = self.problem.inputs.len();
        let budget = (num_tests as f64 * self.problem.limits.cpu_seconds).min(BUDGET_SECONDS);
        if failed && self.spent_seconds >= budget && position + 1 < num_tests {
            self.flag("budget");
            return Go::Stop;
        }
        match self.isolation {
            Isolation::Solution if !self.keeps_state => Go::Next,
            // What failed once and then did not keeps state, or guesses: it gets no second guess.
            Isolation::Solution | Isolation::Test => Go::NextFresh,
        }
    }
}
