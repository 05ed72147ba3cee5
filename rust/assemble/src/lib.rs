//! Texts in, token ids out: what the student and the self-teacher read, exact to the token.
//!
//! In: a tokenizer (as JSON), what the chat template writes before and after the user's message, a context's
//! templates, and rows of slot texts. Out: packed ids, one span per row, and flags. The main idea: encode each text
//! once. A chat is cut at its turn markers, where cutting never changes ids (`chat`); inside the turn each slot's
//! text and each fixed text of the template is cut after words, where this tokenizer provably splits (`cut`), and
//! only the seams between parts are encoded per row (`line`). The text of every special token is taken as plain
//! text there, so that no slot can forge a turn.
//!
//! What it does not do: it renders no Jinja (the caller does, once per chat template), knows no verdicts, and
//! never tokenises a completion: completion ids stay as they were sampled.

mod encode;
mod error;
mod prompt;

pub use error::Error;
pub use prompt::batch::{Packed, assemble};
pub use prompt::budget::middle_cut;
pub use prompt::chat::Chat;
pub use prompt::row::Budget;
pub use prompt::template::{ContextTemplate, Row, Templates};
