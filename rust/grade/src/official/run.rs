//! One program as LiveCodeBench's official runner judges it: list of results, metadata, and our verdict from them.
//!
//! The program runs in one process, its tests in the given order, up to the first failure; nothing is reset, repeated
//! or confirmed. What the runner reports when it gives up is reproduced exactly, quirks included: a fault outside a test
//! discards the passes before it (`[-4]`), a process that is gone leaves `[-2]` with an IndexError of the runner's own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use opsd_sandbox::TestRun;
use serde_json::Value as Json;

use super::harness::program_text;
use super::wrap::as_function;
use crate::feedback::Feedback;
use crate::prepared::Prepared;
use crate::types::official::{Official, OfficialTask};
use crate::types::verdict::{Outcome, Verdict};

/// One run of a program. A new one is made when an infrastructure fault makes it run again.
pub(super) struct OfficialRun<'a> {
    pub(super) problem: &'a Prepared,
    pub(super) task: &'a OfficialTask,
    pub(super) feedback: Feedback,
    pub(super) cancelled: &'a Arc<AtomicBool>,
    pub(super) results: Vec<Json>,
    pub(super) seconds: f64,
    /// The program is defined; its tests run.
    pub(super) defined: bool,
    /// Test that runs now, or whose texts are being fetched.
    pub(super) index: usize,
    /// What the metadata will say about it, once its texts are here.
    pub(super) pending: Option<Pending>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) verdict: Option<Verdict>,
    /// Other programs may have made it too slow, or it may have made others so: see `judge`.
    pub(super) is_crowded: bool,
    pub(super) official: Option<Official>,
}

pub(super) enum Pending {
    WrongAnswer,
    /// Comparing raised this.
    Raised(Vec<u8>),
}

impl<'a> OfficialRun<'a> {
    pub(super) fn new(
        problem: &'a Prepared,
        task: &'a OfficialTask,
        feedback: Feedback,
        cancelled: &'a Arc<AtomicBool>,
    ) -> Self {
        Self {
            problem,
            task,
            feedback,
            cancelled,
            results: Vec::new(),
            seconds: 0.0,
            defined: false,
            index: 0,
            pending: None,
            outcomes: Vec::new(),
            verdict: None,
            is_crowded: false,
            official: None,
        }
    }

    /// What the program's process reads.
    pub(super) fn text(&self, code: &str) -> String {
        let wrapped = match self.task.function {
            None => as_function(code),
            Some(_) => None,
        };
        program_text(self.task, code, wrapped.as_deref())
    }

    pub(super) fn deadline_seconds(&self) -> f64 {
        self.task.deadline_seconds(self.problem.inputs.len())
    }
}

pub(super) fn measured(run: &TestRun, verdict: Verdict, message: String) -> Outcome {
    let mut outcome = Outcome::bare(verdict, message);
    outcome.cpu_seconds = Some(run.cpu_seconds);
    outcome.wall_seconds = Some(run.wall_seconds);
    outcome.memory_mib = Some(run.memory_mib);
    outcome
}
