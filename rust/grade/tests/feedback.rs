//! The feedback text, word for word: what a teacher reads must not change unnoticed.

use opsd_grade::{Feedback, Outcome, Shown, Style, Verdict};
use opsd_sandbox::Frame;

const SOURCE: &str =
    "import sys\n\ndef solve(n):\n    return 10 // n\n\nprint(solve(int(input())))\n";

fn sdpo() -> Feedback {
    Feedback::new(Style::Sdpo, 2000)
}

/// Tests as (input, expected), one outcome each, in SDPO's layout.
fn text(cases: &[(&str, &str)], outcomes: &[Outcome]) -> String {
    in_style(sdpo(), cases, outcomes)
}

fn in_style(feedback: Feedback, cases: &[(&str, &str)], outcomes: &[Outcome]) -> String {
    let case = |index: usize| Shown {
        input: cases[index].0.as_bytes(),
        expected: cases[index].1.as_bytes(),
    };
    feedback.text(&case, outcomes, SOURCE)
}

fn wrong(actual: &str) -> Outcome {
    Outcome {
        actual: sdpo().answer(actual.as_bytes()),
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
            debug: sdpo().answer(wide.as_bytes()),
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
        sdpo().no_code(false),
        "Incorrect Format\nThe answer holds no code. Put the complete program inside one closed code block that \
         starts with ```python."
    );
    assert_eq!(
        sdpo().no_code(true),
        "Incorrect Format\nThe answer was cut off at the length limit before a complete code block. Keep the \
         reasoning shorter and close the code block."
    );
}

fn leetcode() -> Feedback {
    Feedback::new(Style::Leetcode, 2000)
}

#[test]
fn people_see_the_first_failure_and_how_many_passed() {
    let cases = [("3\n", "4\n"), ("9\n", "1\n"), ("0\n", "0\n")];
    let not_run = Outcome::bare(Verdict::NotRun, "");
    let told = |outcomes: [Outcome; 3]| in_style(leetcode(), &cases, &outcomes);
    assert_eq!(
        told([accepted(), wrong("7\n"), raised()]),
        "Wrong Answer: 1 of 3 test cases passed\n\nInput\n9\n\nOutput\n7\n\nExpected\n1"
    );
    let remarked = Outcome {
        message: "7 is no square".to_owned(),
        debug: "x = 7".to_owned(),
        ..wrong("7\n")
    };
    assert_eq!(
        told([accepted(), remarked, accepted()]),
        "Wrong Answer: 2 of 3 test cases passed\n\nInput\n9\n\nOutput\n7\n\nExpected\n1\n\nChecker\n\
         7 is no square\n\nDebug Output\nx = 7"
    );
    assert_eq!(
        told([accepted(), accepted(), raised()]),
        "Runtime Error: 2 of 3 test cases passed\n\nZeroDivisionError: integer division or modulo by zero\n  \
         return 10 // n\nLine 4 in solve (Solution.py)\n  print(solve(int(input())))\nLine 6 in <module> \
         (Solution.py)\n\nLast Executed Input\n0"
    );
    assert_eq!(
        told([
            Outcome::bare(Verdict::TimeLimit, ""),
            not_run.clone(),
            not_run.clone()
        ]),
        "Time Limit Exceeded: 0 of 3 test cases passed\n\nLast Executed Input\n3"
    );
    let compile = Outcome::bare(Verdict::CompileError, "SyntaxError: invalid syntax");
    assert_eq!(
        told([not_run.clone(), compile, not_run]),
        "Compile Error\nSyntaxError: invalid syntax"
    );
    assert_eq!(told([accepted(), accepted(), accepted()]), "");
}

#[test]
fn self_repair_has_a_sentence_for_every_verdict() {
    let style = Feedback::new(Style::Lcb, 2000);
    let mut sentences = Vec::new();
    for verdict in [
        Verdict::WrongAnswer,
        Verdict::RuntimeError,
        Verdict::TimeLimit,
        Verdict::IdleLimit,
        Verdict::MemoryLimit,
        Verdict::OutputLimit,
        Verdict::SecurityViolation,
        Verdict::CompileError,
    ] {
        let told = in_style(style, &[("3\n", "4\n")], &[Outcome::bare(verdict, "words")]);
        let first = told.lines().next().unwrap().to_owned();
        assert!(first.starts_with("The program is not correct: "), "{told}");
        assert!(told.contains("words"), "{told}");
        assert_eq!(told.contains("Input: 3"), verdict != Verdict::CompileError);
        sentences.push(first);
    }
    let figures = Outcome::bare(Verdict::TimeLimit, "time_limit: 7.80 s of 6 s");
    let told = in_style(style, &[("3\n", "4\n")], &[figures]);
    assert!(
        !told.contains("7.80"),
        "they differ from run to run: {told}"
    );
    sentences.sort();
    sentences.dedup();
    assert_eq!(sentences.len(), 8, "each verdict its own");
    assert_eq!(
        in_style(style, &[("3\n", "4\n")], &[wrong("5\n")]),
        "The program is not correct: its answer to this test is wrong.\nInput: 3\nGenerated Output: 5\nExpected: 4"
    );
    assert_eq!(style.no_code(true), "The answer holds no program.");
    assert_eq!(in_style(style, &[("", "")], &[accepted()]), "");
}

#[test]
fn no_style_says_nothing() {
    let none = Feedback::new(Style::None, 2000);
    assert_eq!(in_style(none, &[("3", "4")], &[wrong("5")]), "");
    assert_eq!(none.no_code(false), "");
}

#[test]
fn any_budget_is_kept_and_the_expected_output_stays() {
    let wide = vec!["é".repeat(400); 9].join("\n");
    for max_chars in [0, 300, 400, 700, 1500, 2500, 9000] {
        for style in [Style::Leetcode, Style::Sdpo, Style::Lcb] {
            let feedback = Feedback::new(style, max_chars);
            let outcome = Outcome {
                actual: feedback.answer(wide.as_bytes()),
                actual_bytes: wide.len(),
                message: wide.clone(),
                ..Outcome::bare(Verdict::WrongAnswer, "")
            };
            let limit = Outcome::bare(Verdict::TimeLimit, "");
            for outcome in [
                outcome,
                limit,
                Outcome {
                    message: wide.clone(),
                    ..raised()
                },
            ] {
                let told = in_style(feedback, &[(&wide, &wide)], std::slice::from_ref(&outcome));
                let num_chars = told.chars().count();
                assert!(
                    num_chars <= max_chars.max(300),
                    "{style:?} {max_chars}: {num_chars}"
                );
                if outcome.verdict == Verdict::WrongAnswer {
                    assert!(told.contains("Expected"), "{style:?} {max_chars}: {told}");
                }
            }
        }
    }
}
