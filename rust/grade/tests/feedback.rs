//! The feedback text, word for word: what a teacher reads must not change unseen.

use opsd_grade::{Outcome, Shown, Verdict, answer, feedback, no_code};
use opsd_sandbox::Frame;

const SOURCE: &str =
    "import sys\n\ndef solve(n):\n    return 10 // n\n\nprint(solve(int(input())))\n";

/// Tests as (input, expected), one outcome each.
fn text(cases: &[(&str, &str)], outcomes: &[Outcome]) -> String {
    let case = |index: usize| Shown {
        input: cases[index].0.as_bytes(),
        expected: cases[index].1.as_bytes(),
    };
    feedback(&case, outcomes, SOURCE)
}

fn wrong(actual: &str) -> Outcome {
    Outcome {
        actual: answer(actual.as_bytes()),
        actual_bytes: actual.len(),
        ..Outcome::bare(Verdict::WrongAnswer, "")
    }
}

fn raised() -> Outcome {
    let frame = |line, function: &str| Frame {
        line,
        function: function.to_owned(),
    };
    Outcome {
        frames: vec![frame(6, "<module>"), frame(4, "solve")],
        ..Outcome::bare(
            Verdict::RuntimeError,
            "ZeroDivisionError: integer division or modulo by zero",
        )
    }
}

fn accepted() -> Outcome {
    Outcome::bare(Verdict::Accepted, "")
}

#[test]
fn all_accepted_is_silence() {
    assert_eq!(
        text(&[("1", "10"), ("2", "5")], &[accepted(), accepted()]),
        ""
    );
}

#[test]
fn a_runtime_error_comes_before_everything_else() {
    let cases = [("3\n", "4\n"), ("9\n", "1\n"), ("0\n", "0\n")];
    let outcomes = [
        wrong("3\n"),
        Outcome::bare(Verdict::TimeLimit, ""),
        raised(),
    ];
    let expected = "\
Runtime Error
ZeroDivisionError: integer division or modulo by zero
  return 10 // n
Line 4 in solve (Solution.py)
  print(solve(int(input())))
Line 6 in <module> (Solution.py)

Last Executed Input
0";
    assert_eq!(text(&cases, &outcomes), expected);
}

#[test]
fn a_compile_error_is_a_runtime_error_without_input() {
    let outcome = Outcome {
        frames: vec![Frame {
            line: 3,
            function: String::new(),
        }],
        ..Outcome::bare(Verdict::CompileError, "SyntaxError: expected ':'")
    };
    let expected = "\
Runtime Error
SyntaxError: expected ':'
  def solve(n):
Line 3 (Solution.py)";
    assert_eq!(text(&[("0\n", "0\n")], &[outcome]), expected);
}

#[test]
fn limits_share_one_shape() {
    for (verdict, title) in [
        (Verdict::TimeLimit, "Time Limit Exceeded"),
        (Verdict::IdleLimit, "Idle Limit Exceeded"),
        (Verdict::MemoryLimit, "Memory Limit Exceeded"),
        (Verdict::OutputLimit, "Output Limit Exceeded"),
        (Verdict::SecurityViolation, "Security Violation"),
    ] {
        let outcomes = [wrong("1"), Outcome::bare(verdict, "")];
        let expected = format!("{title}\n\nLast Executed Input\n5 6");
        assert_eq!(text(&[("1", "2"), ("5 6\n", "7")], &outcomes), expected);
    }
}

#[test]
fn two_shortest_wrong_answers_keep_their_numbers() {
    let cases = [
        ("a long input, longest of all", "4"),
        ("1\n2\n", "3\n"),
        ("5", "6"),
        ("5 5", "10"),
    ];
    let outcomes = [
        wrong("0"),
        wrong("12"),
        accepted(),
        wrong("Error: not an error\n"),
    ];
    let expected = "\
Test Case 2: Wrong Answer

Input
1
2

Output
12

Expected
3

Test Case 4: Wrong Answer

Input
5 5

Output
Error: not an error

Expected
10";
    assert_eq!(text(&cases, &outcomes), expected);
}

#[test]
fn standard_error_is_shown_below() {
    let outcome = Outcome {
        debug: "n = 3".to_owned(),
        ..wrong("")
    };
    let expected = "\
Test Case 1: Wrong Answer

Input
3

Output


Expected
4

Debug Output
n = 3";
    assert_eq!(text(&[("3", "4")], &[outcome]), expected);
}

#[test]
fn long_texts_are_cut_and_the_expected_output_stays() {
    let input = (0..5000)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join("\n");
    let line = "x".repeat(100_000);
    let found = text(&[(&input, "the answer")], &[wrong(&line)]);
    let expected = format!(
        "\
Test Case 1: Wrong Answer

Input
0
1
2
3
4
5
6
7
... (4992 more lines)

Output
{}...

Expected
the answer",
        "x".repeat(250)
    );
    assert_eq!(found, expected);
}

#[test]
fn never_more_than_two_thousand_characters() {
    let wide = vec!["é".repeat(400); 9].join("\n");
    for outcome in [
        wrong(&wide),
        Outcome {
            debug: answer(wide.as_bytes()),
            ..wrong(&wide)
        },
        Outcome {
            message: wide.clone(),
            ..raised()
        },
        Outcome::bare(Verdict::TimeLimit, ""),
    ] {
        let found = text(&[(&wide, &wide)], std::slice::from_ref(&outcome));
        assert!(found.chars().count() <= 2000, "{}", found.chars().count());
        assert!(found.contains("more lines)"), "{found}");
        if outcome.verdict == Verdict::WrongAnswer {
            assert!(found.contains("\nExpected\n"), "{found}");
        }
    }
}

#[test]
fn infrastructure_faults_are_not_told() {
    assert_eq!(
        text(
            &[("1", "2")],
            &[Outcome::bare(Verdict::InfraError, "broken")]
        ),
        ""
    );
}

#[test]
fn answers_without_code() {
    assert_eq!(
        no_code(false),
        "Incorrect Format\nThe answer holds no code. Put the complete program inside one closed code block that \
         starts with ```python."
    );
    assert_eq!(
        no_code(true),
        "Incorrect Format\nThe answer was cut off at the length limit before a complete code block. Keep the \
         reasoning shorter and close the code block."
    );
}
