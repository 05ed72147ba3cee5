//! Plain data that goes into a sandbox and comes out: no behaviour, no processes.

pub(crate) mod harness;
pub(crate) mod layer;
pub(crate) mod level;
pub(crate) mod outcome;
pub(crate) mod program;
