//! How to grade, where there is a choice: profile, when to stop, isolation of tests.

use serde::{Deserialize, Serialize};

/// Whose rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Profile {
    /// A contest judge's: the program unchanged, on real standard streams, under CPU limits.
    #[default]
    #[serde(rename = "strict")]
    Strict,
    /// LiveCodeBench's runner since May 2025.
    #[serde(rename = "lcb-2025-05")]
    Lcb202505,
    /// LiveCodeBench's runner of January 2025.
    #[serde(rename = "lcb-2025-01")]
    Lcb202501,
}

impl Profile {
    /// Whether programs run as the official runner runs them.
    pub(crate) fn is_official(self) -> bool {
        self != Self::Strict
    }
}

/// When to skip the remaining tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stop {
    /// Run all tests (within the budget after a failure, see `strict::attempt`).
    #[default]
    Never,
    /// The first test that reaches a limit (CPU or idle time, memory, output) is the last: these failures are expensive.
    FirstTimeout,
    /// The first test that fails, in the order in which they run (see `strict::prepare`), is the last.
    FirstFailure,
}

/// How tests of one program are isolated from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Isolation {
    /// One process per program; its state is reset between tests, and failures are confirmed in a fresh process.
    #[default]
    Solution,
    /// One process per test.
    Test,
}
