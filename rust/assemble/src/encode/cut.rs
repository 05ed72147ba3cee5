//! Where a text can be cut so that the ids of its parts are the ids of the whole.
//!
//! A cut at an arbitrary place mostly changes ids. It is safe between a word's last character and the blank
//! or line feed after it, if the tokenizer always starts a new word there and finds every word from its start on
//! alone. That is a property of its splitting expressions, and it is read from them: each alternative must be one
//! of those below, for which it was checked that none matches across such a place or looks behind it.
//! Normalisation agrees: nothing composes with a blank. So what is encoded again around a join is the head's last
//! word before its last blank, the seam, and the tail up to its first blank.

/// How far the splitting expressions of a tokenizer reach.
#[derive(Debug)]
pub(crate) struct Reach {
    known: bool,
    letters: bool,
    digits: bool,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            known: true,
            letters: false,
            digits: false,
        }
    }
}

/// Alternatives that match letters, and so end a word wherever a blank follows.
const LETTERS: [&str; 9] = [
    r" ?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?+\p{L}+",
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
];

/// Alternatives that match digits.
const DIGITS: [&str; 4] = [r" ?\p{N}+", r"\p{N}", r"\p{N}{1,3}", r"\p{N}{1,2}"];

/// The rest: contractions, punctuation with the line ends after it, white space (whose look ahead is one character).
const OTHERS: [&str; 25] = [
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "'(?i:[sdmt]|ll|ve|re)",
    r" ?[^\s\p{L}\p{N}]+",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r" ?[^\s\p{L}\p{N}]++[\r\n]*",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
    r" ?[\p{P}\p{S}]+[\r\n]*",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    "[一-龥぀-ゟ゠-ヿ]+",
    r"\s*[\r\n]+",
    r"\s*[\r\n]",
    r"\s++[\r\n]",
    r"\s*+[\r\n]+",
    r"\s+(?!\S)",
    r"\s++(?!\S)",
    r"\s+",
    r"\s",
];

impl Reach {
    /// Adds one splitting expression.
    pub(crate) fn see(&mut self, pattern: &str) {
        for alternative in alternatives(pattern) {
            self.letters |= LETTERS.contains(&alternative);
            self.digits |= DIGITS.contains(&alternative);
            self.known &= LETTERS.contains(&alternative)
                || DIGITS.contains(&alternative)
                || OTHERS.contains(&alternative);
        }
    }

    pub(crate) fn cuts(&self) -> Cuts {
        Cuts {
            after_letters: self.known && self.letters,
            after_digits: self.known && self.digits,
        }
    }
}

/// The alternatives of an expression: its parts between the bars outside brackets.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut depth, mut class, mut escaped, mut start) = (0, false, false, 0);
    let mut found = Vec::new();
    for (at, character) in pattern.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth -= 1,
            '|' if !class && depth == 0 => {
                found.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&pattern[start..]);
    found
}

/// The places where one tokenizer's texts may be cut; nowhere, by default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cuts {
    after_letters: bool,
    after_digits: bool,
}

impl Cuts {
    /// Whether there are any such places.
    #[cfg(test)]
    pub(crate) fn any(self) -> bool {
        self.after_letters || self.after_digits
    }

    /// Whether `text` may be cut before the byte at `at`.
    fn at(self, text: &[u8], at: usize) -> bool {
        matches!(text[at], b' ' | b'\n')
            && (self.after_letters && text[at - 1].is_ascii_alphabetic()
                || self.after_digits && text[at - 1].is_ascii_digit())
    }

    /// The first and the last cut inside `text`.
    pub(crate) fn of(self, text: &str) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        let first = (1..bytes.len()).find(|at| self.at(bytes, *at))?;
        let last = (first..bytes.len()).rev().find(|at| self.at(bytes, *at))?;
        Some((first, last))
    }

    /// Whether an added token with this spelling could lie across a cut.
    pub(crate) fn divide(self, spelling: &str) -> bool {
        self.of(spelling).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(pattern: &str) -> Cuts {
        let mut reach = Reach::default();
        reach.see(pattern);
        reach.cuts()
    }

    #[test]
    fn known_expressions_can_be_cut_after_words() {
        let gpt2 =
            cuts(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+");
        assert_eq!(gpt2.of("def f(x):\n    return 12\n!"), Some((3, 23)));
        assert_eq!(gpt2.of("(x):\n ;\n"), None);
        assert_eq!(gpt2.of(""), None);
        assert_eq!(gpt2.of("ab "), Some((2, 2)));
        assert!(gpt2.divide("a b") && !gpt2.divide("    "));
    }

    #[test]
    fn unknown_expressions_cannot_be_cut() {
        for pattern in [r"\w+ \w+|\s+", r"\S+|\s+", r"(?<=a)b| ?\p{L}+", "."] {
            assert!(!cuts(pattern).any(), "{pattern}");
        }
    }

    #[test]
    fn bars_inside_brackets_split_nothing() {
        assert_eq!(
            alternatives(r"a|(?i:b|c)|[|]\||d"),
            ["a", "(?i:b|c)", r"[|]\|", "d"]
        );
    }
}
