//! Texts in, token ids out: what the student and the self-teacher read, exact to the token.
//!
//! In: a tokenizer (as JSON), what the chat template writes before and after the user's message, a context's
//! templates, and rows of slot texts. Out: packed ids, one span per row, and flags. The one idea: a chat is cut
//! only at its turn markers, where cutting never changes ids; between the markers the message is encoded in one
//! piece, with the spelling of every special token taken as plain text, so that no slot can forge a turn.
//!
//! What it does not do: it renders no Jinja (the caller does, once per chat template), knows no verdicts, and
//! never sees a completion: completion ids stay as they were sampled.

mod batch;
mod budget;
mod chat;
mod error;
mod template;

pub use batch::{Packed, Prepared, assemble};
pub use budget::middle_cut;
pub use chat::Chat;
pub use error::Error;
pub use template::{ContextTemplate, Row, Templates};
