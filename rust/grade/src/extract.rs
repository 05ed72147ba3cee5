//! The code inside a completion. Three rules, chosen by name; each answers None where there is no code.
//!
//! `Last` is ours: the last complete, non-blank fenced block of the answer proper (after `</think>` where there is
//! one). `Longest` is SDPO's rule and `Official` LiveCodeBench's, surprises included, for comparison with both.

use serde::{Deserialize, Serialize};

/// Which block of a completion is the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// The last complete fence (CommonMark: three or more backticks or tildes at the head of a line).
    #[default]
    Last,
    /// The longest text between "```word\n" and the next "```", wherever they stand (SDPO).
    Longest,
    /// What lies between the last two lines that contain "```" (LiveCodeBench's default model style).
    Official,
}

impl Rule {
    /// The rule called `name`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "last" => Some(Self::Last),
            "longest" => Some(Self::Longest),
            "official" => Some(Self::Official),
            _ => None,
        }
    }
}

/// The code of `completion`, or None: no block, only blank ones, or the last fence was never closed.
pub fn extract(completion: &str, rule: Rule) -> Option<String> {
    let code = match rule {
        Rule::Last => last_fence(completion),
        Rule::Longest => longest_fence(completion),
        Rule::Official => between_last_two(completion),
    };
    code.filter(|code| !code.trim().is_empty())
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

fn last_fence(completion: &str) -> Option<String> {
    let answer = completion
        .rsplit_once("</think>")
        .map_or(completion, |(_, answer)| answer);
    let mut open: Option<(Fence, Vec<&str>)> = None;
    let mut last = None;
    for line in answer
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
    {
        match open.take() {
            None => open = Fence::opening(line).map(|fence| (fence, Vec::new())),
            Some((fence, lines)) if fence.closed_by(line) => {
                if lines.iter().any(|line: &&str| !line.trim().is_empty()) {
                    last = Some(lines.join("\n"));
                }
            }
            Some((fence, mut lines)) => {
                lines.push(without_indent(line, fence.indent));
                open = Some((fence, lines));
            }
        }
    }
    last
}

/// A fence inside a list is indented; so much of it is not part of the code.
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
                // The first of two equally long blocks stays, as with Python's max().
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

    fn last(text: &str) -> Option<String> {
        extract(text, Rule::Last)
    }

    #[test]
    fn three_rules_on_two_blocks() {
        assert_eq!(last(TWO).as_deref(), Some("x = 1"));
        assert_eq!(
            extract(TWO, Rule::Longest).as_deref(),
            Some("long = 'abcdefgh'\n")
        );
        assert_eq!(extract(TWO, Rule::Official).as_deref(), Some("x = 1"));
    }

    #[test]
    fn no_code() {
        for text in ["", "x = 1", "```python\nx = 1", "```x = 1```", "```\n\n```"] {
            assert_eq!(last(text), None, "{text:?}");
            assert_eq!(extract(text, Rule::Official), None, "{text:?}");
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
            extract("```c++\nx\n```\n", Rule::Longest),
            None,
            "the pattern wants a word"
        );
        assert_eq!(
            extract("```\na\n```\nprose\n```\nb", Rule::Official).as_deref(),
            Some("prose"),
            "an unclosed last block gives the prose before it"
        );
    }
}
