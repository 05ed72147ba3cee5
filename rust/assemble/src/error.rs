//! What can go wrong. The user can fix all of it, so each message names the fault and the fix.

/// Why a template, a tokenizer or a row was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tokenizer's JSON cannot be read.
    #[error("the tokenizer cannot be read: {0}")]
    Tokenizer(String),
    /// The user's turn has no marker before or after it.
    #[error(
        "the chat template puts no special token {side} the user's message, so a message could forge a turn; \
         use a model whose chat template bounds turns by special tokens"
    )]
    Unbounded {
        /// `before` or `after`.
        side: &'static str,
    },
    /// A template holds something that is not a slot.
    #[error("context.{key}: {problem} (slots: {allowed}; a literal brace is written twice)")]
    Template {
        /// Key of the template in the configuration.
        key: String,
        /// What is wrong with it.
        problem: String,
        /// The slots that are allowed there.
        allowed: String,
    },
    /// Nothing is left to cut.
    #[error(
        "problem {label}: its statement and the context's fixed text alone take {tokens} tokens, more than \
         teacher.max_context_tokens = {budget}; raise that key or leave the problem out"
    )]
    OverBudget {
        /// Whose row.
        label: String,
        /// Length with every cuttable section cut away.
        tokens: usize,
        /// The bound.
        budget: usize,
    },
    /// Not even the marker fits a section's own bound.
    #[error(
        "problem {label}: section {section:?} takes {tokens} tokens with all of it cut away, more than \
         context.section_tokens.{section} = {budget}; raise that key"
    )]
    OverSection {
        /// Whose row.
        label: String,
        /// The section's name.
        section: String,
        /// Length of the marker.
        tokens: usize,
        /// The bound.
        budget: usize,
    },
    /// A message came out with a turn marker's id in it although its text was encoded as plain text.
    #[error(
        "problem {label}: its text encodes to the turn marker {marker:?}; this tokenizer cannot be used safely"
    )]
    Forged {
        /// Whose row.
        label: String,
        /// The marker's text.
        marker: String,
    },
}
