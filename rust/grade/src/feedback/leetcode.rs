//! What a LeetCode user sees: the verdict, how many test cases passed, and the first failing one.
//!
//! The first failure in the order of the tests is shown, of whatever kind, as in the solution's own verdict. Only a
//! compile error has no count: nothing was run.

use super::sdpo::{debug, last_input, title};
use super::text::{Shares, Shown, answer, block, frames, within};
use crate::types::verdict::{Outcome, Verdict};

/// See the module; empty when no test failed.
pub(super) fn text<'a>(
    case: &dyn Fn(usize) -> Shown<'a>,
    outcomes: &[Outcome],
    source: &str,
    max_chars: usize,
) -> String {
    let Some(first) = outcomes.iter().position(|outcome| outcome.verdict.failed()) else {
        return String::new();
    };
    let (outcome, shown, shares) = (&outcomes[first], case(first), Shares::of(max_chars));
    let accepted = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Accepted);
    let passed = format!(
        "{} of {} test cases passed",
        accepted.count(),
        outcomes.len()
    );
    let message = block(outcome.message.as_bytes(), shares.message);
    let trace = frames(&outcome.frames, source);
    let text = match outcome.verdict {
        Verdict::CompileError => format!("Compile Error\n{message}{trace}"),
        Verdict::RuntimeError => format!(
            "Runtime Error: {passed}\n\n{message}{trace}{}",
            last_input(shown.input, shares)
        ),
        Verdict::WrongAnswer => {
            let remark = if message.is_empty() {
                String::new()
            } else {
                format!("\n\nChecker\n{message}")
            };
            format!(
                "Wrong Answer: {passed}\n\nInput\n{}\n\nOutput\n{}\n\nExpected\n{}{remark}{}",
                block(shown.input, shares.input),
                outcome.actual,
                answer(shown.expected, max_chars),
                debug(&outcome.debug),
            )
        }
        verdict => format!(
            "{}: {passed}{}{}",
            title(verdict),
            last_input(shown.input, shares),
            debug(&outcome.debug),
        ),
    };
    within(&text, max_chars)
}
