//! The official profiles: judging as LiveCodeBench's own runner does.
//!
//! `harness` is what the program's process runs. `run` holds what is known of one program, `steps` follows it from
//! report to report, `end` writes how it ends; `judge` runs it again after a fault of ours. `report` and `typed` read
//! what the program's process sends, `equality` and `arrays` compare it under Python's rules, `stdout` and `text` write
//! the runner's messages, `wrap` and `statements` rewrite a program as the runner does.

mod arrays;
mod end;
mod equality;
#[cfg(any(test, fuzzing))]
mod fuzzed;
pub(crate) mod harness;
pub(crate) mod judge;
pub(crate) mod prepare;
mod report;
mod run;
mod statements;
mod stdout;
mod steps;
mod text;
mod typed;
mod value;
mod wrap;

/// The harnesses that this crate hands to the sandbox, for the zygote's interpreter to find by name.
pub static HARNESSES: [&opsd_sandbox::Harness; 1] = [&harness::HARNESS];

#[cfg(fuzzing)]
pub use fuzzed::judge_any_reports;
pub use wrap::as_function;
