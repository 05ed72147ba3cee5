//! The `strict` profile: a contest judge's rules, on real standard streams, under limits of CPU time.
//!
//! `prepare` checks a problem and orders its tests; `judge` runs a solution through them by what `attempt` decides after
//! each one; `ending` turns a test's end into a verdict; `run_lock` lets some tests run alone.

pub(crate) mod attempt;
pub(crate) mod ending;
pub(crate) mod judge;
pub(crate) mod prepare;
pub(crate) mod run_lock;
