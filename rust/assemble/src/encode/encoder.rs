//! Texts to ids, special spellings taken as plain text: the library's own ids, found faster.
//!
//! The library keeps an alignment for every byte and a spelling for every token; a prompt needs neither. Where a
//! text holds no added token, it is normalised and split here (by the library's normalizer and expressions) and
//! each word's ids are looked up; only a word never seen goes through the model. In every other case the library
//! does all the work. The tests compare both on arbitrary text.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use serde_json::Value;
use tokenizers::tokenizer::{Model as _, NormalizedString, Normalizer as _};
use tokenizers::{Encoding, Tokenizer};

use crate::encode::cut::Cuts;
use crate::encode::hash::Map;
use crate::encode::spelling::Spellings;
use crate::encode::split::Splitter;
use crate::error::Error;

/// Words kept, and the longest kept; code has few others, and each costs about 100 bytes.
const MOST_WORDS: usize = 200_000;
const LONGEST_WORD: usize = 128;

pub(crate) type Words = Map<Box<str>, Box<[u32]>>;

/// A tokenizer that knows no special tokens, with a cache of words.
#[derive(Debug)]
pub(crate) struct Encoder {
    library: Tokenizer,
    splitter: Option<Splitter>,
    added: Spellings,
    words: RwLock<Words>,
}

impl Encoder {
    /// `json` describes `library`, which takes special spellings as text.
    pub(crate) fn new(json: &Value, library: Tokenizer) -> Self {
        let composes = |normalizer: &Value| normalizer["type"] == "NFC";
        let normalizes = match &json["normalizer"] {
            Value::Null => true,
            one if composes(one) => true,
            many => {
                many["type"] == "Sequence"
                    && many["normalizers"]
                        .as_array()
                        .is_some_and(|all| all.iter().all(composes))
            }
        };
        // Dropout draws at random; padding of words and the like belong to other models.
        let plain_model = json["model"]["type"] != "BPE" || json["model"]["dropout"].is_null();
        let added = json["added_tokens"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let mut splitter =
            Splitter::new(&json["pre_tokenizer"]).filter(|_| normalizes && plain_model);
        if let Some(splitter) = &mut splitter {
            let flag = |token: &Value, key: &str| token[key].as_bool().unwrap_or(false);
            let awkward = added.iter().any(|token| {
                flag(token, "single_word")
                    || flag(token, "lstrip")
                    || flag(token, "rstrip")
                    || token["content"]
                        .as_str()
                        .is_none_or(|content| splitter.cuts.divide(content))
            });
            if awkward {
                splitter.cuts = Cuts::default();
            }
        }
        Self {
            library,
            splitter,
            added: Spellings::new(added.iter().filter_map(|token| token["content"].as_str())),
            words: RwLock::default(),
        }
    }

    /// Starts work on this thread; it ends with `Session::found`.
    pub(crate) fn session(&self) -> Session<'_> {
        Session {
            encoder: self,
            known: self.words.read().unwrap_or_else(PoisonError::into_inner),
            found: Words::default(),
        }
    }
}

impl Encoder {
    /// Shares words found in a session, once all sessions of the work have ended.
    pub(crate) fn learn(&self, found: Words) {
        if found.is_empty() {
            return;
        }
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        if words.len() + found.len() > MOST_WORDS {
            words.clear();
        }
        words.extend(found);
    }
}

/// One thread's encoding: reads the shared words and keeps new ones to itself until it ends.
pub(crate) struct Session<'a> {
    encoder: &'a Encoder,
    known: RwLockReadGuard<'a, Words>,
    found: Words,
}

