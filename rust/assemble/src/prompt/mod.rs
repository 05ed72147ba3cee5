//! A prompt from its parts: template, sections, budget, chat, and the packed rows of a whole step.
//!
//! `template` fills a context's slots, `line` joins the encoded parts, `chat` puts the turn around them, `row` and
//! `budget` cut what does not fit, `batch` assembles all rows of a step, `prefix` finds the beginnings that rows share.

pub(crate) mod batch;
pub(crate) mod budget;
pub(crate) mod chat;
pub(crate) mod line;
pub(crate) mod prefix;
pub(crate) mod row;
pub(crate) mod template;
