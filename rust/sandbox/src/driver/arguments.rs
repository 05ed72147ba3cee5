//! Whether a test's arguments are JSON, as Python's reader understands it.
//!
//! The harness reads them in the program's process, and no report from there is trusted: arguments that cannot be read
//! are the problem's fault and leave the program without a result, so a program without an answer could claim it. The
//! driver therefore checks the claim itself, only when it is made.

use serde::de::IgnoredAny;

use crate::error::Error;
use crate::types::outcome::{End, TestRun};
use crate::types::program::Entry;

/// What Python's reader accepts and JSON lacks, and the JSON value used instead.
const WORDS: [(&str, &str); 3] = [("-Infinity", "0"), ("Infinity", "0"), ("NaN", "0")];

/// An error if a function's test ended because its arguments are not JSON.
pub(crate) fn fault(run: &TestRun, index: usize, entry: &Entry, input: &[u8]) -> Result<(), Error> {
    let End::Raised {
        kind,
        message,
        frames,
    } = &run.end
    else {
        return Ok(());
    };
    let claimed = kind == "JSONDecodeError" && frames.is_empty();
    if !claimed || *entry == Entry::Stdin || are_json(input) {
        return Ok(());
    }
    Err(Error::Broken {
        step: "read the arguments",
        cause: format!("test {index}: {message}"),
    })
}

fn are_json(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    text.split('\n')
        .filter(|line| !line.trim().is_empty())
        .all(|line| serde_json::from_str::<IgnoredAny>(&without_names(line)).is_ok())
}

/// The line without Python's extra names outside of strings.
fn without_names(line: &str) -> String {
    let (mut out, mut rest, mut in_string) = (String::with_capacity(line.len()), line, false);
    while let Some(character) = rest.chars().next() {
        let word = WORDS.iter().find(|(word, _)| rest.starts_with(word));
        if let (Some((word, instead)), false) = (word, in_string) {
            out.push_str(instead);
            rest = &rest[word.len()..];
            continue;
        }
        let mut length = character.len_utf8();
        match character {
            '"' => in_string = !in_string,
            '\\' if in_string => length += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::are_json;

    #[test]
    fn as_pythons_reader() {
        let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
        for good in [
            "[1, 2]\n3",
            "",
            "\n1\n\n",
            "[NaN, -Infinity, Infinity, \"NaN\\\"Infinity\\\\\"]",
            r#""\ud800""#,
            "1e999999",
            &deep,
        ] {
            assert!(are_json(good.as_bytes()), "{good}");
        }
        for bad in ["{nonsense", "1\nx", "\"", "[1,]", "nan", "\"\\"] {
            assert!(!are_json(bad.as_bytes()), "{bad}");
        }
        assert!(!are_json(b"\"\xff\""));
    }
}
