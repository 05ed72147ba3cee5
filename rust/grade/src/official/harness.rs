//! The Python half of the official runner, for the sandbox: what its processes run, and the steps that lead them.

use opsd_sandbox::{Harness, Input, Rehearsal, Step};
use serde_json::Value as Json;

use crate::types::official::OfficialTask;

/// LiveCodeBench's runner. A first step, which comes without being asked for, defines the program.
pub(crate) static HARNESS: Harness = Harness {
    name: "livecodebench",
    modules: &[
        ("opsd_rewrite", include_str!("../../python/rewrite.py")),
        ("opsd_typed", include_str!("../../python/typed.py")),
        ("opsd_mocks", include_str!("../../python/mocks.py")),
        ("opsd_official", include_str!("../../python/official.py")),
        ("opsd_process", include_str!("../../python/process.py")),
    ],
    blocked_import,
    rehearsal: Rehearsal {
        text: "2025-05 60 -1 23\nprint(int(input()) + 1)",
        step: TEST,
        input: b"5\n",
        answer: b"6\n",
    },
};

/// Kinds of steps, as in `process.py`.
const TEST: u64 = 1;
const SHOW: u64 = 2;
const SHOW_INPUTS: u64 = 3;

/// Run one test on this input.
pub(super) const fn test(input: &Input) -> Step<'_> {
    Step {
        kind: TEST,
        input: Some(input),
    }
}

/// Write the last result and the arguments it came from as text.
pub(super) const fn show<'a>() -> Step<'a> {
    Step {
        kind: SHOW,
        input: None,
    }
}

/// Write the arguments alone: comparing the result raised.
pub(super) const fn show_inputs<'a>() -> Step<'a> {
    Step {
        kind: SHOW_INPUTS,
        input: None,
    }
}

/// What the process reads: an order of four words, the function's name, the source, and the source as a function if that
/// is known. Not JSON: a parser would copy many pages in the new process.
pub(super) fn program_text(task: &OfficialTask, code: &str, wrapped: Option<&str>) -> String {
    let name = task.function.as_deref();
    let name_length = name.map_or(-1, |name| name.chars().count() as i64);
    format!(
        "{} {} {name_length} {}\n{}{code}{}",
        task.vintage,
        task.timeout_seconds,
        code.chars().count(),
        name.unwrap_or_default(),
        wrapped.unwrap_or_default(),
    )
}

/// The module whose import was blocked, if a report says so.
fn blocked_import(report: &[u8]) -> Option<String> {
    let line = report.split(|&byte| byte == b'\n').next()?;
    if !line.starts_with(br#"{"step": "blocked""#) {
        return None;
    }
    let report: Json = serde_json::from_slice(line).ok()?;
    report.get("module")?.as_str().map(str::to_owned)
}
