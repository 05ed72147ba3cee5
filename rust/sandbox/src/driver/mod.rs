//! The process that uses a sandbox: starts zygotes, asks for processes, releases inputs, watches clocks, kills.
//!
//! `sandbox` owns one zygote, `run` runs a program's tests, `one_test` one of them, `pool` keeps one for each kind of program.

pub(crate) mod arguments;
pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod clocks;
pub(crate) mod delegation;
pub(crate) mod footprint;
pub(crate) mod input;
pub(crate) mod memory;
pub(crate) mod messages;
pub(crate) mod naps;
pub(crate) mod one_test;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod pool;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod spawn;
pub(crate) mod start;
pub(crate) mod steps;
