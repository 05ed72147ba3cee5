//! Which of an answer's blocks is the program.
//!
//! By the rule `first` the first that names Python or nothing. By `last` the last that is a program: it reads standard
//! input, or defines a function or a class that is no test. Blocks that name another language than Python are none while
//! there is one that names Python or nothing; a block without a name is one only if it can be Python. Where no block is
//! a program, the last counts that names Python, then the last that calls something, then the last of all.

use super::fences::{Block, blocks};
use super::thoughts::parts;
use super::why::NoCode;
use super::words::Language;

/// Which of several programs counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

/// The program of an answer.
pub(super) fn choose(text: &str, truncated: bool, end: End) -> Result<String, NoCode> {
    let parts = parts(text);
    let answer = parts.answer.join("\n");
    let found = blocks(&answer);
    if let Some(code) = best(&found, truncated, end) {
        return Ok(code.to_owned());
    }
    // Thoughts that the token limit cut hold drafts; those that just never end hold the answer.
    let endless = parts.endless.filter(|_| !truncated).map(blocks);
    if let Some(code) = endless.as_deref().and_then(|found| best(found, false, end)) {
        return Ok(code.to_owned());
    }
    Err(
        if found.iter().any(|block| !block.closed && !block.is_blank()) {
            NoCode::CutInside
        } else if truncated {
            NoCode::CutBefore
        } else if !found.is_empty() {
            NoCode::Blank
        } else if parts.ended && blocks(text).iter().any(|block| !block.is_blank()) {
            NoCode::InThoughts
        } else if text.contains("```") {
            NoCode::NoBlock
        } else {
            NoCode::NoFence
        },
    )
}

fn best<'a>(found: &'a [Block<'_>], truncated: bool, end: End) -> Option<&'a str> {
    let whole = |block: &&Block<'_>| !block.is_blank() && (block.closed || !truncated);
    let blocks: Vec<(&Block<'_>, Language)> = found
        .iter()
        .filter(whole)
        .map(|block| (block, Language::of(block.info)))
        .collect();
    let pick = |is_one: &dyn Fn(&Block<'_>, Language) -> bool| {
        let mut fit = blocks
            .iter()
            .filter(|(block, language)| is_one(block, *language));
        let one = if end == End::First {
            fit.next()
        } else {
            fit.next_back()
        };
        one.map(|(block, _)| block.code.as_str())
    };
    if end == End::First {
        return pick(&|_, language| language != Language::Other).or_else(|| pick(&|_, _| true));
    }
    pick(&|block, language| match language {
        Language::Python => is_program(&block.code),
        Language::Unnamed => is_program(&block.code) && can_be_python(&block.code),
        Language::Other => false,
    })
    .or_else(|| pick(&|_, language| language == Language::Python))
    .or_else(|| {
        pick(&|block, language| {
            language == Language::Unnamed && block.code.contains('(') && can_be_python(&block.code)
        })
    })
    .or_else(|| pick(&|_, language| language == Language::Unnamed))
    .or_else(|| pick(&|_, _| true))
}

/// Whether a block is a program rather than a test, an example, or a command: it reads standard input, or defines a
/// function or class that is no test.
fn is_program(code: &str) -> bool {
    code.lines().any(|line| {
        let body = line.trim_start();
        if body.starts_with(['#', '$', '>', '%']) {
            return false;
        }
        let at_top = body.len() == line.len();
        (at_top && defines(body)) || reads_input(body)
    })
}

fn defines(line: &str) -> bool {
    let line = line.strip_prefix("async ").unwrap_or(line);
    if let Some(name) = line.strip_prefix("def ") {
        return !name.starts_with("check(") && !names_a_test(name);
    }
    if let Some(name) = line.strip_prefix("class ") {
        return !name.contains("TestCase") && !name.starts_with("Test") && !names_a_test(name);
    }
    line.contains("= lambda")
}

/// Whether a name begins with "test", or one of its words says that it tries the program out.
fn names_a_test(head: &str) -> bool {
    const WORDS: [&str; 9] = [
        "test",
        "tests",
        "testing",
        "verify",
        "demo",
        "example",
        "examples",
        "benchmark",
        "usage",
    ];
    let name = head
        .split(['(', ':', ' '])
        .next()
        .unwrap_or("")
        .to_lowercase();
    name.starts_with("test") || name.split('_').any(|word| WORDS.contains(&word))
}

fn reads_input(line: &str) -> bool {
    let called = line.match_indices("input(").any(|(place, _)| {
        let before = line[..place].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.')
    });
    // A test puts a text in its place.
    let stream = line.match_indices("stdin").any(|(place, word)| {
        let after = line[place + word.len()..].trim_start();
        !after.starts_with('=') || after.starts_with("==")
    });
    called
        || stream
        || line.contains("open(0")
        || line.contains("os.read(0")
        || line.contains("fileinput")
}

const KEYWORDS: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "case", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "match", "nonlocal", "not", "or", "pass", "print", "raise", "return", "try", "type",
    "while", "with", "yield",
];

/// Whether a text can be Python: its brackets pair, and no two words stand side by side as in prose or in data.
fn can_be_python(code: &str) -> bool {
    let mut open = Vec::new();
    let mut after_word = false; // the token before, on this line, was a name or a number
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        match first {
            '#' => length = rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => {
                length = string_length(rest);
                after_word = false;
            }
            '(' | '[' | '{' => {
                open.push(first);
                after_word = false;
            }
            ')' | ']' | '}' => {
                let pair = match first {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(pair) {
                    return false;
                }
                after_word = true; // "f(x) y" is no Python either
            }
            '\n' if open.is_empty() => after_word = false,
            c if c.is_whitespace() => {}
            c if c.is_alphanumeric() || c == '_' => {
                length = rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .unwrap_or(rest.len());
                let is_keyword = KEYWORDS.contains(&&rest[..length]);
                if after_word && !is_keyword {
                    return false;
                }
                after_word = !is_keyword;
            }
            _ => after_word = false,
        }
        rest = &rest[length..];
    }
    open.is_empty()
}

/// Bytes of the string that a text begins with; up to the end of its line, or of the text, if it is not closed.
fn string_length(text: &str) -> usize {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let (mark, lines) = if text.starts_with(&triple) {
        (triple.as_str(), true)
    } else {
        (quote, false)
    };
    let mut at = mark.len();
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with(mark) {
            return at + mark.len();
        }
        if c == '\n' && !lines {
            return at;
        }
        let escaped = if c == '\\' {
            text[at + 1..].chars().next()
        } else {
            None
        };
        at += c.len_utf8() + escaped.map_or(0, char::len_utf8);
    }
    text.len()
}
