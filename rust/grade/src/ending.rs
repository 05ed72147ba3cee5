//! How a test ended, as the sandbox saw it, becomes a verdict with its words.

use opsd_sandbox::{End, Entry, Frame, Limit, TestRun};

use crate::feedback;
use crate::prepare::Prepared;
use crate::verdict::{Outcome, Verdict};

/// Share of the address space from which a crash is put down to memory.
const MEMORY_SHARE: f64 = 0.95;
/// A program cannot send it to itself, and our own kills have other ends.
pub(crate) const SIGKILL: i32 = 9;

/// The outcome of test `index`; what only the feedback needs is kept if there will be one.
pub(crate) fn outcome(
    problem: &Prepared,
    index: usize,
    run: &TestRun,
    with_feedback: bool,
) -> Outcome {
    let (verdict, message) = verdict(problem, index, run);
    let mut outcome = Outcome::bare(verdict, message);
    outcome.cpu_seconds = Some(run.cpu_seconds);
    outcome.wall_seconds = Some(run.wall_seconds);
    outcome.memory_mib = Some(run.memory_mib);
    outcome.frames = match &run.end {
        End::Raised { frames, .. } => frames.clone(),
        End::Compile {
            line: Some(line), ..
        } => {
            vec![Frame {
                line: *line,
                function: String::new(),
            }]
        }
        _ => Vec::new(),
    };
    if with_feedback && verdict == Verdict::WrongAnswer {
        let shown = answer(problem, run);
        outcome.actual = feedback::answer(shown);
        outcome.actual_bytes = shown.len();
    }
    if with_feedback && matches!(verdict, Verdict::WrongAnswer | Verdict::TimeLimit) {
        outcome.debug = feedback::debug_output(&run.stderr);
    }
    outcome
}

/// What the program answered: its output, or its result, or why that has no JSON form.
fn answer<'r>(problem: &Prepared, run: &'r TestRun) -> &'r [u8] {
    match &problem.entry {
        Entry::Stdin => &run.stdout,
        Entry::Function { .. } => run
            .value
            .as_deref()
            .or(run.note.as_deref().map(str::as_bytes))
            .unwrap_or_default(),
    }
}

fn verdict(problem: &Prepared, index: usize, run: &TestRun) -> (Verdict, String) {
    let near_memory = run.memory_mib >= MEMORY_SHARE * problem.limits.memory_mib as f64;
    match &run.end {
        _ if run.starved => (
            Verdict::InfraError,
            "starved: the machine gave the program no time".to_owned(),
        ),
        End::Finished => {
            let answer = match &problem.entry {
                Entry::Stdin => Some(&run.stdout),
                Entry::Function { .. } => run.value.as_ref(),
            };
            let right = answer.is_some_and(|answer| problem.accepts(index, answer));
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
        End::Signaled { signal: SIGKILL } => (
            Verdict::InfraError,
            "killed: somebody else ended the program's process".to_owned(),
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
        End::Violation { call } => (Verdict::SecurityViolation, call.clone().unwrap_or_default()),
        End::ImportBlocked { module } => (
            Verdict::InfraError,
            format!("import blocked: {module} cannot be loaded at isolation level S1"),
        ),
        End::Missing => {
            let name = match &problem.entry {
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
