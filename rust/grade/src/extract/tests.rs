//! Answers as models write them, and what each rule takes from them.

use super::{NoCode, Rule, extract};

const TWO: &str = "First:\n```python\nlong = 'abcdefgh'\n```\nThen\n```\nx = 1\n```\nDone.";

fn by(rule: &str, text: &str) -> Option<String> {
    extract(text, Rule::named(rule).unwrap(), false).ok()
}

fn last(text: &str) -> Option<String> {
    by("last", text)
}

#[test]
fn three_rules_on_two_blocks() {
    assert_eq!(
        last(TWO).as_deref(),
        Some("long = 'abcdefgh'"),
        "Python is named"
    );
    assert_eq!(by("longest", TWO).as_deref(), Some("long = 'abcdefgh'\n"));
    assert_eq!(by("official", TWO).as_deref(), Some("x = 1"));
}

#[test]
fn no_code() {
    for text in ["", "x = 1", "```x = 1```", "```\n\n```"] {
        assert_eq!(last(text), None, "{text:?}");
        assert_eq!(by("official", text), None, "{text:?}");
    }
}

#[test]
fn the_end_of_an_answer_closes_its_last_block_unless_it_was_cut() {
    let cut = |text| extract(text, Rule::default(), true);
    let open = "```py\nx = 1\n```\n```py\nn = input()\nprint(n)";
    assert_eq!(last(open).as_deref(), Some("n = input()\nprint(n)"));
    assert_eq!(
        cut(open).as_deref(),
        Ok("x = 1"),
        "what was closed before the cut counts"
    );
    assert_eq!(last("```python\nx = 1").as_deref(), Some("x = 1"));
    assert_eq!(cut("```python\nx = 1"), Err(NoCode::CutInside));
    let tokens = "```python\nx = 1\n<|im_end|><|endoftext|>";
    assert_eq!(
        last(tokens).as_deref(),
        Some("x = 1\n"),
        "an end token is no code"
    );
}

#[test]
fn indented_tilde_and_longer_fences() {
    assert_eq!(
        last("1. so:\n   ```python\n   if x:\n       y\n   ```").as_deref(),
        Some("if x:\n    y")
    );
    assert_eq!(
        last("~~~python\ns = '''\n```\n'''\n~~~").as_deref(),
        Some("s = '''\n```\n'''")
    );
    assert_eq!(
        last("````\n```\nx\n```\n````").as_deref(),
        Some("```\nx\n```")
    );
    assert_eq!(
        last("```python \r\nx = 1\r\n```\r\n").as_deref(),
        Some("x = 1")
    );
}

#[test]
fn thoughts_are_not_the_answer() {
    assert_eq!(last("<think>\n```\ndraft\n```\n</think>\nNo code."), None);
    assert_eq!(
        last("<think>```\n</think>\n```python\nx = 1\n```").as_deref(),
        Some("x = 1")
    );
}

#[test]
fn surprises_kept_from_the_others() {
    assert_eq!(
        by("longest", "```c++\nx\n```\n"),
        None,
        "the pattern wants a word"
    );
    assert_eq!(
        by("official", "```\na\n```\nprose\n```\nb").as_deref(),
        Some("prose"),
        "an unclosed last block gives the prose before it"
    );
}

#[test]
fn official_styles() {
    for (text, code) in [
        ("```python\nx = 1\n```", Some("x = 1")),
        ("```\na\n```\nprose\n```\nb", Some("prose")),
        ("```\na\n```\nb\n```", Some("b")),
        ("```python\ns = '```'\n```", None),
        ("```print(1)```", None),
        ("~~~\nx = 1\n~~~", None),
        ("```python\nx = 1", None),
        ("> ```py\n> x = 1\n> ```", Some("> x = 1")),
        ("```\r\nx = 1\r\n```\r\n", Some("x = 1\r")),
    ] {
        assert_eq!(by("official", text).as_deref(), code, "{text:?}");
    }
    let text = "\u{a0}\x1f x = 1\n\u{3000}";
    assert_eq!(by("official:GenericBase", text).as_deref(), Some("x = 1"));
    assert_eq!(by("official:GenericBase", " \n"), None);
    assert_eq!(by("official:CodeLLaMaInstruct", TWO), None);
}

#[test]
fn first_of_all_blocks() {
    assert_eq!(by("first", TWO).as_deref(), Some("long = 'abcdefgh'"));
    assert_eq!(
        by("first", "```\n\n```\n```\nx = 1\n```").as_deref(),
        Some("x = 1"),
        "a blank block is none"
    );
    assert_eq!(
        by(
            "first",
            "<think>\n```\ndraft\n```\n</think>\n```\nx = 1\n```"
        )
        .as_deref(),
        Some("x = 1")
    );
}

#[test]
fn thoughts_are_cut_off_for_any_rule_and_must_end() {
    let thoughts = "<think>\n```py\nlonger draft\n```\n</think>\n```py\nx = 1\n```\n";
    for rule in [
        "after-think",
        "after-think:last",
        "after-think:first",
        "after-think:official",
    ] {
        assert_eq!(by(rule, thoughts).as_deref(), Some("x = 1"), "{rule}");
    }
    assert_eq!(by("longest", thoughts).as_deref(), Some("longer draft\n"));
    assert_eq!(
        by("after-think:longest", thoughts).as_deref(),
        Some("x = 1\n")
    );
    assert_eq!(
        by("after-think:official:GenericBase", "hm</think>\nx = 1").as_deref(),
        Some("x = 1")
    );
    for endless in [
        "<think>\n```py\nx = 1\n```",
        "<think></think><think>\n```py\nx = 1\n```",
    ] {
        assert_eq!(by("after-think", endless), None, "{endless:?}");
    }
    assert_eq!(
        by("after-think", "```py\nx = 1\n```").as_deref(),
        Some("x = 1")
    );
}

#[test]
fn names_go_both_ways() {
    for name in [
        "last",
        "first",
        "official:GenericBase",
        "after-think:longest",
    ] {
        let rule = Rule::try_from(name.to_owned()).unwrap();
        assert_eq!(String::from(rule), name);
    }
    for name in [
        "Last",
        "official:Claude",
        "after-think:",
        "after-thinklast",
        "",
    ] {
        assert!(Rule::named(name).is_none(), "{name}");
    }
}

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
