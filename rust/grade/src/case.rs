//! What is to be graded: a problem with its tests, a candidate solution, and the settings for all of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::comparator::Spelled;
use crate::extract::Rule;
use crate::feedback::Feedback;
use crate::official::Oddities;

/// One test. For function calls `input` holds one JSON value per line and `output` one JSON value.
#[derive(Debug, Clone)]
pub struct Case {
    /// Standard input, or arguments.
    pub input: String,
    /// Expected standard output, or result. Known to the supervisor alone.
    pub output: String,
}

/// A problem, as far as grading needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    /// For messages.
    pub problem_id: String,
    /// None: the program reads standard input. `name` or `Class.name`: it is called.
    pub entry_point: Option<String>,
    /// In the order in which results are reported.
    #[serde(skip)]
    pub tests: Vec<Case>,
    /// CPU seconds per test.
    pub time_limit_seconds: f64,
    /// Address space of the program.
    pub memory_limit_mib: u64,
    /// In place of the grader's comparator.
    #[serde(default)]
    pub compare: Option<Spelled>,
    /// For the official profiles only.
    #[serde(default)]
    pub official: Oddities,
}

/// A candidate: `code` as it stands, else what the extraction rule finds in `completion`.
#[derive(Debug, Clone, Deserialize)]
pub struct Solution {
    /// Program text.
    pub code: Option<String>,
    /// A model's answer.
    pub completion: Option<String>,
    /// The completion ended at the token limit; changes the words of the feedback only.
    #[serde(default)]
    pub truncated: bool,
}

/// Whose rules judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Profile {
    /// A judge's: the program as it stands, on real standard streams, under CPU limits.
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

/// When to leave the remaining tests out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Run all tests (within the budget after a failure, see `judge`).
    #[default]
    Never,
    /// The first test that is stopped for its time, computing or idle, is the last: the failures that are dear.
    FirstTimeout,
    /// The first test that fails, in the order in which they run (see [`crate::Prepared`]), is the last.
    FirstFailure,
}

/// How far tests of one program are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// One process per program; its state is reset between tests, and failures are confirmed in a fresh process.
    #[default]
    Solution,
    /// One process per test.
    Test,
}

/// Limits given for all problems; each one that is set takes the place of the problem's own or of the default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// CPU seconds per test; the wall cap follows it unless set.
    pub cpu_seconds: Option<f64>,
    /// See [`opsd_sandbox::Limits::idle_seconds`].
    pub idle_seconds: Option<f64>,
    /// See [`opsd_sandbox::Limits::wall_seconds`].
    pub wall_seconds: Option<f64>,
    /// Address space, MiB.
    pub memory_mib: Option<u64>,
    /// Standard output per test, MiB.
    pub output_mib: Option<u64>,
    /// Threads alive at once.
    pub threads: Option<u32>,
}

/// Settings of one grader.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Programs running at the same time; one sandbox each.
    pub workers: usize,
    /// See [`Profile`].
    pub profile: Profile,
    /// A second profile to judge by.
    pub also: Option<Profile>,
    /// See [`Stop`].
    pub stop: Stop,
    /// See [`Isolation`].
    pub isolation: Isolation,
    /// See [`Overrides`].
    pub limits: Overrides,
    /// Exactly this level of isolation, `S2`; None: the best that the machine gives.
    #[serde(default)]
    pub level: Option<String>,
    /// Lowest level of isolation accepted.
    pub require: String,
    /// Resident memory of all programs together, MiB; None: a quarter of what there is.
    #[serde(default)]
    pub memory_budget_mib: Option<u64>,
    /// Level S0, no isolation at all, is accepted where asked for.
    #[serde(default)]
    pub allow_unsandboxed: bool,
    /// Which answers count as the expected one, unless a problem says otherwise.
    pub compare: Spelled,
    /// What feedback texts are written.
    pub feedback: Feedback,
    /// How code is taken from completions.
    pub extract: Rule,
    /// Process that the supervisor serves; its end is the supervisor's end.
    pub parent: u32,
    /// Interpreter of the programs.
    pub python: PathBuf,
    /// The extension module's shared object, which the interpreter of the programs loads.
    pub core: PathBuf,
    /// Folders outside the standard library that programs may import from.
    pub site_packages: Vec<PathBuf>,
    /// Folders of single packages that programs may import.
    #[serde(default)]
    pub packages: Vec<PathBuf>,
}
