//! JSON text, read as Python's `json.loads` reads it.
//!
//! In: bytes, and how many values may be in them. Out: a value, or None where Python would raise. Strings keep lone
//! surrogates in their three-byte form.

use std::collections::HashMap;

use crate::compare::value::Value;

/// Deeper nesting is refused; Python's own reader stops near 1,000.
const MAX_DEPTH: usize = 500;

impl Value {
    /// Read one JSON text as Python's `json.loads` does. None where it would raise, or past 500 levels.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::parse_up_to(text, usize::MAX)
    }

    /// The same, but None where more than `most` values are in it: a text of megabytes can hold millions, and each
    /// takes many times the memory of its text.
    pub(crate) fn parse_up_to(text: &[u8], most: usize) -> Option<Self> {
        Reader::new(text, most).whole()
    }
}

/// A text and the position reached in it.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Values that may still follow.
    left: usize,
}

impl<'a> Reader<'a> {
    /// At most `most` values are read.
    fn new(text: &'a [u8], most: usize) -> Self {
        Self {
            text,
            at: 0,
            left: most,
        }
    }

    /// The one value that the text consists of.
    fn whole(&mut self) -> Option<Value> {
        let value = self.value(0)?;
        self.skip_space();
        (self.at == self.text.len()).then_some(value)
    }

    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.skip_space();
        match self.text.get(self.at)? {
            b'"' => self.string().map(Value::Text),
            b'[' => self.list(depth),
            b'{' => self.dict(depth),
            _ => self.atom(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b"]") {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b"]") {
                return Some(Value::List(items));
            }
            if !self.take(b",") {
                return None;
            }
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut entries = HashMap::new();
        self.skip_space();
        if self.take(b"}") {
            return Some(Value::Dict(entries));
        }
        loop {
            self.skip_space();
            if self.text.get(self.at) != Some(&b'"') {
                return None;
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b":") {
                return None;
            }
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
            self.skip_space();
            if self.take(b"}") {
                return Some(Value::Dict(entries));
            }
            if !self.take(b",") {
                return None;
            }
        }
    }

    fn atom(&mut self) -> Option<Value> {
        for (word, value) in [
            (&b"null"[..], Value::Null),
            (b"true", Value::Bool(true)),
            (b"false", Value::Bool(false)),
            (b"NaN", Value::Float(f64::NAN)),
            (b"Infinity", Value::Float(f64::INFINITY)),
            (b"-Infinity", Value::Float(f64::NEG_INFINITY)),
        ] {
            if self.take(word) {
                return Some(value);
            }
        }
        self.number()
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    /// The grammar of Python's reader: `-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?`; a tail that does not match is not read.
    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        self.take(b"-");
        if !self.take(b"0") && self.digits() == 0 {
            return None;
        }
        let whole_end = self.at;
        if self.take(b".") && self.digits() == 0 {
            self.at = whole_end;
        }
        let mantissa_end = self.at;
        if self.take(b"e") || self.take(b"E") {
            let _signed = self.take(b"-") || self.take(b"+");
            if self.digits() == 0 {
                self.at = mantissa_end;
            }
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        if self.at > whole_end {
            return text.parse().ok().map(Value::Float);
        }
        Some(Value::Int(if text == "-0" {
            "0".to_owned()
        } else {
            text.to_owned()
        }))
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => return Some(bytes),
                b'\\' => {
                    let escape = *self.text.get(self.at)?;
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' => bytes.push(escape),
                        b'b' => bytes.push(8),
                        b'f' => bytes.push(12),
                        b'n' => bytes.push(b'\n'),
                        b'r' => bytes.push(b'\r'),
                        b't' => bytes.push(b'\t'),
                        b'u' => self.unicode_escape(&mut bytes)?,
                        _ => return None,
                    }
                }
                0..=0x1f => return None, // json.loads is strict about control characters
                _ => bytes.push(byte),
            }
        }
    }

    fn unicode_escape(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            match self.hex4()? {
                low @ 0xdc00..=0xdfff => code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                _ => self.at = back,
            }
        }
        push_code_point(code, bytes);
        Some(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, &digit| {
            Some(code * 16 + char::from(digit).to_digit(16)?)
        })
    }
}

fn push_code_point(code: u32, bytes: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        // A lone surrogate: the three-byte form that strict UTF-8 forbids.
        bytes.extend([
            0xe0 | (code >> 12) as u8,
            0x80 | (code >> 6 & 0x3f) as u8,
            0x80 | (code & 0x3f) as u8,
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn what_json_loads_refuses() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "01",
            "1.",
            "[1,]",
            "{1:2}",
            "'a'",
            "\"\n\"",
            "\"",
            "1 2",
            "nan",
            "-",
            "\"\\u12\"",
            &deep,
        ] {
            assert!(Value::parse(text.as_bytes()).is_none(), "{text:.20}");
        }
    }
}
