//! The process that uses a sandbox: starts zygotes, asks for processes, releases inputs, watches clocks, kills.
//!
//! `sandbox` owns one zygote, `run` follows one test to its end, `pool` keeps a sandbox for each flavour.

pub(crate) mod arguments;
pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod clocks;
pub(crate) mod delegation;
pub(crate) mod input;
pub(crate) mod memory;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod pool;
pub(crate) mod rehearsal;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod spawn;
pub(crate) mod steps;
