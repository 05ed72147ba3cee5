//! SDPO's layout, without its bugs: what the self-teacher reads about a failed attempt.
//!
//! One category only, by our own verdicts (never by how an output happens to begin): the first runtime or compile
//! error, else the first time limit, else the first other limit, else up to two wrong answers, the shortest first, under
//! their own 1-based numbers. Line numbers and source lines are those of the user's source.

use super::text::{Shares, Shown, answer, block, frames, within};
use crate::types::verdict::{Outcome, Verdict};

const MAX_WRONG_ANSWERS: usize = 2;

/// See the module; empty when no test failed.
pub(super) fn text<'a>(
    case: &dyn Fn(usize) -> Shown<'a>,
    outcomes: &[Outcome],
    source: &str,
    max_chars: usize,
) -> String {
    let mut ranked: Vec<(u8, usize)> = outcomes
        .iter()
        .enumerate()
        .filter_map(|(index, o)| Some((rank(o.verdict)?, index)))
        .collect();
    ranked.sort_unstable();
    let Some(&(_, first)) = ranked.first() else {
        return String::new();
    };
    let (outcome, shares) = (&outcomes[first], Shares::of(max_chars));
    let text = match outcome.verdict {
        Verdict::WrongAnswer => return wrong_answers(case, outcomes, max_chars),
        Verdict::CompileError => runtime_error(outcome, None, source, shares),
        Verdict::RuntimeError => runtime_error(outcome, Some(case(first).input), source, shares),
        verdict => limit(verdict, outcome, case(first).input, shares),
    };
    within(&text, max_chars)
}

/// Which category is reported; None for what is not a failure.
fn rank(verdict: Verdict) -> Option<u8> {
    match verdict {
        Verdict::RuntimeError | Verdict::CompileError => Some(0),
        Verdict::TimeLimit => Some(1),
        Verdict::IdleLimit
        | Verdict::MemoryLimit
        | Verdict::OutputLimit
        | Verdict::SecurityViolation => Some(2),
        Verdict::WrongAnswer => Some(3),
        Verdict::Accepted | Verdict::NoCode | Verdict::InfraError | Verdict::NotRun => None,
    }
}

fn runtime_error(outcome: &Outcome, input: Option<&[u8]>, source: &str, shares: Shares) -> String {
    let message = block(outcome.message.as_bytes(), shares.message);
    let input = input.map_or_else(String::new, |input| last_input(input, shares));
    format!(
        "Runtime Error\n{message}{}{input}",
        frames(&outcome.frames, source)
    )
}

/// The title of a limit.
pub(super) fn title(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::TimeLimit => "Time Limit Exceeded",
        Verdict::IdleLimit => "Idle Limit Exceeded",
        Verdict::MemoryLimit => "Memory Limit Exceeded",
        Verdict::OutputLimit => "Output Limit Exceeded",
        _ => "Security Violation",
    }
}

fn limit(verdict: Verdict, outcome: &Outcome, input: &[u8], shares: Shares) -> String {
    let title = title(verdict);
    let debug = if verdict == Verdict::TimeLimit {
        debug(&outcome.debug)
    } else {
        String::new()
    };
    format!("{title}{}{debug}", last_input(input, shares))
}

pub(super) fn last_input(input: &[u8], shares: Shares) -> String {
    format!("\n\nLast Executed Input\n{}", block(input, shares.input))
}

fn wrong_answers<'a>(
    case: &dyn Fn(usize) -> Shown<'a>,
    outcomes: &[Outcome],
    max_chars: usize,
) -> String {
    let mut wrong: Vec<usize> = (0..outcomes.len())
        .filter(|&index| outcomes[index].verdict == Verdict::WrongAnswer)
        .collect();
    wrong.sort_by_key(|&index| case(index).input.len() + outcomes[index].actual_bytes); // of equal sizes the first
    let mut text = String::new();
    for index in wrong.into_iter().take(MAX_WRONG_ANSWERS) {
        let section = wrong_answer(index, case(index), &outcomes[index], max_chars);
        if text.is_empty() {
            text = within(&section, max_chars);
        } else if text.chars().count() + 2 + section.chars().count() <= max_chars {
            text = format!("{text}\n\n{section}"); // a second case is shown whole or not at all
        }
    }
    text
}

fn wrong_answer(index: usize, case: Shown<'_>, outcome: &Outcome, max_chars: usize) -> String {
    format!(
        "Test Case {}: Wrong Answer\n\nInput\n{}\n\nOutput\n{}\n\nExpected\n{}{}",
        index + 1,
        block(case.input, Shares::of(max_chars).input),
        outcome.actual,
        answer(case.expected, max_chars),
        debug(&outcome.debug),
    )
}

pub(super) fn debug(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("\n\nDebug Output\n{text}")
    }
}
