//! For the fuzz target: any bytes instead of what a program's process sends under an official profile.

use std::sync::Arc;

use opsd_sandbox::{End, Limits, TestRun};

use super::prepare::with_limits;
use super::report::Report;
use super::run::OfficialRun;
use super::stdout::{Compared, compare};
use super::value::{Equal, Typed};
use crate::compare::value::Value;
use crate::feedback::{Feedback, Style};
use crate::prepared::Prepared;
use crate::types::case::{Case, Problem};
use crate::types::choices::Profile;
use crate::types::official::{OfficialTask, Quirks};
use crate::types::verdict::Verdict;

/// Between two reports in the fuzzer's bytes.
const BORDER: &[u8] = b"\n\xff\n";
/// Characters of feedback.
const BUDGET: usize = 2_000;
const ANSWERS: [&str; 3] = ["3", "[[1, 2], [3, 4]]", "[1, [2.5, true], {\"a\": NaN}]"];

/// Judges the reports in `bytes`, one after the other, and checks what must hold of the outcome for any reports.
#[allow(unreachable_pub, reason = "the fuzz target calls it from outside")]
pub fn judge_any_reports(bytes: &[u8]) -> Option<Verdict> {
    let (&kind, bytes) = bytes.split_first()?;
    let function = kind % 2 == 1;
    let problem = prepared(function);
    let task = problem.task.as_ref().expect("it has one");
    let feedback = Feedback::new(Style::Leetcode, BUDGET);
    let cancelled = Arc::default();
    let mut judged = OfficialRun::new(&problem, task, feedback, &cancelled);
    let (mut right, mut rest) = (0, Some(bytes));
    while let Some(here) = rest.take() {
        let border = here.windows(BORDER.len()).position(|at| at == BORDER);
        let (report, after) = match border {
            Some(at) => (&here[..at], Some(&here[at + BORDER.len()..])),
            None => (here, None),
        };
        let index = judged.index;
        right += usize::from(is_right(report, function, index));
        let run = TestRun {
            value: Some(report.to_vec()),
            fresh: true,
            ..TestRun::bare(End::Finished, Vec::new(), Vec::new())
        };
        if judged.next(&run).is_some() {
            assert!(judged.verdict.is_none(), "a verdict, and a next step");
            rest = after;
        }
    }
    let shown = |index| problem.shown(index);
    let text = feedback.text(&shown, &judged.outcomes, "");
    assert!(text.chars().count() <= BUDGET, "feedback beyond its budget");
    let Some(verdict) = judged.verdict else {
        assert!(judged.official.is_none(), "results without a verdict");
        return None;
    };
    let official = judged.official.expect("a verdict comes with results");
    let metadata = Value::parse(official.metadata.as_bytes());
    assert!(
        matches!(metadata, Some(Value::Dict(_))),
        "{}",
        official.metadata
    );
    let passes = official
        .results
        .iter()
        .filter(|&result| *result == true)
        .count();
    if verdict == Verdict::Accepted {
        assert!(passes == ANSWERS.len() && official.results.len() == passes && right >= passes);
    } else {
        assert!(
            passes <= right + 1,
            "an array of answers begins with a true one"
        );
    }
    Some(verdict)
}

fn prepared(function: bool) -> Prepared {
    let entry_point = function.then(|| "f".to_owned());
    let task = OfficialTask::new(
        Profile::Lcb202505,
        6.0,
        entry_point.as_deref(),
        Quirks::default(),
    );
    let case = |answer: &str| Case {
        input: "[1]".to_owned(),
        output: answer.to_owned(),
    };
    let problem = Problem {
        problem_id: "fuzzed".to_owned(),
        entry_point,
        tests: ANSWERS.map(case).into(),
        time_limit_seconds: 6.0,
        memory_limit_mib: 1024,
        compare: None,
        official: Quirks::default(),
    };
    with_limits(
        problem,
        Limits::with_cpu(6.0),
        task.expect("an official profile"),
    )
}

/// Whether this report, alone, answers test `index`.
fn is_right(report: &[u8], function: bool, index: usize) -> bool {
    let (Some(report), Some(answer)) = (Report::parse(report), ANSWERS.get(index)) else {
        return false;
    };
    if !function {
        return compare(report.payload, answer.as_bytes()) == Compared::Same;
    }
    let (Some(typed), Some(expected)) = (
        Typed::parse(report.payload, answer.len()),
        Value::parse(answer.as_bytes()),
    ) else {
        return false;
    };
    match typed.equals(&expected) {
        Ok(Equal::Plain(same)) => same,
        Ok(Equal::Each(answers)) => answers == [true],
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{BORDER, judge_any_reports};
    use crate::types::verdict::Verdict::{self, Accepted, RuntimeError, WrongAnswer};

    const RIGHT: [&str; 3] = [
        "{\"step\": \"value\"}\nj 1\n3",
        "{\"step\": \"value\"}\nj 16\n[[1, 2], [3, 4]]",
        "{\"step\": \"value\"}\nl 3\nj 1\n1l 2\nj 3\n2.5j 4\ntrued 1\ns 1\naz\n",
    ];
    const WRONG: &str = "{\"step\": \"value\"}\nj 1\n9";
    const READY: &str = "{\"step\": \"ready\"}\n";
    const SHOWN: &str = "{\"step\": \"shown\", \"output\": \"9\", \"inputs\": \"[1]\"}\n";

    fn verdict(reports: &[&str]) -> Option<Verdict> {
        let reports: Vec<&[u8]> = reports.iter().map(|report| report.as_bytes()).collect();
        judge_any_reports(&[b"\x01", reports.join(BORDER).as_slice()].concat())
    }

    #[test]
    fn a_test_is_answered_once() {
        let [first, second, third] = RIGHT;
        assert_eq!(verdict(&[READY, first, second, third]), Some(Accepted));
        assert_eq!(verdict(&[READY, first, WRONG, SHOWN]), Some(WrongAnswer));
        let again = verdict(&[READY, first, WRONG, second, third]);
        assert_eq!(
            again,
            Some(RuntimeError),
            "another guess in place of the texts"
        );
        assert_eq!(
            verdict(&[first, second, third]),
            Some(RuntimeError),
            "unasked"
        );
        assert_eq!(
            verdict(&[READY, READY, first, second, third]),
            Some(RuntimeError)
        );
        let output = "{\"step\": \"output\"}\n3";
        assert_eq!(verdict(&[READY, output, second, third]), Some(RuntimeError));
    }
}
