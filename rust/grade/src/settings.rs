//! The settings of one grader: the caller's first message, valid for every problem.

use std::path::PathBuf;

use serde::Deserialize;

use crate::extract::Rule;
use crate::feedback::Feedback;
use crate::types::case::CompareSpec;
use crate::types::choices::{Isolation, Profile, Stop};

/// Limits given for all problems; each one that is set replaces the problem's own or the default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Overrides {
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
pub(crate) struct Settings {
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
    /// Exactly this level of isolation, `S2`; None: the best that the machine offers.
    #[serde(default)]
    pub level: Option<String>,
    /// Lowest level of isolation accepted.
    pub require: String,
    /// Resident memory of all programs together, MiB; None: a quarter of the machine's.
    #[serde(default)]
    pub memory_budget_mib: Option<u64>,
    /// Level S0, no isolation at all, is allowed if asked for.
    #[serde(default)]
    pub allow_unsandboxed: bool,
    /// Which answers count as the expected one, unless a problem says otherwise.
    pub compare: CompareSpec,
    /// Which feedback texts are written.
    pub feedback: Feedback,
    /// How code is taken from completions.
    pub extract: Rule,
    /// Process that the supervisor serves; when it ends, the supervisor ends.
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
