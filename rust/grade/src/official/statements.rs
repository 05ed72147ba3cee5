//! Splits a source into statements, each on its own line without comments, as `ast.unparse` in the official runner
//! writes them.
//!
//! The layout matters to a program: if the alarm interrupts an endless loop written on one line, nothing in the program
//! catches it, since the compiler leaves no instruction there that a `try` covers.

/// Unparsing deeper nested lines may exceed the recursion limit.
const MOST_TOKENS: usize = 100;
const DEEPEST: usize = 20;
/// Words that begin a statement with a body.
const HEADS: &[&str] = &[
    "async", "class", "def", "elif", "else", "except", "finally", "for", "if", "try", "while",
    "with",
];
/// Prefixes of a string's quote, in lower case.
const PREFIXES: &[&str] = &["", "r", "b", "u", "f", "br", "rb", "fr", "rf"];

/// A statement, or the head of one that has a body.
pub(super) struct Line {
    pub(super) indent: String,
    pub(super) text: String,
}

impl Line {
    /// The identifier that it begins with, or nothing.
    pub(super) fn word(&self) -> &str {
        first_word(&self.text)
    }

    pub(super) fn is_top(&self) -> bool {
        self.indent.is_empty()
    }
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

/// All statements of a source; `None` where it is not Python, or where the runner's text might not mean the same.
pub(super) fn statements(source: &str) -> Option<Vec<Line>> {
    if source.contains(['\r', '\x0c', '\0']) {
        return None;
    }
    let mut lines = Vec::new();
    let mut depths: Vec<usize> = Vec::new();
    let mut in_one_line = None; // indentation of a statement whose body is on the line of its head
    let mut at = 0;
    while at < source.len() {
        let text = source[at..].trim_start_matches([' ', '\t']);
        let indent = &source[at..source.len() - text.len()];
        at = source.len() - text.len();
        if text.starts_with(['\n', '#']) {
            at += text.find('\n').map_or(text.len(), |end| end + 1); // no statement
            continue;
        }
        if text.is_empty() {
            break;
        }
        if text.starts_with('\\') || in_one_line.is_some_and(|depth| depth < indent.len()) {
            return None;
        }
        depths.retain(|&depth| depth < indent.len());
        depths.push(indent.len());
        if (indent.contains(' ') && indent.contains('\t')) || depths.len() > DEEPEST {
            return None;
        }
        let mut reader = Reader {
            text,
            ascii: true,
            ..Reader::default()
        };
        at += reader.read()? + 1; // its end
        let has_body = reader.split(indent, &mut lines)?;
        in_one_line = has_body.then_some(indent.len());
    }
    Some(lines)
}

/// Reads one logical line.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools)] // what was seen so far
struct Reader<'a> {
    text: &'a str,
    /// What was read, on one line.
    out: String,
    /// Where in `out` semicolons are, outside brackets.
    ends: Vec<usize>,
    /// Where the first colon is, outside brackets.
    colon: Option<usize>,
    depth: usize,
    tokens: usize,
    /// A string spans several lines: fine where it is the only token.
    tall: bool,
    /// There is a formatted string; the other strings of the line may be parts of the same.
    formatted: bool,
    double_quote: bool,
    single_quote: bool,
    ascii: bool,
    lambda: bool,
}

