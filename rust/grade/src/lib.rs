//! Candidate programs and tests in; verdicts per test, one per solution, and feedback text out.
//!
//! From the bottom up: `types` is plain data; `compare` says whether an answer is right, `extract` finds the code in a
//! completion, `feedback` writes texts: pure functions, but for `compare::checker`, which asks a program of the user's.
//! `prepared` is a problem ready to be judged; `strict` and `official` are the two ways to judge; `grader` chooses between
//! them; `serve` grades for a caller at the other end of a socket, in a process that alone knows the expected outputs.
//! A program that fails is data here, never an error.

mod compare;
mod error;
mod extract;
mod feedback;
mod grader;
mod official;
mod prepared;
mod serve;
mod settings;
mod strict;
mod types;

pub use compare::Comparator;
pub use compare::plain::is_plain_json;
pub use compare::value::Value;
pub use error::Error;
pub use extract::{NoCode, Rule, extract};
pub use feedback::{Feedback, Shown, Style};
#[cfg(fuzzing)]
pub use official::judge_any_reports;
pub use official::{HARNESSES, as_function};
pub use serve::supervisor::supervise;
pub use types::case::CompareSpec;
pub use types::verdict::{Outcome, Verdict};
