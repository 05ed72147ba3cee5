//! Texts as the official runner writes them into its metadata: cut in the middle, written as JSON.
//!
//! A text is in generalised UTF-8, so that half a surrogate pair, which Python can print and UTF-8 cannot hold, can
//! be told from other text.

use std::fmt::Write;

/// Characters of a text that is shown whole; a longer one loses its middle.
const LONGEST: usize = 300;

/// First and last 150 characters of a text of more than 300.
pub(super) fn cut(text: &[u8]) -> Vec<u8> {
    if text.len() <= LONGEST {
        return text.to_vec();
    }
    let starts = |byte: &u8| byte & 0xc0 != 0x80;
    if text.iter().filter(|byte| starts(byte)).count() <= LONGEST {
        return text.to_vec();
    }
    let mut begins = text.iter().enumerate().filter(|(_, byte)| starts(byte));
    let head = begins.nth(LONGEST / 2).map_or(text.len(), |(at, _)| at);
    let mut begins = text
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| starts(byte));
    let tail = begins.nth(LONGEST / 2 - 1).map_or(0, |(at, _)| at);
    [&text[..head], b"...(truncated) ...", &text[tail..]].concat()
}

/// A JSON string. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while !rest.is_empty() {
        let (good, skipped) = match std::str::from_utf8(rest) {
            Ok(all) => (all, 0),
            Err(error) => {
                let (good, _) = rest.split_at(error.valid_up_to());
                let bad = error.error_len().unwrap_or(rest.len() - good.len());
                (std::str::from_utf8(good).unwrap_or_default(), bad)
            }
        };
        for character in good.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                _ if character < ' ' => escape(u32::from(character), &mut out),
                _ => out.push(character),
            }
        }
        rest = &rest[good.len()..];
        if skipped == 0 {
            break;
        }
        if let [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] = rest {
            let code = 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
            escape(code, &mut out);
            rest = &rest[3..];
        } else {
            out.push('\u{fffd}');
            rest = &rest[skipped..];
        }
    }
    out.push('"');
    out
}

fn escape(code: u32, out: &mut String) {
    let _infallible = write!(out, "\\u{code:04x}");
}

#[cfg(test)]
mod tests {
    use super::{cut, quote};

    #[test]
    fn the_middle_goes() {
        let text = "é".repeat(300);
        assert_eq!(cut(text.as_bytes()), text.as_bytes());
        let text = format!("{}x{}", "é".repeat(150), "ü".repeat(150));
        let want = format!("{}...(truncated) ...{}", "é".repeat(150), "ü".repeat(150));
        assert_eq!(cut(text.as_bytes()), want.as_bytes());
    }

    #[test]
    fn any_bytes_are_spelled() {
        assert_eq!(
            quote("a\"\\\n\u{7f}é😀".as_bytes()),
            "\"a\\\"\\\\\\u000a\u{7f}é😀\""
        );
        assert_eq!(quote(b"\xed\xa0\x80x"), r#""\ud800x""#);
        assert_eq!(quote(b"\xed\xbf\xbf"), r#""\udfff""#);
        assert_eq!(quote(b"a\xffb\xe2\x82"), "\"a\u{fffd}b\u{fffd}\"");
    }
}
