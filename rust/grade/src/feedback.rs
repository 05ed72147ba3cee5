//! The feedback text: what the self-teacher reads about a failed attempt.
//!
//! SDPO's layout. One category only, by our own verdicts (never by how an output happens to begin): the first runtime
//! or compile error, else the first time limit, else the first other limit, else up to two wrong answers, the
//! shortest first, under their own 1-based numbers. Line numbers and source lines are those of the user's source.
//! Each block has a share of the 2,000 characters, so that a long input never pushes the expected output out.

use std::borrow::Cow;

use opsd_sandbox::Frame;

use crate::verdict::{Outcome, Verdict};

/// Characters of the whole text, cut at a line's end.
pub(crate) const MAX_CHARS: usize = 2_000;
const MAX_LINE_CHARS: usize = 250;
const MAX_LINES: usize = 8;
const MAX_WRONG_ANSWERS: usize = 2;
const MAX_FRAMES: usize = 3;
/// Shares of one section's blocks; with the headers they stay below [`MAX_CHARS`].
const INPUT_CHARS: usize = 900;
const ANSWER_CHARS: usize = 400;
const MESSAGE_CHARS: usize = 600;
const DEBUG_CHARS: usize = 260;
const CUT: &str = "... (cut)";

const NO_CODE: &str = "Incorrect Format\nThe answer holds no code. Put the complete program inside one closed code block \
                       that starts with ```python.";
const NO_CODE_TRUNCATED: &str = "Incorrect Format\nThe answer was cut off at the length limit before a complete code \
                                 block. Keep the reasoning shorter and close the code block.";

/// Feedback for an answer without code.
pub fn no_code(truncated: bool) -> String {
    if truncated {
        NO_CODE_TRUNCATED
    } else {
        NO_CODE
    }
    .to_owned()
}

/// One test as the text shows it.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Standard input, or arguments.
    pub input: &'a [u8],
    /// Expected output.
    pub expected: &'a [u8],
}

/// Feedback on `outcomes`, one per test; empty when none failed. `case(index)` gives the test's texts, `source` is the
/// user's program.
pub fn feedback<'a>(
    case: &dyn Fn(usize) -> Shown<'a>,
    outcomes: &[Outcome],
    source: &str,
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
    let outcome = &outcomes[first];
    let text = match outcome.verdict {
        Verdict::WrongAnswer => return wrong_answers(case, outcomes),
        Verdict::CompileError => runtime_error(outcome, None, source),
        Verdict::RuntimeError => runtime_error(outcome, Some(case(first).input), source),
        verdict => limit(verdict, outcome, case(first).input),
    };
    within(&text, MAX_CHARS)
}

/// Which category is told; None for what is no failure.
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

fn runtime_error(outcome: &Outcome, input: Option<&[u8]>, source: &str) -> String {
    let mut text = format!(
        "Runtime Error\n{}",
        block(outcome.message.as_bytes(), MESSAGE_CHARS)
    );
    for frame in outcome.frames.iter().rev().take(MAX_FRAMES) {
        text.push_str(&frame_lines(frame, source));
    }
    if let Some(input) = input {
        text.push_str(&last_input(input));
    }
    text
}

/// The source line, then where it stands; innermost frame first.
fn frame_lines(frame: &Frame, source: &str) -> String {
    let line = source
        .split('\n')
        .nth((frame.line as usize).saturating_sub(1))
        .unwrap_or("")
        .trim();
    let code = if line.is_empty() {
        String::new()
    } else {
        format!("\n  {}", cut_line(line))
    };
    match frame.function.as_str() {
        "" => format!("{code}\nLine {} (Solution.py)", frame.line),
        function => format!(
            "{code}\nLine {} in {} (Solution.py)",
            frame.line,
            cut_line(function)
        ),
    }
}

