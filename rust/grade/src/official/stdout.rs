//! The official comparison of standard output, with the message that goes into the metadata.
//!
//! The same rules as `compare::official`, and one more: comparing a signalling NaN with a number ends the whole program.

use super::text::cut;
use crate::compare::decimal::Decimal;
use crate::compare::official::{Tokens, strip};

/// How an output compares.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Same,
    /// The runner's message.
    Differs(Vec<u8>),
    /// Comparing raised.
    Raises,
}

pub(super) fn compare(actual: &[u8], expected: &[u8]) -> Compared {
    let (actual, expected) = (strip(actual), strip(expected));
    if actual == expected {
        return Compared::Same; // `nan` equals `nan` as text too
    }
    let end = |byte: &u8| *byte == b'\n';
    if actual.split(end).count() != expected.split(end).count() {
        return Compared::Differs(b"Wrong answer: mismatched output length".to_vec());
    }
    for (index, (left, right)) in actual.split(end).zip(expected.split(end)).enumerate() {
        let (left, right) = (strip(left), strip(right));
        if left == right {
            continue;
        }
        match same_numbers(left, right) {
            Some(true) => continue,
            Some(false) => {}
            None => return Compared::Raises,
        }
        let head = format!("Wrong answer at output_line_idx={index}: ");
        return Compared::Differs([head.as_bytes(), &cut(left), b" != ", &cut(right)].concat());
    }
    Compared::Same
}

fn is_signalling(token: &[u8]) -> bool {
    let mut letters = token
        .iter()
        .filter(|byte| !matches!(byte, b'_' | b'+' | b'-'));
    letters
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case(&b's'))
}

/// Whether both lines are made of Decimals and Python's `==`, which stops at the first difference, holds for the two
/// lists. None: it raises. Nothing is stored, and the actual line is read no further than the expected one: it
/// may have millions of tokens.
fn same_numbers(left: &[u8], right: &[u8]) -> Option<bool> {
    let count = Tokens(right).count();
    if Tokens(left).take(count + 1).count() != count {
        return Some(false);
    }
    let signals = |value: &Decimal, token| matches!(value, Decimal::Nan) && is_signalling(token);
    let mut found = None; // at the first pair that is not equal; what follows must still be numbers
    for (left, right) in Tokens(left).zip(Tokens(right)) {
        let (Some(one), Some(other)) = (Decimal::parse(left), Decimal::parse(right)) else {
            return Some(false);
        };
        if found.is_none() {
            if signals(&one, left) || signals(&other, right) {
                found = Some(None);
            } else if !one.same_value(&other) {
                found = Some(Some(false));
            }
        }
    }
    found.unwrap_or(Some(true))
}

#[cfg(test)]
mod tests {
    use super::{Compared, compare};

    fn words(actual: &str, expected: &str) -> String {
        match compare(actual.as_bytes(), expected.as_bytes()) {
            Compared::Differs(words) => String::from_utf8(words).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_runners_messages() {
        for (actual, expected, want) in [
            ("6\n\n", "6", "Same"),
            ("1.0 2\nx", "1 2.0\nx", "Same"),
            ("1\n2", "1 2", "Wrong answer: mismatched output length"),
            ("a\nb ", "a\nc", "Wrong answer at output_line_idx=1: b != c"),
            ("", "5", "Wrong answer at output_line_idx=0:  != 5"),
            ("sNaN", "1", "Raises"),
            ("1 sNaN", "1 -snan12", "Raises"),
            ("sNaN", "sNaN", "Same"),
            (
                "2 sNaN",
                "1 3",
                "Wrong answer at output_line_idx=0: 2 sNaN != 1 3",
            ),
            (
                "sNaN 1",
                "3",
                "Wrong answer at output_line_idx=0: sNaN 1 != 3",
            ),
            (
                "nan",
                "NaN",
                "Wrong answer at output_line_idx=0: nan != NaN",
            ),
            (
                "sNaN x",
                "1 x",
                "Wrong answer at output_line_idx=0: sNaN x != 1 x",
            ),
        ] {
            assert_eq!(words(actual, expected), want, "{actual:?} {expected:?}");
        }
    }
}
