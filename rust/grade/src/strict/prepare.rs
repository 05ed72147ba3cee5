//! A problem made ready for the strict profile: inputs as bytes, results parsed, limits checked.
//!
//! Everything that can be wrong with the user's problem is found and named here, once.
//!
//! The order in which the tests run: the smallest input first (most failures show there, at once), then the
//! largest (a program too slow shows there), then the rest as given.

use opsd_sandbox::{Entry, Limits};

use crate::compare::Comparator;
use crate::compare::official::strip;
use crate::compare::value::Value;
use crate::error::Error;
use crate::prepared::{Expected, Prepared};
use crate::settings::Overrides;
use crate::types::case::{Case, Problem};

/// Check and convert. Fails on a problem without tests, on limits out of range, and on function arguments or
/// results that are not JSON.
pub(crate) fn prepare(
    problem: Problem,
    overrides: &Overrides,
    comparator: &Comparator,
) -> Result<Prepared, Error> {
    let Problem {
        problem_id,
        entry_point,
        tests,
        time_limit_seconds,
        memory_limit_mib,
        compare,
        official: _,
    } = problem;
    let bad = |what: String| Error::BadProblem(format!("problem {problem_id}: {what}"));
    if tests.is_empty() {
        return Err(bad("has no tests, so nothing can be graded".to_owned()));
    }
    let own = Limits::with_cpu(overrides.cpu_seconds.unwrap_or(time_limit_seconds));
    let longest = tests.iter().map(|case| case.output.len()).max();
    let output_mib = output_mib(
        overrides.output_mib,
        own.output_mib,
        longest.unwrap_or(0),
        entry_point.is_some(),
    );
    let limits = Limits {
        idle_seconds: overrides.idle_seconds.unwrap_or(own.idle_seconds),
        wall_seconds: overrides.wall_seconds.unwrap_or(own.wall_seconds),
        memory_mib: overrides.memory_mib.unwrap_or(memory_limit_mib),
        output_mib,
        threads: overrides.threads.unwrap_or(own.threads),
        ..own
    };
    limits.check().map_err(&bad)?;
    let comparator = match compare {
        Some(own) => Comparator::new(&own).map_err(&bad)?,
        None => comparator.clone(),
    };
    let entry = entry_point.map_or(Entry::Stdin, |entry_point| Entry::Function { entry_point });
    let order = running_order(&tests);
    let mut tests: Vec<Option<Case>> = tests.into_iter().map(Some).collect();
    let in_order = order
        .iter()
        .filter_map(|&index| Some((index, tests[index].take()?)));
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for (index, case) in in_order {
        if entry == Entry::Stdin {
            inputs.push(case.input.into_bytes().into());
            outputs.push(Expected::new(case.output, false));
            continue;
        }
        let input = strip(case.input.as_bytes());
        let wrong = (!input.is_empty())
            .then(|| {
                input
                    .split(|&byte| byte == b'\n')
                    .position(|line| Value::parse(line).is_none())
            })
            .flatten();
        if let Some(line) = wrong {
            return Err(bad(format!(
                "test {index}, input line {}: not a JSON value",
                line + 1
            )));
        }
        inputs.push(input.to_vec().into());
        let expected = Expected::new(case.output, true);
        if expected.value().is_none() {
            return Err(bad(format!("test {index}, output: not a JSON value")));
        }
        outputs.push(expected);
    }
    Ok(Prepared {
        entry,
        inputs,
        order,
        limits,
        outputs,
        comparator,
        task: None,
        also: None,
    })
}

/// Longest expected output, MiB, up to which the limit on output grows with it.
const MOST_EXPECTED_MIB: u64 = 512;

/// The limit on output, MiB: `given`, or else `default`, but never so little that the longest expected output does not
/// fit, up to 512 MiB. Without a limit given there is space for other spellings of it: blanks at the ends of lines, or in
/// a function's result the escapes and blanks of Python's JSON.
pub(crate) fn output_mib(
    given: Option<u64>,
    default: u64,
    longest_expected: usize,
    is_value: bool,
) -> u64 {
    let spellings = if is_value { 4 } else { 2 };
    let most = MOST_EXPECTED_MIB << 20;
    let expected = longest_expected as u64;
    match given {
        Some(given) => given.max((expected.min(most) >> 20) + 1),
        None => default.max(((spellings * expected).min(most) >> 20) + 1),
    }
}

