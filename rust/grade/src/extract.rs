//! The code inside a completion, by a rule chosen by name; None where there is no code.
//!
//! `first` and `last` are ours: a complete, non-blank fenced block of the answer itself (what follows `</think>`, where
//! there is one). `longest` is SDPO's rule and `official` LiveCodeBench's, quirks included, for comparison with both.
//! `after-think` before a rule (`after-think:official`; alone it means `after-think:last`) removes the thoughts first
//! and is strict about them: thoughts that never end contain no code.

use serde::{Deserialize, Serialize};

use crate::compare::official::strip;

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
    /// The last complete fence (CommonMark: three or more backticks or tildes at the head of a line).
    #[default]
    Last,
    /// The first complete fence.
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
const CLOSE: &str = "</think>";

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

/// The code of `completion`, or None: no block, only blank ones, or the last fence was never closed.
pub fn extract(completion: &str, rule: Rule) -> Option<String> {
    let text = if rule.after_think {
        after_thoughts(completion)?
    } else {
        completion
    };
    let code = match rule.pick {
        Pick::Last => fences(text).pop(),
        Pick::First => fences(text).into_iter().next(),
        Pick::Longest => longest_fence(text),
        Pick::Official => between_last_two(text),
        Pick::OfficialBase => std::str::from_utf8(strip(text.as_bytes()))
            .ok()
            .map(str::to_owned),
        Pick::OfficialCodeLlama => None,
    };
    code.filter(|code| !code.trim().is_empty())
}

/// What follows the last `</think>`. A template may have opened the thoughts, so that only their end shows; without
/// any tag all of it is the answer.
fn after_thoughts(completion: &str) -> Option<&str> {
    match completion.rsplit_once(CLOSE) {
        Some((_, answer)) => (!answer.contains("<think>")).then_some(answer),
        None => (!completion.contains("<think>")).then_some(completion),
    }
}

struct Fence {
    indent: usize,
    mark: char,
    length: usize,
}

impl Fence {
    /// Opening fence: indentation, at least three equal marks, an info string (without backticks after backticks).
    fn opening(line: &str) -> Option<Self> {
        let body = line.trim_start_matches([' ', '\t']);
        let mark = body
            .chars()
            .next()
            .filter(|mark| matches!(mark, '`' | '~'))?;
        let length = body
            .chars()
            .take_while(|&character| character == mark)
            .count();
        let info = &body[length..];
        (length >= 3 && !(mark == '`' && info.contains('`'))).then_some(Self {
            indent: line.len() - body.len(),
            mark,
            length,
        })
    }

    fn closed_by(&self, line: &str) -> bool {
        let body = line.trim();
        body.len() >= self.length && body.chars().all(|character| character == self.mark)
    }
}

/// Every complete, non-blank block of the answer itself.
fn fences(completion: &str) -> Vec<String> {
    let answer = completion
        .rsplit_once(CLOSE)
        .map_or(completion, |(_, answer)| answer);
    let mut open: Option<(Fence, Vec<&str>)> = None;
    let mut found = Vec::new();
    for line in answer
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
    {
        match open.take() {
            None => open = Fence::opening(line).map(|fence| (fence, Vec::new())),
            Some((fence, lines)) if fence.closed_by(line) => {
                if lines.iter().any(|line: &&str| !line.trim().is_empty()) {
                    found.push(lines.join("\n"));
                }
            }
            Some((fence, mut lines)) => {
                lines.push(without_indent(line, fence.indent));
                open = Some((fence, lines));
            }
        }
    }
    found
}

/// A fence inside a list is indented; that much indentation is not part of the code.
fn without_indent(line: &str, indent: usize) -> &str {
    let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
    &line[blank.min(indent)..]
}

fn longest_fence(completion: &str) -> Option<String> {
    let mut longest: Option<&str> = None;
    let mut rest = completion;
    while let Some(start) = rest.find("```") {
        let after = &rest[start + 3..];
        let word = after.len()
            - after
                .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                .len();
        let body = after[word..]
            .strip_prefix('\n')
            .and_then(|body| Some((body, body.find("```")?)));
        match body {
            Some((body, end)) => {
                // Of two equally long blocks the first wins, as with Python's max().
                if longest.is_none_or(|found| body[..end].chars().count() > found.chars().count()) {
                    longest = Some(&body[..end]);
                }
                rest = &body[end + 3..];
            }
            // The pattern does not match here; a regular expression would try again one character on.
            None => rest = &rest[start + 1..],
        }
    }
    longest.map(str::to_owned)
}

