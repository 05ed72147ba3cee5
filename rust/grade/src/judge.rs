//! One solution, graded: extract, run, judge test after test, believe a failure only when it is the program's own.
//!
//! - Tests run in input order in one process; the next input is released after the last output was judged.
//! - A wrong answer, error or memory failure in a process that ran earlier tests is run again in a fresh one, and the
//!   second verdict counts: state that an earlier test left behind never causes a failure.
//! - Once a test has failed, the rest run only while the solution stays within `min(tests x limit, 30 s)` of CPU
//!   time (an idle limit counts as its length), so that a program that is too slow does not cost every test's limit.
//!   A solution without a failure is never cut short. What is left out is `not_run`.
//! - An infrastructure fault is retried twice in a fresh sandbox, from the test where it happened; a starved test is
//!   run again twice. After that the verdict is `infra_error`.

use opsd_sandbox::{End, Entry, Go, Limit, Options, Program, Sandbox, TestRun};

use crate::case::{Solution, Stop};
use crate::error::Error;
use crate::extract::{Rule, extract};
use crate::feedback;
use crate::prepare::Prepared;
use crate::verdict::{CaseResult, Grade, Outcome, Verdict, verdict_of};

/// CPU seconds of a whole solution once one of its tests has failed.
const BUDGET_SECONDS: f64 = 30.0;
const RETRIES: u32 = 2;
/// Share of the address space from which a crash is put down to memory.
const MEMORY_SHARE: f64 = 0.95;

/// Grades solutions one after the other in a sandbox of its own. Lives and works on one thread.
#[derive(Debug)]
pub struct Judge {
    options: Options,
    sandbox: Option<Sandbox>,
    stop: Stop,
    rule: Rule,
    feedback: bool,
}

impl Judge {
    /// Start the sandbox.
    pub fn start(options: Options, stop: Stop, rule: Rule, feedback: bool) -> Result<Self, Error> {
        let sandbox = Some(Sandbox::start(&options)?);
        Ok(Self {
            options,
            sandbox,
            stop,
            rule,
            feedback,
        })
    }

    /// One line: which protections hold.
    pub fn describe(&self) -> String {
        self.sandbox
            .as_ref()
            .map_or_else(String::new, Sandbox::describe)
    }

