//! What each rule takes from an answer.

mod answers;

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