fn between_last_two(completion: &str) -> Option<String> {
    let lines: Vec<&str> = completion.split('\n').collect();
    let mut fences = (0..lines.len())
        .rev()
        .filter(|&at| lines[at].contains("```"));
    let last = fences.next()?;
    let before = fences.next()?;
    Some(lines[before + 1..last].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::{Rule, extract};

    const TWO: &str = "First:\n```python\nlong = 'abcdefgh'\n```\nThen\n```\nx = 1\n```\nDone.";

    fn by(rule: &str, text: &str) -> Option<String> {
        extract(text, Rule::named(rule).unwrap())
    }

    fn last(text: &str) -> Option<String> {
        by("last", text)
    }

    #[test]
    fn three_rules_on_two_blocks() {
        assert_eq!(last(TWO).as_deref(), Some("x = 1"));
        assert_eq!(by("longest", TWO).as_deref(), Some("long = 'abcdefgh'\n"));
        assert_eq!(by("official", TWO).as_deref(), Some("x = 1"));
    }

    #[test]
    fn no_code() {
        for text in ["", "x = 1", "```python\nx = 1", "```x = 1```", "```\n\n```"] {
            assert_eq!(last(text), None, "{text:?}");
            assert_eq!(by("official", text), None, "{text:?}");
        }
    }

    #[test]
    fn a_block_never_closed_does_not_hide_the_one_before() {
        assert_eq!(
            last("```py\nx = 1\n```\n```py\ny = ").as_deref(),
            Some("x = 1")
        );
    }

    #[test]
    fn indented_tilde_and_longer_fences() {
        assert_eq!(
            last("1. so:\n   ```python\n   if x:\n       y\n   ```").as_deref(),
            Some("if x:\n    y")
        );
        assert_eq!(
            last("~~~python\ns = '''\n```\n'''\n~~~").as_deref(),
            Some("s = '''\n```\n'''")
        );
        assert_eq!(
            last("````\n```\nx\n```\n````").as_deref(),
            Some("```\nx\n```")
        );
        assert_eq!(
            last("```python \r\nx = 1\r\n```\r\n").as_deref(),
            Some("x = 1")
        );
    }

    #[test]
    fn thoughts_are_not_the_answer() {
        assert_eq!(last("<think>\n```\ndraft\n```\n</think>\nNo code."), None);
        assert_eq!(
            last("<think>```\n</think>\n```python\nx = 1\n```").as_deref(),
            Some("x = 1")
        );
    }

    #[test]
    fn surprises_kept_from_the_others() {
        assert_eq!(
            by("longest", "```c++\nx\n```\n"),
            None,
            "the pattern wants a word"
        );
        assert_eq!(
            by("official", "```\na\n```\nprose\n```\nb").as_deref(),
            Some("prose"),
            "an unclosed last block gives the prose before it"
        );
    }

    #[test]
    fn official_styles() {
        for (text, code) in [
            ("```python\nx = 1\n```", Some("x = 1")),
            ("```\na\n```\nprose\n```\nb", Some("prose")),
            ("```\na\n```\nb\n```", Some("b")),
            ("```python\ns = '```'\n```", None),
            ("```print(1)```", None),
            ("~~~\nx = 1\n~~~", None),
            ("```python\nx = 1", None),
            ("> ```py\n> x = 1\n> ```", Some("> x = 1")),
            ("```\r\nx = 1\r\n```\r\n", Some("x = 1\r")),
        ] {
            assert_eq!(by("official", text).as_deref(), code, "{text:?}");
        }
        let text = "\u{a0}\x1f x = 1\n\u{3000}";
        assert_eq!(by("official:GenericBase", text).as_deref(), Some("x = 1"));
        assert_eq!(by("official:GenericBase", " \n"), None);
        assert_eq!(by("official:CodeLLaMaInstruct", TWO), None);
    }

    #[test]
    fn first_of_all_blocks() {
        assert_eq!(by("first", TWO).as_deref(), Some("long = 'abcdefgh'"));
        assert_eq!(
            by("first", "```\n\n```\n```\nx = 1\n```").as_deref(),
            Some("x = 1"),
            "a blank block is none"
        );
        assert_eq!(
            by(
                "first",
                "<think>\n```\ndraft\n```\n</think>\n```\nx = 1\n```"
            )
            .as_deref(),
            Some("x = 1")
        );
    }

    #[test]
    fn thoughts_are_cut_off_for_any_rule_and_must_end() {
        let thoughts = "<think>\n```py\nlonger draft\n```\n</think>\n```py\nx = 1\n```\n";
        for rule in [
            "after-think",
            "after-think:last",
            "after-think:first",
            "after-think:official",
        ] {
            assert_eq!(by(rule, thoughts).as_deref(), Some("x = 1"), "{rule}");
        }
        assert_eq!(by("longest", thoughts).as_deref(), Some("longer draft\n"));
        assert_eq!(
            by("after-think:longest", thoughts).as_deref(),
            Some("x = 1\n")
        );
        assert_eq!(
            by("after-think:official:GenericBase", "hm</think>\nx = 1").as_deref(),
            Some("x = 1")
        );
        for endless in [
            "<think>\n```py\nx = 1\n```",
            "<think></think><think>\n```py\nx = 1\n```",
        ] {
            assert_eq!(by("after-think", endless), None, "{endless:?}");
        }
        assert_eq!(
            by("after-think", "```py\nx = 1\n```").as_deref(),
            Some("x = 1")
        );
    }

    #[test]
    fn names_go_both_ways() {
        for name in [
            "last",
            "first",
            "official:GenericBase",
            "after-think:longest",
        ] {
            let rule = Rule::try_from(name.to_owned()).unwrap();
            assert_eq!(String::from(rule), name);
        }
        for name in [
            "Last",
            "official:Claude",
            "after-think:",
            "after-thinklast",
            "",
        ] {
            assert!(Rule::named(name).is_none(), "{name}");
        }
    }
}
