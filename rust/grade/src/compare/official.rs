//! Is this output the expected one? The comparison of LiveCodeBench's official runner, on bytes.
//!
//! Standard output: both texts stripped, split at "\n", each line stripped; the same number of lines; each pair of lines equal,
//! or the same number of tokens that are all decimal numbers of equal value (exact, no tolerance).
//! Function results: Python's `==` on the decoded JSON values (see `value`).
//! Unlike in the official runner, a signalling NaN is a plain mismatch and does not end the run.

use crate::compare::decimal::Decimal;

/// Code points for which Python's `str.isspace` holds, in UTF-8.
const SPACES: [&[u8]; 29] = [
    b"\t",
    b"\n",
    b"\x0b",
    b"\x0c",
    b"\r",
    b"\x1c",
    b"\x1d",
    b"\x1e",
    b"\x1f",
    b" ",
    b"\xc2\x85",
    b"\xc2\xa0",
    b"\xe1\x9a\x80",
    b"\xe2\x80\x80",
    b"\xe2\x80\x81",
    b"\xe2\x80\x82",
    b"\xe2\x80\x83",
    b"\xe2\x80\x84",
    b"\xe2\x80\x85",
    b"\xe2\x80\x86",
    b"\xe2\x80\x87",
    b"\xe2\x80\x88",
    b"\xe2\x80\x89",
    b"\xe2\x80\x8a",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xa9",
    b"\xe2\x80\xaf",
    b"\xe2\x81\x9f",
    b"\xe3\x80\x80",
];

/// Whether standard output `actual` answers `expected`. Never fails, whatever the bytes.
pub(crate) fn same_output(actual: &[u8], expected: &[u8]) -> bool {
    let (actual, expected) = (strip(actual), strip(expected));
    if actual == expected {
        return true;
    }
    let mut actual_lines = actual.split(|&byte| byte == b'\n');
    let mut expected_lines = expected.split(|&byte| byte == b'\n');
    loop {
        match (actual_lines.next(), expected_lines.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) if same_line(strip(left), strip(right)) => {}
            _ => return false,
        }
    }
}

fn same_line(actual: &[u8], expected: &[u8]) -> bool {
    if actual == expected {
        return true;
    }
    let (mut left, mut right) = (Tokens(actual), Tokens(expected));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) => match (Decimal::parse(left), Decimal::parse(right)) {
                (Some(left), Some(right)) if left.same_value(&right) => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// Python's `bytes_as_text.strip()`.
pub(crate) fn strip(mut text: &[u8]) -> &[u8] {
    while let Some(length) = leading_space(text) {
        text = &text[length..];
    }
    while let Some(space) = SPACES.iter().find(|space| text.ends_with(space)) {
        text = &text[..text.len() - space.len()];
    }
    text
}

fn leading_space(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'\t'..=b'\r' | 0x1c..=0x20 => Some(1),
        0xc2 | 0xe1..=0xe3 => SPACES
            .iter()
            .find(|space| space.len() > 1 && text.starts_with(space))
            .map(|space| space.len()),
        _ => None,
    }
}

/// Python's `text.split()`.
pub(crate) struct Tokens<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(length) = leading_space(self.0) {
            self.0 = &self.0[length..];
        }
        let end = (0..self.0.len())
            .find(|&at| leading_space(&self.0[at..]).is_some())
            .unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::same_output;

    #[test]
    fn layout_at_the_edges_does_not_count() {
        for (actual, expected) in [
            ("6\n\n\n", "6"),
            ("\n\n6", "6"),
            ("a b   \nc", "a b\nc\n"),
            ("a\r\nb\r\n", "a\nb"),
            ("\u{a0}a\u{3000}", "a"),
            ("\x1fa\x1c", "a"),
            ("1\t2", "1 2"),
            ("1\u{3000}2", "1 2"),
            ("", "\n\n"),
            ("3.0 1e2", "3 100"),
            ("nan", "nan"),
        ] {
            assert!(
                same_output(actual.as_bytes(), expected.as_bytes()),
                "{actual:?} {expected:?}"
            );
        }
    }

    #[test]
    fn everything_else_does() {
        for (actual, expected) in [
            ("a\n\nb", "a\nb"),
            ("a  b", "a b"),
            ("a\rb", "a\nb"),
            ("a\u{2028}b", "a\nb"),
            ("\u{feff}a", "a"),
            ("\u{200b}a", "a"),
            ("a  1", "a 1"),
            ("1.0 x", "1 x"),
            ("1\n2", "1 2"),
            ("YES", "Yes"),
            ("nan", "NaN"),
            ("1", ""),
            ("1 2", "1 2 3"),
            ("0.1", "0.10000000001"),
        ] {
            assert!(
                !same_output(actual.as_bytes(), expected.as_bytes()),
                "{actual:?} {expected:?}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_compared_as_bytes() {
        assert!(same_output(b"\xff\xfe\n", b"\xff\xfe"));
        assert!(!same_output(b"\xff", "\u{fffd}".as_bytes()));
        assert!(
            !same_output(b"\x85", b""),
            "a lone 0x85 is no white space in UTF-8"
        );
    }
}