/// Places of the tests in the order in which they run. Of equal ones the first goes first.
fn running_order(tests: &[Case]) -> Vec<usize> {
    let size = |&index: &usize| tests[index].input.len();
    let smallest = (0..tests.len()).min_by_key(size);
    let largest = (0..tests.len()).rev().max_by_key(size);
    let mut order: Vec<usize> = smallest
        .into_iter()
        .chain(largest)
        .chain(0..tests.len())
        .collect();
    let mut seen = vec![false; tests.len()];
    order.retain(|&index| !std::mem::replace(&mut seen[index], true));
    order
}

#[cfg(test)]
mod tests {
    use super::{MOST_EXPECTED_MIB, output_mib, running_order};
    use crate::compare::Comparator;
    use crate::compare::value::Value;
    use crate::prepared::Prepared;
    use crate::settings::Overrides;
    use crate::types::case::{Case, CompareSpec, Problem};
    use crate::types::official::Quirks;

    fn prepare(problem: Problem) -> Result<Prepared, String> {
        super::prepare(problem, &Overrides::default(), &Comparator::Official)
            .map_err(|error| error.to_string())
    }

    fn problem(entry_point: Option<&str>, input: &str, output: &str) -> Problem {
        Problem {
            problem_id: "p".to_owned(),
            entry_point: entry_point.map(str::to_owned),
            tests: vec![Case {
                input: input.to_owned(),
                output: output.to_owned(),
            }],
            time_limit_seconds: 6.0,
            memory_limit_mib: 1024,
            compare: None,
            official: Quirks::default(),
        }
    }

    #[test]
    fn functions_are_judged_by_value_and_programs_by_text() {
        let function = prepare(problem(Some("f"), "[1, 2]\n3\n", "[1, 2.0]")).unwrap();
        let value = |text: &[u8]| Value::parse(text).unwrap();
        let expected = function.outputs[0].value().unwrap();
        assert!(value(b"[1.0,2]").same_value(expected));
        assert_eq!(&*function.inputs[0], b"[1, 2]\n3");
        let program = prepare(problem(None, "", "[1, 2]")).unwrap();
        assert!(program.outputs[0].value().is_none());
    }

    #[test]
    fn the_expected_output_fits() {
        assert_eq!(output_mib(None, 16, 100, false), 16);
        assert_eq!(output_mib(None, 16, 20_000_000, false), 39);
        assert_eq!(output_mib(None, 16, 20_000_000, true), 77);
        assert_eq!(output_mib(Some(4), 16, 100, false), 4);
        assert_eq!(output_mib(Some(4), 16, 5 << 20, false), 6);
        assert_eq!(
            output_mib(None, 16, usize::MAX >> 8, false),
            MOST_EXPECTED_MIB + 1
        );
    }

    #[test]
    fn small_then_large_then_the_rest() {
        let order = |inputs: &[&str]| {
            let case = |input: &&str| Case {
                input: (*input).to_owned(),
                output: String::new(),
            };
            running_order(&inputs.iter().map(case).collect::<Vec<_>>())
        };
        assert_eq!(
            order(&["bb", "a", "dddd", "ccc", "e", "ffff"]),
            [1, 2, 0, 3, 4, 5]
        );
        assert_eq!(order(&["same", "same", "same"]), [0, 1, 2]);
        assert_eq!(order(&["one"]), [0]);
        let mut three = problem(None, "22", "b");
        for (input, output) in [("333", "c"), ("1", "a")] {
            three.tests.push(Case {
                input: input.to_owned(),
                output: output.to_owned(),
            });
        }
        let three = prepare(three).unwrap();
        let inputs: Vec<&[u8]> = three.inputs.iter().map(|input| &**input).collect();
        assert_eq!(inputs, [b"1".as_slice(), b"333", b"22"]);
        for (index, expected) in [b"b", b"c", b"a"].into_iter().enumerate() {
            assert_eq!(three.shown(index).expected, expected);
        }
    }

    #[test]
    fn what_is_wrong_with_a_problem_is_named() {
        let message = |problem| prepare(problem).unwrap_err();
        assert_eq!(
            message(problem(Some("f"), "1\nx", "1")),
            "problem p: test 0, input line 2: not a JSON value"
        );
        assert_eq!(
            message(problem(Some("f"), "1", "[1")),
            "problem p: test 0, output: not a JSON value"
        );
        let mut bad = problem(None, "", "");
        bad.time_limit_seconds = 0.0;
        assert!(message(bad).starts_with("problem p: cpu_seconds = 0"));
        let mut empty = problem(None, "", "");
        empty.tests.clear();
        assert!(message(empty).contains("no tests"));
        let mut odd = problem(None, "", "");
        odd.compare = Some(CompareSpec {
            rule: "loose".to_owned(),
            checker: None,
        });
        assert!(message(odd).starts_with("problem p: compare = \"loose\": must be official"));
    }
}
