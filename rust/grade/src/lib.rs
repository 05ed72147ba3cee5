//! Candidate programs and tests in; verdicts per test, one per solution, and feedback text out.
//!
//! `case` and `verdict` are the words; `extract`, `compare`, `value`, `decimal` and `feedback` are pure functions;
//! `ending` names a test's end; `judge` grades one solution in one sandbox; `supervisor` does so for a caller at the
//! other end of a socket, in a process that alone knows the expected outputs. A program that fails is data here, never
//! an error.

mod case;
mod compare;
mod decimal;
mod ending;
mod error;
mod extract;
mod feedback;
mod isolation;
mod judge;
mod prepare;
mod protocol;
mod supervisor;
mod value;
mod verdict;

pub use case::{Case, Isolation, Overrides, Problem, Settings, Solution, Stop};
pub use compare::same_output;
pub use error::Error;
pub use extract::{Rule, extract};
pub use feedback::{Shown, answer, feedback, no_code};
pub use judge::Judge;
pub use prepare::Prepared;
pub use supervisor::supervise;
pub use value::Value;
pub use verdict::{CaseResult, Grade, Outcome, Verdict};
