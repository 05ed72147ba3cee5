//! Text to token ids: each text is encoded once, and cut only where cutting changes no id.
//!
//! `encoder` finds ids word by word, with `split` for the tokenizer's own splitting and `spelling` for added tokens;
//! `cut` says where a text may be cut; `memory` keeps the parts of earlier batches; `parallel` spreads work over cores.

pub(crate) mod cut;
pub(crate) mod encoder;
pub(crate) mod hash;
pub(crate) mod memory;
pub(crate) mod parallel;
pub(crate) mod spelling;
pub(crate) mod split;
