//! What is graded: a problem with its tests, and a candidate solution.

use serde::Deserialize;

use crate::types::official::Quirks;

/// One test. For function calls `input` holds one JSON value per line and `output` one JSON value.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Standard input, or arguments.
    pub input: String,
    /// Expected standard output, or result. Only the supervisor knows it.
    pub output: String,
}

/// Which comparator to use, as the caller names it.
#[derive(Debug, Clone, Deserialize)]
pub struct CompareSpec {
    /// See [`crate::Comparator`].
    pub rule: String,
    /// Source of the checker program where the rule is `checker:PATH`; its caller has read the file.
    #[serde(default)]
    pub checker: Option<String>,
}

/// The parts of a problem that grading needs.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the caller's names")]
pub(crate) struct Problem {
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
    /// Replaces the grader's comparator.
    #[serde(default)]
    pub compare: Option<CompareSpec>,
    /// For the official profiles only.
    #[serde(default)]
    pub official: Quirks,
}

/// A candidate: `code` unchanged, else what the extraction rule finds in `completion`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Solution {
    /// Program text.
    pub code: Option<String>,
    /// A model's answer.
    pub completion: Option<String>,
    /// The completion ended at the token limit: a block that it leaves open is cut.
    #[serde(default)]
    pub truncated: bool,
}
