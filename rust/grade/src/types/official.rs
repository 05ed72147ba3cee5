//! A problem as an official profile judges it (which runner, its timeout, the quirks of its tests), and what that
//! runner would have returned.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::types::choices::Profile;

/// What the official runner's form of a problem can express and ours cannot. The caller works all of it out: it has
/// Python's own error messages.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Quirks {
    /// Number of inputs, where it differs from that of tests; it sets the deadline.
    pub num_inputs: Option<usize>,
    /// Why the tests cannot be read; found once the program is defined, before its first test.
    pub defect: Option<String>,
    /// Quirks of single tests.
    pub tests: Vec<TestQuirk>,
}

/// The quirks of one test.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TestQuirk {
    /// Place of the test.
    pub index: usize,
    /// The input's text in the metadata, where it is not a string.
    pub shown_input: Option<String>,
    /// The same for the output.
    pub shown_output: Option<String>,
    /// The repr of what passing the input raises.
    pub input_error: Option<String>,
    /// The message of what comparing with the output raises.
    pub output_error: Option<String>,
}

/// What the runner would have returned.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Official {
    /// `true`, `false`, -2, -3, -4 per test up to the first failure.
    pub results: Vec<Json>,
    /// A JSON object as text. `expected` is null in it for functions: the caller writes that value as Python does.
    pub metadata: String,
    /// The JSON text of that value.
    pub expected_json: Option<String>,
}

/// A problem as an official profile judges it.
#[derive(Debug)]
pub(crate) struct OfficialTask {
    pub(crate) vintage: &'static str,
    pub(crate) timeout_seconds: u32,
    /// Name without its class; None: standard input.
    pub(crate) function: Option<String>,
    pub(crate) quirks: Quirks,
}

impl OfficialTask {
    /// None for `strict`, which is not official. A timeout is rounded up: `signal.alarm` takes whole seconds.
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

    pub(crate) fn quirk(&self, index: usize) -> Option<&TestQuirk> {
        self.quirks.tests.iter().find(|quirk| quirk.index == index)
    }
}
