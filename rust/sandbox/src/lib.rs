//! Runs untrusted Python programs test by test.

mod driver;
mod limits;
mod plan;
mod probe;

pub use driver::Sandbox;
pub use limits::Limits;
pub use plan::{End, Entry, Error, Frame, Go, Layer, Limit, Options, Program, TestRun};
pub use probe::{LayerStatus, probe};
