//! A problem as an official profile judges it (which runner, its timeout, what is odd about its tests), and what that
//! runner would have returned.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::types::choices::Profile;

/// What the official runner's form of a problem can hold and ours cannot. All of it is worked out by the caller, which
/// has Python's own words for what is wrong.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Quirks {
    /// Inputs, where they are not as many as tests: they count for the deadline.
    pub num_inputs: Option<usize>,
    /// Why the tests cannot be read; found once the program is defined, before its first test.
    pub defect: Option<String>,
    /// Those of single tests.
    pub tests: Vec<TestQuirk>,
}

/// One odd test.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TestQuirk {
    /// Which.
    pub index: usize,
    /// The input's text in the metadata, where it is no string.
    pub shown_input: Option<String>,
    /// The same for the output.
    pub shown_output: Option<String>,
    /// What handing the input over raises: its repr.
    pub input_error: Option<String>,
    /// What comparing with the output raises: its message.
    pub output_error: Option<String>,
}

/// What the runner would have returned.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Official {
    /// `true`, `false`, -2, -3, -4 per test up to the first failure.
    pub results: Vec<Json>,
    /// A JSON object as text. `expected` is null in it for functions: the caller spells that value in Python.
    pub metadata: String,
    /// The JSON text of that value.
    pub expected_json: Option<String>,
}

/// A problem as an official profile judges it.
#[derive(Debug)]
pub(crate) struct OfficialTask {
    pub(crate) vintage: &'static str,
    pub(crate) timeout_seconds: u32,
    /// Bare name; None: standard input.
    pub(crate) function: Option<String>,
    pub(crate) quirks: Quirks,
}

impl OfficialTask {
    /// None: `strict` is no official profile. A timeout is rounded up: `signal.alarm` takes whole seconds.
    pub(crate) fn new(
        profile: Profile,
        timeout_seconds: f64,
        entry_point: Option<&str>,
        quirks: Quirks,
    ) -> Option<Self> {
        let vintage = match profile {
            Profile::Strict => return None,
            Profile::Lcb202505 => "2025-05",
            Profile::Lcb202501 => "2025-01",
        };
        let bare = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        Some(Self {
            vintage,
            timeout_seconds: (timeout_seconds.ceil() as u32).max(1),
            function: entry_point.map(bare),
            quirks,
        })
    }

    /// Wall seconds for the whole program, as the runner joins its process.
    pub(crate) fn deadline_seconds(&self, num_tests: usize) -> f64 {
        let inputs = self.quirks.num_inputs.unwrap_or(num_tests);
        (f64::from(self.timeout_seconds) + 1.0) * inputs as f64 + 5.0
    }

    pub(crate) fn odd(&self, index: usize) -> Option<&TestQuirk> {
        self.quirks.tests.iter().find(|odd| odd.index == index)
    }
}
