//! Why an answer holds no code, in words for a log and for people who look for a fault of their template.

use std::fmt::{Display, Formatter, Result};

/// The reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCode {
    /// Nothing but white space.
    Empty,
    /// No fence at all.
    NoFence,
    /// Marks, but no block: all on one line, or without a word for the rule `longest`.
    NoBlock,
    /// Blocks without a character in them.
    Blank,
    /// The token limit came before any fence.
    CutBefore,
    /// The token limit came inside the only block.
    CutInside,
    /// Blocks before the end of the thoughts only.
    InThoughts,
    /// Thoughts without an end, under `after-think`.
    EndlessThoughts,
    /// Fewer than two lines with a mark, under `official`.
    FewLines,
    /// A style of the official runner that finds none.
    ByStyle,
}

impl Display for NoCode {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Empty => "the answer is empty",
            Self::NoFence => "the answer has no code block: no line with ```",
            Self::NoBlock => "the answer has ``` marks but no code block between them",
            Self::Blank => "every code block of the answer is blank",
            Self::CutBefore => "the answer ended at the token limit before a code block",
            Self::CutInside => "the answer ended at the token limit inside its only code block",
            Self::InThoughts => "all code blocks stand in the thoughts, none follows their end",
            Self::EndlessThoughts => "the thoughts have no end, so there is no answer",
            Self::FewLines => "the rule official needs two lines with ```, the answer has fewer",
            Self::ByStyle => "the rule official:CodeLLaMaInstruct finds no code in any answer",
        })
    }
}
