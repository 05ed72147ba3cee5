//! Finding any of many spellings in a text: one lookup per character, more only where two of them match.

use std::collections::HashMap;

/// A set of token spellings.
#[derive(Debug, Default)]
pub(crate) struct Spellings {
    starts: Vec<bool>,
    short: Vec<u8>,
    by_start: HashMap<[u8; 2], Vec<String>>,
}

impl Spellings {
    pub(crate) fn new<'a>(spellings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self {
            starts: vec![false; 256],
            ..Self::default()
        };
        for spelling in spellings {
            match spelling.as_bytes() {
                [] => continue,
                [only] => set.short.push(*only),
                [first, second, ..] => set
                    .by_start
                    .entry([*first, *second])
                    .or_default()
                    .push(spelling.to_owned()),
            }
            set.starts[usize::from(spelling.as_bytes()[0])] = true;
        }
        set
    }

    /// Whether `text` holds one of them.
    pub(crate) fn occur_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        bytes.iter().enumerate().any(|(at, byte)| {
            self.starts[usize::from(*byte)]
                && (self.short.contains(byte)
                    || bytes
                        .get(at + 1)
                        .and_then(|next| self.by_start.get(&[*byte, *next]))
                        .is_some_and(|all| {
                            all.iter()
                                .any(|one| bytes[at..].starts_with(one.as_bytes()))
                        }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_found_wherever_they_stand() {
        let set = Spellings::new(["<|a|>", "<|ab|>", "§", "x", ""]);
        for (text, found) in [
            ("", false),
            ("<|a>", false),
            ("<|<|a|>", true),
            ("b<|ab|>", true),
            ("1§", true),
            ("¤", false),
            ("ex", true),
            ("<|a|", false),
        ] {
            assert_eq!(set.occur_in(text), found, "{text:?}");
        }
        assert!(!Spellings::new([]).occur_in("anything"));
    }
}
