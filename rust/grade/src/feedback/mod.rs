//! The feedback text about a failed attempt, for a teacher, a user or a model that repairs its own program.
//!
//! | style | for |
//! |---|---|
//! | `leetcode` | people: verdict, how many tests passed, the first failing one |
//! | `sdpo` | the self-teacher in training: SDPO's layout |
//! | `lcb` | self-repair: LiveCodeBench's layout, a sentence for every verdict |
//! | `none` | no text |
//!
//! All are empty when every test passed, and never longer than their budget in characters.

mod leetcode;
mod sdpo;
mod self_repair;
mod text;

use serde::Deserialize;

use crate::compare::official::strip;
use crate::types::verdict::{Outcome, Verdict};
pub use text::Shown;
use text::{Shares, answer, block, within};

/// A smaller budget would not hold the headers.
const FEWEST_CHARS: usize = 300;

const NO_CODE: &str = "Incorrect Format\nThe answer holds no code. Put the complete program inside one closed code block \
                       that starts with ```python.";
const NO_CODE_TRUNCATED: &str = "Incorrect Format\nThe answer was cut off at the length limit before a complete code \
                                 block. Keep the reasoning shorter and close the code block.";

/// The layout of a text; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// For people.
    Leetcode,
    /// For the self-teacher.
    Sdpo,
    /// For self-repair.
    Lcb,
    /// Nothing is written.
    None,
}

/// A style and its budget.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Feedback {
    style: Style,
    max_chars: usize,
}

impl Feedback {
    /// `max_chars` below 300 counts as 300.
    pub fn new(style: Style, max_chars: usize) -> Self {
        Self { style, max_chars }
    }

    /// Whether anything is written at all.
    pub(crate) fn wanted(self) -> bool {
        self.style != Style::None
    }

    fn budget(self) -> usize {
        self.max_chars.max(FEWEST_CHARS)
    }

    /// Feedback on `outcomes`, one per test in the order of the tests; empty when none failed. `case(index)` gives the
    /// test's texts, `source` is the user's program.
    pub fn text<'a>(
        self,
        case: &dyn Fn(usize) -> Shown<'a>,
        outcomes: &[Outcome],
        source: &str,
    ) -> String {
        let max_chars = self.budget();
        match self.style {
            Style::Leetcode => leetcode::text(case, outcomes, source, max_chars),
            Style::Sdpo => sdpo::text(case, outcomes, source, max_chars),
            Style::Lcb => self_repair::text(case, outcomes, max_chars),
            Style::None => String::new(),
        }
    }

    /// Feedback for an answer without code.
    pub fn no_code(self, truncated: bool) -> String {
        let text = match self.style {
            Style::None => "",
            Style::Lcb => self_repair::sentence(Verdict::NoCode),
            Style::Leetcode | Style::Sdpo if truncated => NO_CODE_TRUNCATED,
            Style::Leetcode | Style::Sdpo => NO_CODE,
        };
        within(text, self.budget())
    }

    /// The part of a wrong answer that is shown. Made at once, so that the whole output need not be kept.
    pub fn answer(self, output: &[u8]) -> String {
        answer(output, self.budget())
    }

    /// The part of standard error that is shown; empty when it is blank.
    pub(crate) fn debug_output(self, stderr: &[u8]) -> String {
        block(strip(stderr), Shares::of(self.budget()).debug)
    }
}
