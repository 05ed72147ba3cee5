//! Parts that are used again: the text of a slot or of a template, encoded between its first and its last cut.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use crate::encode::encoder::Session;
use crate::encode::hash::Map;
use crate::encode::spelling::Spellings;
use crate::error::Error;

/// Texts and ids kept, in bytes: more than all statements of a benchmark.
const MOST_BYTES: usize = 64 << 20;

/// What is known of one text.
#[derive(Debug)]
pub(crate) struct Part {
    /// First and last cut, and the ids of what lies between; `None` for a text that cannot be cut.
    pub(crate) core: Option<Core>,
    /// It spells a special token.
    pub(crate) special: bool,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) ids: Vec<u32>,
}

impl Part {
    pub(crate) fn new(
        session: &mut Session<'_>,
        reserved: &Spellings,
        text: &str,
    ) -> Result<Self, Error> {
        let core = match session.cuts().of(text) {
            None => None,
            Some((first, last)) => {
                let mut ids = Vec::new();
                session.encode(&text[first..last], &mut ids)?;
                Some(Core { first, last, ids })
            }
        };
        Ok(Self {
            core,
            special: reserved.occur_in(text),
        })
    }

    fn bytes(&self) -> usize {
        96 + self.core.as_ref().map_or(0, |core| 4 * core.ids.len())
    }
}

/// Parts of this and earlier batches. What is not used while half of the capacity fills up twice is dropped.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: Map<Box<str>, Arc<Part>>,
    old: Map<Box<str>, Arc<Part>>,
    young_bytes: usize,
}

impl Memory {
    pub(crate) fn get(&self, text: &str) -> Option<Arc<Part>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = all.young.get(text) {
            return Some(Arc::clone(part));
        }
        let part = all.old.remove(text)?;
        all.put(text, &part);
        Some(part)
    }

    pub(crate) fn put(&self, text: &str, part: &Arc<Part>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(text, part);
    }
}

impl Generations {
    fn put(&mut self, text: &str, part: &Arc<Part>) {
        self.young_bytes += text.len() + part.bytes();
        self.young.insert(text.into(), Arc::clone(part));
        if self.young_bytes > MOST_BYTES / 2 {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_parts_stay_and_unused_ones_are_dropped() {
        let memory = Memory::default();
        let part = || {
            Arc::new(Part {
                core: Some(Core {
                    first: 1,
                    last: 2,
                    ids: vec![0; 1 << 20],
                }),
                special: false,
            })
        };
        memory.put("used", &part());
        memory.put("unused", &part());
        for i in 0..40 {
            memory.put(&format!("text {i}"), &part());
            assert!(memory.get("used").is_some());
        }
        assert!(memory.get("unused").is_none());
        let all = memory.0.lock().unwrap();
        assert!(all.young.len() + all.old.len() <= 17);
    }
}
