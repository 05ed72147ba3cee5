//! A tokenizer's splitting into words, without the bookkeeping of offsets: what `tokenizers` does with a text that
//! holds no added token, step by step, by the same expressions in the same engine.

use serde_json::Value;
use tokenizers::utils::SysRegex;

use crate::encode::cut::{Cuts, Reach};

/// The expression inside the `ByteLevel` step (GPT-2's).
const BYTE_LEVEL: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

#[derive(Debug)]
enum Step {
    Regex(SysRegex),
    /// Every numeric character, or every run of them, by itself.
    Digits {
        alone: bool,
    },
}

/// The steps that cut a text into the words that the model sees.
#[derive(Debug)]
pub(crate) struct Splitter {
    steps: Vec<Step>,
    /// The model reads bytes written as characters.
    pub(crate) byte_level: bool,
    /// Where a text may be cut beforehand.
    pub(crate) cuts: Cuts,
}

impl Splitter {
    /// `None` where the description has a step that is not known here; then the library does all the work.
    pub(crate) fn new(pre_tokenizer: &Value) -> Option<Self> {
        let mut splitter = Self {
            steps: Vec::new(),
            byte_level: false,
            cuts: Cuts::default(),
        };
        let mut reach = Reach::default();
        splitter.add(pre_tokenizer, &mut reach)?;
        splitter.cuts = reach.cuts();
        Some(splitter)
    }

    fn add(&mut self, step: &Value, reach: &mut Reach) -> Option<()> {
        if self.byte_level {
            return None; // a later step would see other characters
        }
        let mut regex = |pattern: &str| {
            reach.see(pattern);
            Some(Step::Regex(SysRegex::new(pattern).ok()?))
        };
        match step["type"].as_str()? {
            "Sequence" => {
                for inner in step["pretokenizers"].as_array()? {
                    self.add(inner, reach)?;
                }
            }
            "Split" if step["behavior"] == "Isolated" && step["invert"] == false => {
                let step = regex(step["pattern"]["Regex"].as_str()?)?;
                self.steps.push(step);
            }
            "Digits" => self.steps.push(Step::Digits {
                alone: step["individual_digits"].as_bool()?,
            }),
            "ByteLevel" if step["add_prefix_space"] == false => {
                if step["use_regex"].as_bool().unwrap_or(true) {
                    let step = regex(BYTE_LEVEL)?;
                    self.steps.push(step);
                }
                self.byte_level = true;
            }
            _ => return None,
        }
        Some(())
    }

    /// Gives the words of `text` to `each` as byte ranges, in order.
    pub(crate) fn words<E>(
        &self,
        text: &str,
        each: &mut impl FnMut(usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        split(&self.steps, text, 0, each)
    }
}

fn split<E>(
    steps: &[Step],
    text: &str,
    base: usize,
    each: &mut impl FnMut(usize, usize) -> Result<(), E>,
) -> Result<(), E> {
    if text.is_empty() {
        return Ok(());
    }
    let Some((step, rest)) = steps.split_first() else {
        return each(base, base + text.len());
    };
    let mut done = 0;
    let mut piece = |start: usize, end: usize, done: &mut usize| {
        if *done < start {
            split(rest, &text[*done..start], base + *done, each)?;
        }
        *done = end;
        split(rest, &text[start..end], base + start, each)
    };
    match step {
        Step::Regex(regex) => {
            for (start, end) in regex.find_iter(text) {
                piece(start, end, &mut done)?;
            }
        }
        Step::Digits { alone } => {
            let mut run: Option<(usize, usize)> = None;
            for (at, character) in text.char_indices() {
                if !character.is_numeric() {
                    continue;
                }
                let end = at + character.len_utf8();
                match &mut run {
                    Some(run) if !alone && run.1 == at => run.1 = end,
                    _ => {
                        if let Some((start, end)) = run.replace((at, end)) {
                            piece(start, end, &mut done)?;
                        }
                    }
                }
            }
            if let Some((start, end)) = run {
                piece(start, end, &mut done)?;
            }
        }
    }
    if done < text.len() {
        split(rest, &text[done..], base + done, each)?;
    }
    Ok(())
}
