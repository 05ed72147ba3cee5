//! Answers as models write them: marks beside text, several blocks, thoughts, no code at all.

use super::super::{NoCode, Rule, extract};
use super::{TWO, by, last};

const PROGRAM: &str = "n = int(input())\nprint(n + 1)";

fn filled(template: &str) -> String {
    template.replace("CODE", PROGRAM)
}

#[test]
fn marks_that_share_their_line_with_text() {
    for template in [
        "<think>\nhm\n</think>\n<answer>```python\nCODE\n```</answer>",
        "Here is the program: ```python\nCODE\n```",
        "**Solution:**```py\nCODE\n```",
        "The code:```\nCODE\n```",
        "Use `n`: ```python\nCODE\n```",
        "So ```python # increments\nCODE\n```",
        "```python\nCODE\n``` This adds one.",
        "```python\nCODE\n```.",
        "```python\nCODE\n```<|im_end|><|endoftext|>",
        "```python\nCODE\n```<|eot_id|>",
        "```python\nCODE\n```python",
        "```python\nCODE\n```python\n",
        "```python\nCODE\nDone.```",
        "```python\nCODE```",
        "```python\nCODE```</answer>",
        "```python\nCODE\nThat is all. ``` Well",
        "````python\nCODE\n```",
        "````python\nCODE\n```\nDone.",
        "```python\nCODE\n````",
        "   ```python\nCODE\n```",
        "<|channel|>final<|message|>```python\nCODE\n```<|return|>",
        "<|channel|>analysis<|message|>Maybe\n```python\nno()\n```<|end|><|start|>assistant<|channel|>final<|message|>\
         ```python\nCODE\n```<|return|>",
        "analysisMaybe ```x``` then.assistantfinal```python\nCODE\n```",
        "```{.python}\nCODE\n```",
        "```python:main.py\nCODE\n```",
        "```Python3\nCODE\n```",
        "``` python\nCODE\n```",
        "~~~python\nCODE\n~~~",
        "```\u{20}\nCODE\n```\u{20}",
        "```python\nCODE",
        "```python\nCODE\n</answer>",
        "```solution.py\nCODE\n```",
    ] {
        let found = last(&filled(template));
        assert_eq!(
            found.as_deref().map(str::trim),
            Some(PROGRAM),
            "{template:?}"
        );
    }
    let windows = filled("x: ```python\nCODE\n``` end").replace('\n', "\r\n");
    assert_eq!(last(&windows).as_deref(), Some(PROGRAM));
}

#[test]
fn lists_and_quotes_hold_blocks() {
    for text in [
        "1. ```python\n   if x:\n       y()\n   ```",
        "- ```python\n  if x:\n      y()\n  ```",
        "> ```python\n> if x:\n>     y()\n> ```",
        "1. ```python\nif x:\n    y()\n```",
    ] {
        assert_eq!(last(text).as_deref(), Some("if x:\n    y()"), "{text:?}");
    }
}

#[test]
fn marks_inside_strings_are_code() {
    for code in [
        "s = '```'",
        "print(\"```\")",
        "s = '''a ``` b'''",
        "x = 1  # ```a``` is",
    ] {
        let text = format!("```python\n{code}\n```");
        assert_eq!(last(&text).as_deref(), Some(code));
    }
}

#[test]
fn a_program_wins_over_tests_examples_and_commands() {
    for (name, behind) in [
        ("test", "Test it:\n```python\nassert f(1) == 2\n```"),
        ("use", "```python\nfrom solution import f\nprint(f(1))\n```"),
        (
            "object",
            "```python\ns = Solution()\nprint(s.add(1, 2))\n```",
        ),
        (
            "test functions",
            "```python\nimport pytest\n\ndef test_one():\n    assert f(1) == 2\n```",
        ),
        (
            "runner",
            "```python\ndef run_all_tests():\n    assert f(1) == 2\nrun_all_tests()\n```",
        ),
        (
            "check",
            "```python\ndef check(candidate):\n    assert candidate(1) == 2\n```",
        ),
        (
            "test class",
            "```python\nimport unittest\nclass F(unittest.TestCase):\n    def test(self): pass\n```",
        ),
        (
            "stream",
            "```python\nimport io, sys\nsys.stdin = io.StringIO('1')\nmain()\n```",
        ),
        ("command", "Run it:\n```bash\npython sol.py < in.txt\n```"),
        ("console", "```console\n$ python sol.py\n2\n```"),
        ("prompt", "```\n$ python sol.py\n2\n```"),
        ("session", "```python\n>>> f(input())\n2\n```"),
        ("example", "For\n```\n3\n1 2 3\n```\nit prints\n```\n6\n```"),
        ("named example", "```text\nn = input()\n```"),
        ("output", "```output\n2\n```"),
        ("json", "```json\n{\"input()\": 1}\n```"),
        ("summary", "```markdown\n# It calls input()\n```"),
        (
            "other language",
            "```cpp\nint main() { scanf(stdin); }\n```",
        ),
        (
            "pseudocode",
            "```\ndef solve the task:\n  read input()\n```",
        ),
        ("broken", "```\nn = int(input(\n```"),
        ("blank", "```python\n\n```"),
    ] {
        let text = filled(&format!("```python\nCODE\n```\n{behind}"));
        assert_eq!(last(&text).as_deref(), Some(PROGRAM), "{name}");
        let text = filled(&format!("```\nCODE\n```\n{behind}"));
        assert_eq!(
            last(&text).as_deref(),
            Some(PROGRAM),
            "{name}, nothing named"
        );
    }
    let reopened = filled("```python\nfirst try(\n```python\nCODE\n```");
    assert_eq!(last(&reopened).as_deref(), Some(PROGRAM));
}