impl Session<'_> {
    /// Where texts may be cut.
    pub(crate) fn cuts(&self) -> Cuts {
        self.encoder
            .splitter
            .as_ref()
            .map_or_else(Cuts::default, |splitter| splitter.cuts)
    }

    /// Appends the ids of `text` to `ids`.
    pub(crate) fn encode(&mut self, text: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        if self.by_words(text, &[], ids)?.is_none() {
            ids.extend_from_slice(library(self.encoder, text, false)?.get_ids());
        }
        Ok(())
    }

    /// Appends the ids of `text`; gives, for each byte position in `marks` (ascending), how many of these ids stand
    /// for what begins before it. A word across a mark counts as before it (a token, where the library encodes).
    pub(crate) fn encode_marked(
        &mut self,
        text: &str,
        marks: &[usize],
        ids: &mut Vec<u32>,
    ) -> Result<Vec<usize>, Error> {
        if marks.is_empty() {
            self.encode(text, ids)?;
            return Ok(Vec::new());
        }
        if let Some(places) = self.by_words(text, marks, ids)? {
            return Ok(places);
        }
        let encoding = library(self.encoder, text, true)?;
        ids.extend_from_slice(encoding.get_ids());
        let starts = encoding.get_offsets();
        Ok(marks
            .iter()
            .map(|mark| starts.partition_point(|(start, _)| start < mark))
            .collect())
    }

    /// `None`, and nothing appended, where words cannot be looked up.
    fn by_words(
        &mut self,
        text: &str,
        marks: &[usize],
        ids: &mut Vec<u32>,
    ) -> Result<Option<Vec<usize>>, Error> {
        let encoder = self.encoder;
        let Some(splitter) = &encoder.splitter else {
            return Ok(None);
        };
        let normal = normalized(&encoder.library, text)?;
        let moved = matches!(&normal, Cow::Owned(normal) if normal != text);
        if encoder.added.occur_in(text)
            || moved && (!marks.is_empty() || encoder.added.occur_in(&normal))
        {
            return Ok(None);
        }
        let (first, mut places) = (ids.len(), Vec::with_capacity(marks.len()));
        splitter.words(&normal, &mut |start, end| {
            while marks.get(places.len()).is_some_and(|mark| *mark <= start) {
                places.push(ids.len() - first);
            }
            self.word(&normal[start..end], splitter.byte_level, ids)
        })?;
        places.resize(marks.len(), ids.len() - first);
        Ok(Some(places))
    }

    fn word(&mut self, word: &str, byte_level: bool, ids: &mut Vec<u32>) -> Result<(), Error> {
        if let Some(known) = self.known.get(word).or_else(|| self.found.get(word)) {
            ids.extend_from_slice(known);
            return Ok(());
        }
        let text = if byte_level {
            Cow::Owned(spell_bytes(word))
        } else {
            Cow::Borrowed(word)
        };
        let tokens = self
            .encoder
            .library
            .get_model()
            .tokenize(&text)
            .map_err(unreadable)?;
        let found: Box<[u32]> = tokens.iter().map(|token| token.id).collect();
        ids.extend_from_slice(&found);
        if word.len() <= LONGEST_WORD {
            self.found.insert(word.into(), found);
        }
        Ok(())
    }

    /// Ends the work and returns new words, for `Encoder::learn`.
    pub(crate) fn found(self) -> Words {
        self.found
    }
}

/// `text` as the tokenizer's normalizer leaves it.
fn normalized<'a>(tokenizer: &Tokenizer, text: &'a str) -> Result<Cow<'a, str>, Error> {
    let Some(normalizer) = tokenizer.get_normalizer().filter(|_| !text.is_ascii()) else {
        return Ok(Cow::Borrowed(text)); // composing changes no ASCII
    };
    let mut normal = NormalizedString::from(text);
    normalizer.normalize(&mut normal).map_err(unreadable)?;
    Ok(Cow::Owned(normal.get().to_owned()))
}

fn library(encoder: &Encoder, text: &str, offsets: bool) -> Result<Encoding, Error> {
    // No post-processor tokens: a chat template writes its own beginning of text.
    let encoding = if offsets {
        encoder.library.encode(text, false)
    } else {
        encoder.library.encode_fast(text, false)
    };
    encoding.map_err(unreadable)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: tokenizers::Error) -> Error {
    Error::Tokenizer(error.to_string())
}

/// Every byte as the character that byte-level vocabularies write for it: itself where it prints in Latin-1, else
/// the next one from U+0100 on.
fn spell_bytes(word: &str) -> String {
    word.bytes()
        .map(|byte| match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            0..=0x20 => char::from_u32(0x100 + u32::from(byte)).unwrap_or_default(),
            0x7F..=0xA0 => char::from_u32(0x121 + u32::from(byte) - 0x7F).unwrap_or_default(),
            0xAD => '\u{143}',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelled_as_the_library_spells_them() {
        use tokenizers::pre_tokenizers::byte_level::ByteLevel;
        use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

        let step = ByteLevel::new(false, true, false);
        let every: String = (0..=0x1_0FFFF_u32)
            .step_by(7)
            .filter_map(char::from_u32)
            .collect();
        for text in ["\0\t\n !~\x7f", "\u{80}\u{a0}\u{ad}ÿ", &every] {
            let mut split = PreTokenizedString::from(text);
            step.pre_tokenize(&mut split).unwrap();
            let splits = split.get_splits(OffsetReferential::Normalized, OffsetType::None);
            assert_eq!(spell_bytes(text), splits[0].0);
        }
    }
}
