//! Candidate programs and tests in; verdicts per test, one per solution, and feedback text out.
//!
//! `case`, `verdict` and `reason` are the words; `extract`, `comparator` with `compare`, `value` and `decimal`, and
//! `feedback` are pure functions; `checker` asks a program of the user's instead; `ending` names a test's end; `official` is LiveCodeBench's own way to judge; `judge`
//! grades one solution in one sandbox by what `trial` decides, `quiet` sees that some tests run alone; `supervisor` does so for a caller at the
//! other end of a socket, in a process that alone knows the expected outputs. A program that fails is data here, never
//! an error.

mod case;
mod checker;
mod comparator;
mod compare;
mod decimal;
mod ending;
mod error;
mod extract;
mod feedback;
mod isolation;
mod judge;
mod official;
mod plain;
mod prepare;
mod protocol;
mod quiet;
mod reason;
mod supervisor;
mod trial;
mod value;
mod verdict;

pub use case::{Case, Isolation, Overrides, Problem, Profile, Settings, Solution, Stop};
pub use comparator::{Comparator, Spelled};
pub use error::Error;
pub use extract::{Rule, extract};
pub use feedback::{Feedback, Shown, Style};
pub use judge::Judge;
#[cfg(fuzzing)]
pub use official::judge_any_reports;
pub use official::{Odd, Oddities, Official, as_function};
pub use plain::is_plain_json;
pub use prepare::Prepared;
pub use reason::Reason;
pub use supervisor::supervise;
pub use value::Value;
pub use verdict::{Also, CaseResult, Grade, Outcome, Verdict};