#[test]
fn the_last_program_counts_and_without_one_the_last_that_is_named() {
    let two = filled("```python\ndef f(): pass\n```\nBetter:\n```\nCODE\n```");
    assert_eq!(last(&two).as_deref(), Some(PROGRAM));
    assert_eq!(by("first", &two).as_deref(), Some("def f(): pass"));
    for (text, code) in [
        ("```python\nprint(42)\n```\n```\n42\n```", "print(42)"),
        ("```\nprint(42)\n```\n```\n42\n```", "print(42)"),
        ("```python\nassert f(1)\n```", "assert f(1)"),
        ("```text\nprint(42)\n```", "print(42)"),
        ("```bash\nls\n```\n```\nprint(42)\n```", "print(42)"),
        (
            "```python\nadd = lambda a, b: a + b\n```\n```python\nprint(add(1, 2))\n```",
            "add = lambda a, b: a + b",
        ),
    ] {
        assert_eq!(last(text).as_deref(), Some(code), "{text:?}");
    }
}

#[test]
fn thoughts_in_all_their_forms() {
    let draft = "\n```python\nprint(input())\n```\n";
    for template in [
        "<think>DRAFT</think>ANSWER",
        "DRAFT</think>ANSWER",
        "<think>DRAFT</think>ANSWER<think>DRAFT</think>",
        "<think>a</think><think>DRAFT</think>ANSWER",
        "<think>DRAFT</think>DRAFT</think>ANSWER",
        "ANSWER<think>DRAFT",
        "<think>ANSWER",
        "<thinking>DRAFT</thinking>ANSWER",
        "<|begin_of_thought|>DRAFT<|end_of_thought|>ANSWER",
        "[THINK]DRAFT[/THINK]ANSWER",
        "\u{25c1}think\u{25b7}DRAFT\u{25c1}/think\u{25b7}ANSWER",
    ] {
        let answer = filled("\n```python\nCODE\n```\n");
        let text = template.replace("DRAFT", draft).replace("ANSWER", &answer);
        assert_eq!(last(&text).as_deref(), Some(PROGRAM), "{template}");
    }
}

#[test]
fn every_answer_without_code_says_why() {
    let why = |text, truncated| extract(text, Rule::default(), truncated).unwrap_err();
    for (text, truncated, reason) in [
        (" \n", false, NoCode::Empty),
        ("", true, NoCode::CutBefore),
        ("I cannot.", false, NoCode::NoFence),
        ("I will", true, NoCode::CutBefore),
        ("Use ```x``` here", false, NoCode::NoBlock),
        ("```python\n\n```", false, NoCode::Blank),
        ("```python\nx = (", true, NoCode::CutInside),
        (
            "<think>\n```\nx\n```\n</think>\nSo.",
            false,
            NoCode::InThoughts,
        ),
        ("<think>\n```\nx\n```\nand", true, NoCode::CutBefore),
        (
            "<|channel|>analysis<|message|>```\nx\n```",
            true,
            NoCode::CutBefore,
        ),
    ] {
        assert_eq!(why(text, truncated), reason, "{text:?}");
        assert!(reason.to_string().len() > 10);
    }
    for (rule, text, reason) in [
        ("official", "```python\nx = 1", NoCode::FewLines),
        ("official", "```\n\n```", NoCode::Blank),
        ("longest", "```x```", NoCode::NoBlock),
        (
            "after-think",
            "<think>\n```\nx\n```",
            NoCode::EndlessThoughts,
        ),
        ("official:CodeLLaMaInstruct", TWO, NoCode::ByStyle),
    ] {
        let found = extract(text, Rule::named(rule).unwrap(), false);
        assert_eq!(found, Err(reason), "{rule}");
    }
}

#[test]
fn endless_repetition_is_read_in_no_time() {
    let started = std::time::Instant::now();
    for part in [
        "<think></think>",
        "a ```py\nb ```x c\n",
        "a ```py\nx```\n",
        "```py\n",
        "````py\n",
        "`````\n````\n",
        "<think>",
        "</think>",
        "> ```\n",
        "~~~\n",
        "((((",
        "\"\"\"",
        "input ",
    ] {
        for text in [
            part.repeat(40_000),
            format!("```py\n{}", part.repeat(40_000)),
        ] {
            for rule in ["last", "first", "longest", "official", "after-think"] {
                let _ = by(rule, &text);
            }
        }
    }
    assert!(started.elapsed().as_secs() < 30);
}
