//! Grades one solution from start to end: extract the code, judge it by the profile, and by the second profile.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use opsd_sandbox::{Options, Program, Sandboxes};

use crate::compare::Comparator;
use crate::compare::checker::CheckerSandbox;
use crate::error::Error;
use crate::extract::{NoCode, Rule, extract};
use crate::prepared::Prepared;
use crate::settings::Settings;
use crate::strict::attempt::Attempt;
use crate::strict::run_lock::RunLock;
use crate::types::case::{Problem, Solution};
use crate::types::choices::Profile;
use crate::types::grade::{Also, Grade, verdict_of};
use crate::types::official::OfficialTask;
use crate::types::verdict::Verdict;
use crate::{official, strict};

/// What some editors write at the start of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Grades solutions one after the other in sandboxes of its own. Lives and works on one thread.
#[derive(Debug)]
pub(crate) struct Grader {
    sandboxes: Sandboxes,
    checkers: CheckerSandbox,
    run_lock: Arc<RunLock>,
    settings: Settings,
}

impl Grader {
    /// With sandboxes that are up; `options` start those of checker programs. Graders that share `run_lock` let each
    /// other run alone.
    pub(crate) fn new(
        sandboxes: Sandboxes,
        options: Options,
        settings: &Settings,
        run_lock: Arc<RunLock>,
    ) -> Self {
        Self {
            sandboxes,
            checkers: CheckerSandbox::new(options),
            run_lock,
            settings: settings.clone(),
        }
    }

    /// The grade of one solution.
    ///
    /// Once `cancelled` is set the program is ended within a moment; the grade that comes back then means nothing.
    pub(crate) fn grade(
        &mut self,
        problem: &Prepared,
        solution: &Solution,
        cancelled: &Arc<AtomicBool>,
    ) -> Grade {
        let mut grade = self.grade_under(problem, solution, cancelled);
        if let Some((profile, second)) = &problem.also {
            let second = match second {
                Ok(second) => Ok(self.grade_under(second, solution, cancelled)),
                Err(reason) => Err(reason.clone()),
            };
            let differs = |second: &Grade| second.passed != grade.passed;
            if second.as_ref().is_ok_and(differs) {
                grade.flags.push("profiles_disagree".to_owned());
            }
            grade.also = Some(Box::new(Also {
                profile: *profile,
                grade: second,
            }));
        }
        grade
    }

    fn grade_under(
        &mut self,
        problem: &Prepared,
        solution: &Solution,
        cancelled: &Arc<AtomicBool>,
    ) -> Grade {
        let feedback = self.settings.feedback;
        let code = program(solution, self.settings.extract);
        if let Some(task) = &problem.task {
            // The official runner runs the empty program then.
            let holds_none = code.is_err() && solution.code.is_none();
            let code = code.unwrap_or_default();
            let mut grade = official::judge::judge(
                problem,
                task,
                &code,
                feedback,
                &mut self.sandboxes,
                &self.run_lock,
                cancelled,
            );
            if holds_none {
                grade.flags.push("no_code".to_owned());
            }
            return grade;
        }
        let code = match code {
            Ok(code) => code,
            Err(why) => {
                let text = feedback.no_code(solution.truncated);
                let outcomes = problem.in_input_order(Vec::new());
                let grade = Grade::new(Verdict::NoCode, &outcomes, text, Vec::new());
                return grade.because(why);
            }
        };
        let program = Program {
            // As the interpreter reads a file: a mark of the byte order is no part of the program.
            code: code.trim_start_matches(BYTE_ORDER_MARK).to_owned(),
            entry: problem.entry.clone(),
        };
        let mut attempt = Attempt::new(problem, &self.settings, cancelled);
        self.sandboxes.give_up_when(cancelled);
        strict::judge::judge(
            &program,
            &mut attempt,
            &mut self.sandboxes,
            &mut self.checkers,
            &self.run_lock,
        );
        let outcomes = problem.in_input_order(attempt.outcomes);
        let verdict = verdict_of(&outcomes, problem.inputs.len());
        let text = feedback.text(&|index| problem.shown(index), &outcomes, &program.code);
        Grade::new(verdict, &outcomes, text, attempt.flags)
    }
}

/// The program of a solution, or why it has none.
fn program(solution: &Solution, rule: Rule) -> Result<String, String> {
    let found = match (&solution.code, &solution.completion) {
        (Some(code), _) if code.trim().is_empty() => return Err("the program is blank".to_owned()),
        (Some(code), _) => Ok(code.clone()),
        (None, Some(text)) => extract(text, rule, solution.truncated),
        (None, None) => Err(NoCode::Empty),
    };
    found.map_err(|why| format!("{why} (extract = {})", String::from(rule)))
}

/// A problem made ready for a grader's profile, and for its second one. Fails where the first one refuses it.
pub(crate) fn prepare(
    problem: Problem,
    settings: &Settings,
    comparator: &Comparator,
) -> Result<Prepared, Error> {
    let second = settings.also.map(|also| (also, problem.clone()));
    let mut prepared = prepare_for(problem, settings.profile, settings, comparator)?;
    prepared.also = second.map(|(also, problem)| {
        let second = prepare_for(problem, also, settings, comparator);
        let second = second.map(Box::new).map_err(|error| error.to_string());
        (also, second)
    });
    Ok(prepared)
}

fn prepare_for(
    problem: Problem,
    profile: Profile,
    settings: &Settings,
    comparator: &Comparator,
) -> Result<Prepared, Error> {
    let overrides = &settings.limits;
    let seconds = overrides.cpu_seconds.unwrap_or(problem.time_limit_seconds);
    let (entry_point, quirks) = (problem.entry_point.as_deref(), problem.official.clone());
    match OfficialTask::new(profile, seconds, entry_point, quirks) {
        Some(task) => official::prepare::prepare(problem, overrides, task, seconds),
        None => strict::prepare::prepare(problem, overrides, comparator),
    }
}
