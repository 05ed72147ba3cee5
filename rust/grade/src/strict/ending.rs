//! Turns the end of a test, as the sandbox reports it, into a verdict with its message.

use opsd_sandbox::{End, Entry, Frame, Limit, Limits, TestRun};

use crate::feedback::Feedback;
use crate::types::ends::{SIGKILL, exception_text, signal_name};
use crate::types::verdict::{Judged, Outcome, Verdict};

/// Share of the address space from which a crash counts as a memory failure.
const MEMORY_SHARE: f64 = 0.95;
/// The outcome of a test; what only the feedback needs is kept if feedback is written. `judge` compares an answer.
pub(crate) fn outcome(
    limits: &Limits,
    entry: &Entry,
    run: &TestRun,
    feedback: Feedback,
    judge: &mut dyn FnMut(&[u8]) -> Judged,
) -> Outcome {
    let (verdict, message) = verdict(limits, entry, run, judge);
    let mut outcome = Outcome::bare(verdict, message);
    outcome.cpu_seconds = Some(run.cpu_seconds);
    outcome.wall_seconds = Some(run.wall_seconds);
    outcome.memory_mib = Some(run.memory_mib);
    outcome.exception = match &run.end {
        End::Raised { kind, .. } | End::Compile { kind, .. } => Some(kind.clone()),
        End::Missing => Some("NameError".to_owned()),
        _ => None,
    };
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
    if feedback.wanted() && verdict == Verdict::WrongAnswer {
        let shown = answer(entry, run);
        outcome.actual = feedback.answer(shown);
        outcome.actual_bytes = shown.len();
    }
    if feedback.wanted() && matches!(verdict, Verdict::WrongAnswer | Verdict::TimeLimit) {
        outcome.debug = feedback.debug_output(&run.stderr);
    }
    outcome
}

/// What the program answered: its output, or its result, or why the result is not JSON.
fn answer<'r>(entry: &Entry, run: &'r TestRun) -> &'r [u8] {
    match entry {
        Entry::Stdin => &run.stdout,
        Entry::Function { .. } => run
            .value
            .as_deref()
            .or(run.note.as_deref().map(str::as_bytes))
            .unwrap_or_default(),
    }
}

fn verdict(
    limits: &Limits,
    entry: &Entry,
    run: &TestRun,
    judge: &mut dyn FnMut(&[u8]) -> Judged,
) -> (Verdict, String) {
    let late = run.cpu_seconds >= limits.cpu_seconds;
    let near_memory = run.memory_mib >= MEMORY_SHARE * limits.memory_mib as f64;
    match &run.end {
        _ if run.starved => (
            Verdict::InfraError,
            "starved: the machine gave the program no time".to_owned(),
        ),
        // A test may run a little past its limit, to tell a time near it from one far beyond (see `attempt`).
        // Whatever comes then, it is too slow: how far it gets depends on the machine.
        end if late && ended_by_itself(end) => {
            (Verdict::TimeLimit, time_message(run.cpu_seconds, limits))
        }
        End::Finished => {
            let answer = match entry {
                Entry::Stdin => Some(&run.stdout),
                Entry::Function { .. } => run.value.as_ref(),
            };
            match answer.map_or(Judged::plain(false), |answer| judge(answer)) {
                Judged::Right => (Verdict::Accepted, String::new()),
                Judged::Wrong { remark } => (Verdict::WrongAnswer, remark),
                Judged::Unknown { cause } => (Verdict::InfraError, cause),
            }
        }
        End::Raised { kind, .. } if kind == "MemoryError" => {
            (Verdict::MemoryLimit, memory_message(run, limits))
        }
        End::Raised { kind, message, .. } => (Verdict::RuntimeError, exception_text(kind, message)),
        End::Compile { kind, message, .. } => {
            (Verdict::CompileError, exception_text(kind, message))
        }
        End::Exited { code } => (
            Verdict::RuntimeError,
            format!("The process ended with exit code {code}."),
        ),
        End::Signaled { signal: SIGKILL } => (
            Verdict::InfraError,
            "killed: somebody else ended the program's process".to_owned(),
        ),
        End::Signaled { .. } if near_memory => (Verdict::MemoryLimit, memory_message(run, limits)),
        End::Signaled { signal } => (
            Verdict::RuntimeError,
            format!("The process was ended by {}.", signal_name(*signal)),
        ),
        End::Stopped { by } => match by {
            Limit::Cpu | Limit::Cores => {
                let message = time_message(run.cpu_seconds, limits);
                (Verdict::TimeLimit, message)
            }
            Limit::Idle => (Verdict::IdleLimit, idle_message(run, limits)),
            Limit::Memory => (Verdict::MemoryLimit, memory_message(run, limits)),
            Limit::Output => (Verdict::OutputLimit, output_message(run, limits)),
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
            let name = match entry {
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

/// Whether the program brought about this end, not the machine or its clocks.
fn ended_by_itself(end: &End) -> bool {
    match end {
        End::Finished | End::Raised { .. } | End::Exited { .. } => true,
        End::Signaled { signal } => *signal != SIGKILL,
        End::Stopped { by } => matches!(by, Limit::Memory | Limit::Output),
        End::Compile { .. } | End::Violation { .. } | End::Missing | End::ImportBlocked { .. } => {
            false
        }
    }
}

/// `time_limit: 7.80 s of 6 s`.
pub(super) fn time_message(cpu_seconds: f64, limits: &Limits) -> String {
    format!("time_limit: {cpu_seconds:.2} s of {} s", limits.cpu_seconds)
}

/// Sleep as far as samples saw it; where the wall cap ended a test, all time in which it did nothing.
fn idle_message(run: &TestRun, limits: &Limits) -> String {
    let rest = run.wall_seconds - run.cpu_seconds - run.waited_seconds;
    let idle = if run.naps {
        run.wall_seconds - run.cpu_seconds
    } else {
        rest
    };
    let idle = idle.max(run.idle_seconds);
    format!("idle_limit: {idle:.2} s of {} s", limits.idle_seconds)
}

fn memory_message(run: &TestRun, limits: &Limits) -> String {
    let bound = size(limits.memory_mib as f64);
    let refused = if run.memory_mib < MEMORY_SHARE * limits.memory_mib as f64 {
        ", and no space for what it asked for next"
    } else {
        ""
    };
    format!("memory_limit: {} of {bound}{refused}", size(run.memory_mib))
}

/// A value's text that would be too long is not written to its end.
fn output_message(run: &TestRun, limits: &Limits) -> String {
    let (written, bound) = (run.stdout.len() as f64 / MIB, limits.output_mib as f64);
    if written < bound {
        format!("output_limit: more than {}", size(bound))
    } else {
        format!("output_limit: {} of {}", size(written), size(bound))
    }
}

const MIB: f64 = 1_048_576.0;

/// An amount of memory, given in MiB.
fn size(mib: f64) -> String {
    let (amount, unit) = if mib < 1024.0 {
        (mib, "MiB")
    } else {
        (mib / 1024.0, "GiB")
    };
    let text = format!("{amount:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(16.0), "16 MiB");
        assert_eq!(size(34.06), "34.1 MiB");
        assert_eq!(size(1024.0), "1 GiB");
        assert_eq!(size(1228.8), "1.2 GiB");
    }
}