impl Reader<'_> {
    /// The line's length in the source.
    fn read(&mut self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let skip = match byte {
                b'\n' if self.depth == 0 => break,
                b'\n' | b' ' | b'\t' => 1,
                b'#' => self.text[at..].find('\n').unwrap_or(bytes.len() - at),
                b'\\' if bytes.get(at + 1) == Some(&b'\n') && at + 2 < bytes.len() => 2,
                b'\\' => return None,
                _ => 0,
            };
            if skip > 0 {
                self.out.push(' ');
                at += skip;
                continue;
            }
            let end = self.token(at, byte)?;
            self.tokens += 1;
            self.out.push_str(&self.text[at..end]);
            at = end;
        }
        // A formatted string is unparsed with other quotes where needed: certain only for simple ones.
        let simple = self.ascii && !(self.double_quote && self.single_quote);
        let sure = (simple || !self.formatted) && !(self.tall && self.tokens > 1);
        (self.depth == 0 && self.tokens <= MOST_TOKENS && sure).then_some(at)
    }

    /// The end of the token at `at`, or of a single character of it.
    fn token(&mut self, at: usize, byte: u8) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let is_word = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '_';
        match byte {
            b'"' | b'\'' => return self.string(at, ""),
            b'(' | b'[' | b'{' => self.depth += 1,
            b')' | b']' | b'}' => self.depth = self.depth.checked_sub(1)?,
            b';' if self.depth == 0 => self.ends.push(self.out.len()),
            b':' if self.depth == 0 && bytes.get(at + 1) != Some(&b'=') => {
                self.colon = self.colon.or(Some(self.out.len()));
            }
            _ if is_word(byte.into()) => {
                let rest = &self.text[at..];
                let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
                self.lambda |= word == "lambda";
                let end = at + word.len();
                return match bytes.get(end) {
                    Some(b'"' | b'\'') => self.string(end, word),
                    _ => Some(end),
                };
            }
            _ => {}
        }
        Some(at + 1)
    }

    /// The end of the string whose opening quote is at `open`.
    fn string(&mut self, open: usize, prefix: &str) -> Option<usize> {
        let prefix = prefix.to_ascii_lowercase();
        if !PREFIXES.contains(&prefix.as_str()) {
            return None;
        }
        let bytes = self.text.as_bytes();
        let quote = bytes[open];
        let is_triple = bytes[open..].starts_with(&[quote; 3]);
        let length = if is_triple { 3 } else { 1 };
        let mut at = open + length;
        while !bytes.get(at..)?.starts_with(&[quote; 3][..length]) {
            match bytes.get(at)? {
                b'\\' => at += 2,
                b'\n' if !is_triple => return None,
                _ => at += 1,
            }
        }
        let body = &bytes[open + length..at];
        self.tall |= body.contains(&b'\n');
        self.ascii &= body.is_ascii();
        self.double_quote |= body.contains(&b'"');
        self.single_quote |= body.contains(&b'\'');
        if prefix.contains('f') {
            let body = &self.text[open + length..at];
            if body.matches('{').count() != body.matches('}').count() || self.tall {
                return None; // quotes may nest in newer Pythons
            }
            self.formatted = true;
            let is_sign = |c: char| !c.is_ascii_alphanumeric();
            self.tokens += body.matches(is_sign).count();
        }
        Some(at + length)
    }

    /// Adds its statements to the lines; returns whether one is the body of another.
    fn split(&self, indent: &str, lines: &mut Vec<Line>) -> Option<bool> {
        let mut push = |indent: &str, text: &str| {
            let (indent, text) = (indent.to_owned(), text.to_owned());
            lines.push(Line { indent, text });
        };
        let (mut begin, mut inner) = (0, indent.to_owned());
        let word = first_word(&self.out);
        if HEADS.contains(&word) {
            let colon = self.colon.filter(|_| !self.lambda)?;
            push(&inner, &self.out[..=colon]);
            begin = colon + 1;
            inner.push(' ');
        } else if matches!(word, "case" | "match") && !self.out.trim_end().ends_with(':') {
            return None; // its body may be on the same line
        }
        let mut has_body = false;
        for &end in self.ends.iter().chain([&self.out.len()]) {
            let text = self.out.get(begin..end)?.trim_matches([' ', '\t']); // no other white space is Python's
            let word = first_word(text);
            let stands_alone =
                HEADS.contains(&word) || matches!(word, "case" | "match") || text.starts_with('@');
            if stands_alone && (begin > 0 || end < self.out.len()) {
                return None; // beside another one
            }
            if !text.is_empty() {
                push(&inner, text);
                has_body = inner.len() > indent.len();
            } else if end < self.out.len() {
                return None; // a semicolon that ends nothing
            }
            begin = end + 1;
        }
        Some(has_body)
    }
}
