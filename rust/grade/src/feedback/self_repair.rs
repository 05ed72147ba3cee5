//! The layout of LiveCodeBench's self-repair prompt: one sentence on what went wrong, then the facts, a line each.
//!
//! Its four kinds are a compile error, a wrong answer, a time limit and a runtime error; the official code has no text
//! for other ends and raises an exception there. Here every verdict has its sentence. The wording is ours.

use super::text::{Shares, Shown, answer, block, within};
use crate::types::verdict::{Outcome, Verdict};

/// How messages that hold a limit's figures begin.
const FIGURES: [&str; 4] = [
    "time_limit: ",
    "idle_limit: ",
    "memory_limit: ",
    "output_limit: ",
];

/// See the module; empty when no test failed.
pub(super) fn text<'a>(
    case: &dyn Fn(usize) -> Shown<'a>,
    outcomes: &[Outcome],
    max_chars: usize,
) -> String {
    let Some(first) = outcomes.iter().position(|outcome| outcome.verdict.failed()) else {
        return String::new();
    };
    let (outcome, shown, shares) = (&outcomes[first], case(first), Shares::of(max_chars));
    let mut text = sentence(outcome.verdict).to_owned();
    let mut fact = |label: &str, value: &str| {
        text.push('\n');
        text.push_str(label);
        text.push_str(value);
    };
    if outcome.verdict != Verdict::CompileError {
        fact("Input: ", &block(shown.input, shares.input));
        if outcome.verdict == Verdict::WrongAnswer {
            fact("Generated Output: ", &outcome.actual);
        }
        fact("Expected: ", &answer(shown.expected, max_chars));
    }
    // The figures of a limit differ from run to run.
    let is_figures = FIGURES.iter().any(|name| outcome.message.starts_with(name));
    if !outcome.message.is_empty() && !is_figures {
        let label = if outcome.verdict == Verdict::WrongAnswer {
            "Checker: "
        } else {
            ""
        };
        fact(label, &block(outcome.message.as_bytes(), shares.message));
    }
    within(&text, max_chars)
}

/// The sentence on a verdict, before the facts.
pub(super) fn sentence(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "The program passes every test.",
        Verdict::WrongAnswer => "The program is not correct: its answer to this test is wrong.",
        Verdict::RuntimeError => "The program is not correct: it ends with a runtime error.",
        Verdict::TimeLimit => "The program is not correct: it exceeds the time limit.",
        Verdict::IdleLimit => "The program is not correct: it waits and does not end.",
        Verdict::MemoryLimit => "The program is not correct: it exceeds the memory limit.",
        Verdict::OutputLimit => "The program is not correct: it prints more than is allowed.",
        Verdict::SecurityViolation => {
            "The program is not correct: it makes a system call that is not allowed."
        }
        Verdict::CompileError => "The program is not correct: it does not compile.",
        Verdict::NoCode => "The answer holds no program.",
        Verdict::InfraError => "The program could not be graded.",
        Verdict::NotRun => "The program was not run on this test.",
    }
}