fn limit(verdict: Verdict, outcome: &Outcome, input: &[u8]) -> String {
    let title = match verdict {
        Verdict::TimeLimit => "Time Limit Exceeded",
        Verdict::IdleLimit => "Idle Limit Exceeded",
        Verdict::MemoryLimit => "Memory Limit Exceeded",
        Verdict::OutputLimit => "Output Limit Exceeded",
        _ => "Security Violation",
    };
    let debug = if verdict == Verdict::TimeLimit {
        debug(&outcome.debug)
    } else {
        String::new()
    };
    format!("{title}{}{debug}", last_input(input))
}

fn last_input(input: &[u8]) -> String {
    format!("\n\nLast Executed Input\n{}", block(input, INPUT_CHARS))
}

fn wrong_answers<'a>(case: &dyn Fn(usize) -> Shown<'a>, outcomes: &[Outcome]) -> String {
    let mut wrong: Vec<usize> = (0..outcomes.len())
        .filter(|&index| outcomes[index].verdict == Verdict::WrongAnswer)
        .collect();
    wrong.sort_by_key(|&index| case(index).input.len() + outcomes[index].actual_bytes); // of equal ones the first
    let mut text = String::new();
    for index in wrong.into_iter().take(MAX_WRONG_ANSWERS) {
        let section = wrong_answer(index, case(index), &outcomes[index]);
        if text.is_empty() {
            text = within(&section, MAX_CHARS);
        } else if text.chars().count() + 2 + section.chars().count() <= MAX_CHARS {
            text = format!("{text}\n\n{section}"); // a second case is shown whole or not at all
        }
    }
    text
}

fn wrong_answer(index: usize, case: Shown<'_>, outcome: &Outcome) -> String {
    format!(
        "Test Case {}: Wrong Answer\n\nInput\n{}\n\nOutput\n{}\n\nExpected\n{}{}",
        index + 1,
        block(case.input, INPUT_CHARS),
        outcome.actual,
        answer(case.expected),
        debug(&outcome.debug),
    )
}

/// The part of an output that is shown. Made while the output is at hand, so that it need not be kept.
pub fn answer(output: &[u8]) -> String {
    block(output, ANSWER_CHARS)
}

/// The part of standard error that is shown; empty when it is blank.
pub(crate) fn debug_output(stderr: &[u8]) -> String {
    block(crate::compare::strip(stderr), DEBUG_CHARS)
}

fn debug(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("\n\nDebug Output\n{text}")
    }
}

fn cut_line(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(MAX_LINE_CHARS) {
        Some((at, _)) => format!("{}...", &line[..at]).into(),
        None => line.into(),
    }
}

/// At most 8 lines of at most 250 characters, `max_chars` in all (the first line always stays).
fn block(text: &[u8], max_chars: usize) -> String {
    let end = text
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r'))
        .map_or(0, |last| last + 1);
    let mut kept = String::new();
    let mut num_chars = 0;
    for (number, line) in text[..end].split(|&byte| byte == b'\n').enumerate() {
        // Four bytes a character at most: no need to decode a line of megabytes.
        let line = &line[..line.len().min(4 * MAX_LINE_CHARS + 4)];
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let line = cut_line(&line);
        num_chars += line.chars().count() + 1;
        if number == MAX_LINES || (number > 0 && num_chars > max_chars) {
            let more = text[..end].split(|&byte| byte == b'\n').count() - number;
            return format!(
                "{kept}\n... ({more} more {})",
                if more == 1 { "line" } else { "lines" }
            );
        }
        if number > 0 {
            kept.push('\n');
        }
        kept.push_str(&line);
    }
    kept
}

/// `text` if it fits, else whole lines of it and a marker.
fn within(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let budget = max_chars - CUT.len() - 1;
    let end = text
        .char_indices()
        .nth(budget)
        .map_or(text.len(), |(at, _)| at);
    let line_end = text[..end].rfind('\n').unwrap_or(end);
    format!("{}\n{CUT}", text[..line_end].trim_end())
}