    /// The whole way of one solution.
    pub fn grade(&mut self, problem: &Prepared, solution: &Solution) -> Grade {
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
            feedback: self.feedback,
            spent_seconds: 0.0,
            num_starved: 0,
            doubted: None,
            failed: false,
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
            let result = match self
                .sandbox
                .take()
                .map_or_else(|| Sandbox::start(&self.options), Ok)
            {
                Ok(mut sandbox) => {
                    let result = sandbox.run(program, inputs, &limits, &mut |at, run| {
                        trial.judge(done + at, run)
                    });
                    if result.is_ok() {
                        self.sandbox = Some(sandbox); // a broken one is dropped
                    }
                    result
                }
                Err(error) => Err(error),
            };
            let Err(error) = result else { return None };
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
    feedback: bool,
    spent_seconds: f64,
    num_starved: u32,
    /// The test that was sent back to be run in a fresh process.
    doubted: Option<usize>,
    failed: bool,
}

impl Trial<'_> {
    fn flag(&mut self, flag: &'static str) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// Called by the sandbox after each test; the next input waits for the answer.
    fn judge(&mut self, index: usize, run: &TestRun) -> Go {
        self.spent_seconds += run.cpu_seconds;
        if run.starved || run.end == (End::Stopped { by: Limit::Wall }) {
            self.flag("starved");
            self.num_starved += 1;
            if self.num_starved <= RETRIES {
                return Go::Again;
            }
        }
        let outcome = self.outcome(index, run);
        if !run.fresh && may_come_from_state(outcome.verdict) {
            self.doubted = Some(index);
            return Go::Again;
        }
        if self.doubted.take() == Some(index) && outcome.verdict == Verdict::Accepted {
            self.flag("state_leak"); // right by itself, wrong after the tests before it
        }
        if outcome.verdict == Verdict::IdleLimit {
            self.spent_seconds += self.problem.limits.idle_seconds;
        }
        let verdict = outcome.verdict;
        self.failed |= verdict.failed();
        self.outcomes.push(outcome);
        if verdict == Verdict::CompileError || run.end == End::Missing {
            return Go::Stop; // the same for every test
        }
        if self.failed && self.stop == Stop::FirstFailure {
            return Go::Stop;
        }
        let budget = (self.problem.inputs.len() as f64 * self.problem.limits.cpu_seconds)
            .min(BUDGET_SECONDS);
        if self.failed && self.spent_seconds >= budget && index + 1 < self.problem.inputs.len() {
            self.flag("budget");
            return Go::Stop;
        }
        Go::Next
    }

    fn outcome(&self, index: usize, run: &TestRun) -> Outcome {
        let (verdict, message) = self.verdict(index, run);
        let mut outcome = Outcome::bare(verdict, message);
        outcome.cpu_seconds = Some(run.cpu_seconds);
        outcome.wall_seconds = Some(run.wall_seconds);
        outcome.memory_mib = Some(run.memory_mib);
        outcome.frames = match &run.end {
            End::Raised { frames, .. } => frames.clone(),
            End::Compile {
                line: Some(line), ..
            } => {
                vec![opsd_sandbox::Frame {
                    line: *line,
                    function: String::new(),
                }]
            }
            _ => Vec::new(),
        };
        if self.feedback && verdict == Verdict::WrongAnswer {
            let answer = self.answer(run);
            outcome.actual = feedback::answer(answer);
            outcome.actual_bytes = answer.len();
        }
        if self.feedback && matches!(verdict, Verdict::WrongAnswer | Verdict::TimeLimit) {
            outcome.debug = feedback::debug_output(&run.stderr);
        }
        outcome
    }

    /// What the program answered: its output, or its result, or why that has no JSON form.
    fn answer<'r>(&self, run: &'r TestRun) -> &'r [u8] {
        match &self.problem.entry {
            Entry::Stdin => &run.stdout,
            Entry::Function { .. } => run
                .value
                .as_deref()
                .or(run.note.as_deref().map(str::as_bytes))
                .unwrap_or_default(),
        }
    }

    fn verdict(&self, index: usize, run: &TestRun) -> (Verdict, String) {
        let near_memory = run.memory_mib >= MEMORY_SHARE * self.problem.limits.memory_mib as f64;
        match &run.end {
            _ if run.starved => (
                Verdict::InfraError,
                "starved: the machine gave the program no time".to_owned(),
            ),
            End::Finished => {
                let answer = match &self.problem.entry {
                    Entry::Stdin => Some(&run.stdout),
                    Entry::Function { .. } => run.value.as_ref(),
                };
                let right = answer.is_some_and(|answer| self.problem.accepts(index, answer));
                (
                    if right {
                        Verdict::Accepted
                    } else {
                        Verdict::WrongAnswer
                    },
                    String::new(),
                )
            }
            End::Raised { kind, message, .. } => {
                let verdict = if kind == "MemoryError" {
                    Verdict::MemoryLimit
                } else {
                    Verdict::RuntimeError
                };
                (verdict, exception(kind, message))
            }
            End::Compile { kind, message, .. } => (Verdict::CompileError, exception(kind, message)),
            End::Exited { code } => (
                Verdict::RuntimeError,
                format!("The process ended with exit code {code}."),
            ),
            End::Signaled { signal } => {
                let verdict = if near_memory {
                    Verdict::MemoryLimit
                } else {
                    Verdict::RuntimeError
                };
                (
                    verdict,
                    format!("The process was ended by {}.", signal_name(*signal)),
                )
            }
            End::Stopped { by } => match by {
                Limit::Cpu => (Verdict::TimeLimit, String::new()),
                Limit::Idle => (Verdict::IdleLimit, String::new()),
                Limit::Memory => (Verdict::MemoryLimit, String::new()),
                Limit::Output => (Verdict::OutputLimit, String::new()),
                Limit::Wall => (
                    Verdict::InfraError,
                    "starved: the wall cap was reached".to_owned(),
                ),
            },
            End::Violation { call } => {
                (Verdict::SecurityViolation, call.clone().unwrap_or_default())
            }
            End::Missing => {
                let name = match &self.problem.entry {
                    Entry::Function { entry_point } => entry_point.as_str(),
                    Entry::Stdin => "__main__",
                };
                (
                    Verdict::RuntimeError,
                    format!("NameError: name '{name}' is not defined"),
                )
            }
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

fn exception(kind: &str, message: &str) -> String {
    if message.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}: {message}")
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        4 => "signal 4 (illegal instruction)".to_owned(),
        6 => "signal 6 (abort)".to_owned(),
        7 => "signal 7 (bus error)".to_owned(),
        8 => "signal 8 (arithmetic exception)".to_owned(),
        11 => "signal 11 (segmentation fault)".to_owned(),
        other => format!("signal {other}"),
    }
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
