//! The code inside a completion, by a rule chosen by name, or the reason why there is none.
//!
//! `first` and `last` are ours: `thoughts` cuts off what is not the answer, `fences` finds the blocks of the rest, and
//! `choose` says which of them is the program. `longest` is SDPO's rule and `official` LiveCodeBench's, quirks included,
//! for comparison with both. `after-think` before a rule (`after-think:official`; alone it means `after-think:last`)
//! removes the thoughts first and is strict about them: thoughts that never end contain no code.

mod choose;
mod fences;
mod others;
mod thoughts;
mod why;
mod words;

use serde::{Deserialize, Serialize};

use crate::compare::official::strip;
use choose::{End, choose};
use others::{between_last_two, longest_fence};
pub use why::NoCode;

/// How code is taken from a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    pick: Pick,
    /// Remove thoughts first, whatever `pick` does by itself.
    after_think: bool,
}

/// Which part of a completion is the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pick {
    /// The last block that is a program, see [`choose`].
    #[default]
    Last,
    /// The first block of Python.
    First,
    /// The longest text between "```word\n" and the next "```", wherever they are (SDPO).
    Longest,
    /// What lies between the last two lines that contain "```" (LiveCodeBench's model styles but two).
    Official,
    /// All of it, stripped (LiveCodeBench's style `GenericBase`).
    OfficialBase,
    /// Nothing: LiveCodeBench's style `CodeLLaMaInstruct` finds the lines and then returns None, after which its
    /// metrics stop at an assertion. Here such an answer is one without code.
    OfficialCodeLlama,
}

const PICKS: [(&str, Pick); 6] = [
    ("last", Pick::Last),
    ("first", Pick::First),
    ("longest", Pick::Longest),
    ("official", Pick::Official),
    ("official:GenericBase", Pick::OfficialBase),
    ("official:CodeLLaMaInstruct", Pick::OfficialCodeLlama),
];
const AFTER_THINK: &str = "after-think";

impl Rule {
    /// The rule called `name`.
    pub fn named(name: &str) -> Option<Self> {
        let (after_think, name) = match name.strip_prefix(AFTER_THINK) {
            Some("") => (true, "last"),
            Some(rest) => (true, rest.strip_prefix(':')?),
            None => (false, name),
        };
        let (_, pick) = PICKS.iter().find(|(known, _)| *known == name)?;
        Some(Self {
            pick: *pick,
            after_think,
        })
    }

    /// All names, for messages.
    pub fn names() -> String {
        let names = PICKS.map(|(name, _)| name).join(", ");
        format!("{names}, {AFTER_THINK} or {AFTER_THINK}:RULE")
    }
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::named(&name)
            .ok_or_else(|| format!("extract = {name:?}: must be one of {}", Self::names()))
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        let name = PICKS
            .iter()
            .find(|(_, pick)| *pick == rule.pick)
            .map_or("last", |(name, _)| name);
        if rule.after_think {
            format!("{AFTER_THINK}:{name}")
        } else {
            name.to_owned()
        }
    }
}

/// The code of `completion`, or why it holds none. `truncated`: it ended at the token limit, so a last block that is
/// never closed is cut and does not count.
pub fn extract(completion: &str, rule: Rule, truncated: bool) -> Result<String, NoCode> {
    let text = if rule.after_think {
        thoughts::after_all(completion).ok_or(NoCode::EndlessThoughts)?
    } else {
        completion
    };
    if text.trim().is_empty() {
        return Err(if truncated {
            NoCode::CutBefore
        } else {
            NoCode::Empty
        });
    }
    let code = match rule.pick {
        Pick::Last => return choose(text, truncated, End::Last),
        Pick::First => return choose(text, truncated, End::First),
        Pick::Longest => longest_fence(text).ok_or(NoCode::NoBlock)?,
        Pick::Official => between_last_two(text).ok_or(NoCode::FewLines)?,
        Pick::OfficialBase => String::from_utf8_lossy(strip(text.as_bytes())).into_owned(),
        Pick::OfficialCodeLlama => return Err(NoCode::ByStyle),
    };
    if code.trim().is_empty() {
        return Err(NoCode::Blank);
    }
    Ok(code)
}

#[cfg(test)]
mod tests;
