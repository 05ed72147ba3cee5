//! JSON that every reader reads the same way.

use serde::de::IgnoredAny;

/// Integers of more digits may be too long for Python's reader, whatever its limit is.
const MOST_DIGITS: usize = 4000;
/// Python's reader nests as deep as the caller's recursion limit allows.
const DEEPEST: usize = 100;

/// Whether `text` is JSON by RFC 8259, not deeply nested, without numbers of thousands of digits. Python's reader accepts
/// it; any other text must be given to that reader to know.
pub fn is_plain_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok() && is_modest(text.as_bytes())
}

/// Whether valid JSON has no long number and no deep nesting.
fn is_modest(text: &[u8]) -> bool {
    let (mut depth, mut digits) = (0, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => {
                while let Some(byte) = bytes.next().filter(|&&byte| byte != b'"') {
                    if *byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
        if depth > DEEPEST || digits > MOST_DIGITS {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_plain_json;

    #[test]
    fn what_python_may_take_otherwise_is_not_plain() {
        let long = "1".repeat(4001);
        let deep = format!("{}\"]\\\"]\"{}", "[".repeat(101), "]".repeat(101));
        for text in [
            " [1, 2.5e3, \"a\\u00e9\", {\"k\": null}]\n",
            "-0",
            "1e999",
            &long[1..],
            &deep[1..deep.len() - 1],
        ] {
            assert!(is_plain_json(text), "{text}");
        }
        for text in [
            "",
            "1 2",
            "NaN",
            "[1,]",
            "\u{feff}1",
            "'a'",
            "\"\u{1}\"",
            "01",
            &long,
            &deep,
        ] {
            assert!(!is_plain_json(text), "{text}");
        }
    }
}
