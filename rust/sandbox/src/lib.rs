//! Runs untrusted Python programs, test by test.

mod bpf;
mod child;
mod clocks;
mod driver;
mod landlock;
mod limits;
mod plan;
mod policy;
mod probe;
mod report;
mod run;
mod sys;
mod wire;
mod zygote;

pub use child::{REPORT_FD, next_test};
pub use driver::Sandbox;
pub use limits::Limits;
pub use plan::{End, Entry, Error, Frame, Go, Layer, Limit, Options, Program, TestRun};
pub use probe::{LayerStatus, probe};
pub use zygote::Zygote;

/// The Python half, run by the zygote's interpreter and inherited by every child: a returned value's spelling, which
/// the harness imports as `opsd_spell`.
pub const SPELL: &str = include_str!("spell.py");
/// The harness itself; `serve(zygote, site_packages)` is the zygote's life.
pub const HARNESS: &str = include_str!("harness.py");
