"""Who reads what, and in which words."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adding import ADD, CONTEXTS, NAMES, assembler, grade, load, rollout
from opsd_rs.context import Assembler, render_message
from opsd_rs.context.templates import compile_context
from opsd_rs.context.text import check_note, statement, without_thinking
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import TeacherContext

# --- The files and their words -----------------------------------------------------------------------------------


def test_the_contexts_are_there_and_valid() -> None:
    assert sorted(path.stem for path in CONTEXTS.glob("*.toml")) == NAMES
    for name in NAMES:
        context = load(name)
        assert context.name == name
        compile_context(context)


PEER = (
    "Add {two} integers."
    "\nCorrect solution:\n\nprint('{x}')"
    "\nThe following is feedback from your unsuccessful earlier attempt:\n\nTest Case 1: Wrong Answer"
    "\n\nCorrectly solve the original question."
)


@pytest.mark.parametrize(
    ("name", "solution", "feedback", "message"),
    [
        ("paper-2605.30070", "print('{x}')", "Test Case 1: Wrong Answer", PEER),
        ("sdpo", "print('{x}')", "Test Case 1: Wrong Answer", PEER),
        (
            "sdpo",
            None,
            "f",
            "Add {two} integers.\nThe following is feedback from your unsuccessful earlier attempt:\n\nf"
            "\n\nCorrectly solve the original question.",
        ),
        ("peer_solution_feedback", "print('{x}')", "Test Case 1: Wrong Answer", PEER),
        (
            "peer_solution_feedback",
            "s",
            None,
            "Add {two} integers.\nCorrect solution:\n\ns\n\nCorrectly solve the original question.",
        ),
        (
            "feedback",
            None,
            "f",
            "Add {two} integers.\nThe following is feedback from your unsuccessful earlier attempt:\n\nf"
            "\n\nCorrectly solve the original question.",
        ),
        (
            "own_solution_feedback",
            "s",
            None,
            "Add {two} integers.\nCorrect solution:\n\ns\n\nCorrectly solve the original question.",
        ),
        (
            "llm_peer_hints",
            "Sort first.",
            None,
            "Add {two} integers.\nCorrect solution:\n\nSort first.\n\nCorrectly solve the original question.",
        ),
        ("none", None, None, "Add {two} integers."),
    ],
)
def test_messages_equal_sdpos_to_the_byte(
    name: str, solution: str | None, feedback: str | None, message: str
) -> None:
    assert compile_context(load(name)).fill(ADD.prompt, [solution, None, feedback]) == message


def test_the_preamble_stands_before_every_problem() -> None:
    context = load("expert_preamble")
    message = render_message(context, ADD, "plain")
    assert message.startswith(context.preamble + "\n---\nAdd {two} integers.\n")
    assert message.endswith("\nThink step by step first, then write the solution.")
    assert [line for line in context.preamble.splitlines() if line[:2] in {f"{n}." for n in range(1, 10)}][8:]
    assert context.preamble == context.preamble.strip()


def test_sdpos_prompt_asks_for_a_top_level_function() -> None:
    starter = "class Solution:\n    def addTwo(self, a: int, b: List[int]) -> int:\n        "
    text = statement(replace(ADD, starter_code=starter), "sdpo")
    assert "The time limit is 1 second. " in text
    assert text.endswith(
        "```.\n\nAdd {two} integers.\n\nYour solution should have the following signature: "
        "```python\ndef addTwo(a: int, b: List[int]) -> int:\n```"
    )
    assert statement(ADD, "sdpo").endswith("\n\nAdd {two} integers.")
    assert statement(replace(ADD, starter_code=starter), "plain") == ADD.prompt


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"template": "{prompt}"}, "{solution}"),
        ({"template": "{solution}{feedback}"}, "{prompt}"),
        ({"template": "{prompt}{solution}{feedback}{hint}"}, "unknown slot {hint}"),
        ({"solution_template": "{solution"}, "context.solution_template"),
        ({"preamble": "Listen."}, "{preamble}"),
    ],
)
def test_a_faulty_context_is_refused_by_key(changes: dict[str, str], word: str) -> None:
    with pytest.raises(BadInput, match=r"context\.") as caught:
        compile_context(load("peer_solution_feedback", **changes))
    assert word in str(caught.value)


# --- Who reads what ----------------------------------------------------------------------------------------------

ROLLOUTS = [rollout(i, f"<think>thoughts</think>\n\nanswer {i}") for i in (3, 0, 1, 2)]
GRADES = [grade(3, True), grade(0, False, "fb 0"), grade(1, True), grade(2, False, " \n")]
"""Sample order differs from list order; 1 and 3 passed, 2 failed without a word."""


def read(built: Assembler, contexts: list[TeacherContext]) -> list[str]:
    """What each row's teacher reads beyond the problem and the fixed words, by its decoded prompt."""
    student = built.student_prompt(ADD)
    found = []
    for context in contexts:
        text = built.chat.tokenizer.decode(context.prompt_ids)
        words = [word for word in ("fb 0", *(f"answer {i}" for i in range(4))) if word in text]
        found.append("+".join(words))
        assert (context.prompt_ids == student) == (context.status in ("bare", "dropped"))
        assert "thoughts" not in text
    return found


@pytest.mark.parametrize(
    ("name", "changes", "status", "shown"),
    [
        ("none", {}, ["bare"] * 4, ["", "", "", ""]),
        ("feedback", {}, ["bare", "feedback", "bare", "bare"], ["", "fb 0", "", ""]),
        (
            "own_solution_feedback",
            {},
            ["own", "feedback", "own", "bare"],
            ["answer 3", "fb 0", "answer 1", ""],
        ),
        (
            "peer_solution_feedback",
            {},
            ["peer", "peer+feedback", "peer", "peer"],
            ["answer 1", "fb 0+answer 1", "answer 3", "answer 1"],
        ),
        (
            "peer_solution_feedback",
            {"feedback_with_solution": "never"},
            ["peer"] * 4,
            ["answer 1", "answer 1", "answer 3", "answer 1"],
        ),
        (
            "peer_solution_feedback",
            {"on_own_success": "bare"},
            ["bare", "peer+feedback", "bare", "peer"],
            ["", "fb 0+answer 1", "", "answer 1"],
        ),
        ("sdpo", {}, ["peer"] * 4, ["answer 1", "answer 1", "answer 3", "answer 1"]),
        (
            "paper-2605.30070",
            {},
            ["peer", "peer+feedback", "peer", "peer"],
            ["answer 1", "fb 0+answer 1", "answer 3", "answer 1"],
        ),
        (
            "feedback",
            {"feedback_on_success": "drop"},
            ["dropped", "feedback", "dropped", "bare"],
            ["", "fb 0", "", ""],
        ),
        ("reference_free", {}, ["static"] * 4, ["", "", "", ""]),
        ("expert_preamble", {}, ["static"] * 4, ["", "", "", ""]),
    ],
)
def test_who_reads_what(
    qwen: Path, name: str, changes: dict[str, Any], status: list[str], shown: list[str]
) -> None:
    built = assembler(qwen, load(name, **changes))
    contexts = built.teacher_contexts(ROLLOUTS, GRADES, {"add": ADD})
    assert [(c.problem_id, c.sample) for c in contexts] == [("add", 3), ("add", 0), ("add", 1), ("add", 2)]
    assert [c.status for c in contexts] == status
    assert [c.has_context for c in contexts] == [s not in ("bare", "dropped") for s in status]
    assert read(built, contexts) == shown


def test_the_control_keeps_bare_rows_in_the_loss(qwen: Path) -> None:
    contexts = assembler(qwen, load("none"), control_mask="one").teacher_contexts(
        ROLLOUTS, GRADES, {"add": ADD}
    )
    assert [(c.status, c.has_context) for c in contexts] == [("bare", True)] * 4


def test_a_lone_success_has_no_peer_and_an_infrastructure_fault_counts_as_nothing(qwen: Path) -> None:
    built = assembler(qwen, load("peer_solution_feedback"))
    rollouts = [rollout(i, f"answer {i}") for i in range(3)] + [rollout(0, "other", "sub")]
    grades = [grade(0, None, "disk full"), grade(1, True), grade(2, False, "fb"), grade(0, True, "", "sub")]
    problems = {"add": ADD, "sub": replace(ADD, problem_id="sub")}
    contexts = built.teacher_contexts(rollouts, grades, problems)
    assert [c.status for c in contexts] == ["bare", "bare", "peer+feedback", "bare"]


def test_grades_of_other_rollouts_are_refused(qwen: Path) -> None:
    with pytest.raises(OpsdError, match="grade of add/1 beside rollout add/0"):
        assembler(qwen, load("none")).teacher_contexts([rollout(0, "x")], [grade(1, True)], {"add": ADD})


def test_thoughts_are_kept_where_asked(qwen: Path) -> None:
    built = assembler(qwen, load("own_solution_feedback", strip_think=False))
    (context,) = built.teacher_contexts([ROLLOUTS[0]], [GRADES[0]], {"add": ADD})
    assert "<think>thoughts</think>\n\nanswer 3" in built.chat.tokenizer.decode(context.prompt_ids)
    assert without_thinking("a<think>b\n</think>\n\nc<think>d</think>e") == "ace"


# --- Hints -------------------------------------------------------------------------------------------------------

CODE = "Here:\n```python\ndef add(a, b):\n    total = a + b\n    return total\n```"


def test_hints_are_asked_of_the_first_success_and_shown_in_its_place(qwen: Path) -> None:
    built = assembler(qwen, load("llm_peer_hints"))
    rollouts = [rollout(0, "no"), rollout(1, CODE), rollout(2, "later"), rollout(0, "no", "sub")]
    grades = [grade(0, False, "fb"), grade(1, True), grade(2, True), grade(0, False, "fb", "sub")]
    problems = {"add": ADD, "sub": replace(ADD, problem_id="sub")}
    requests = built.note_requests(rollouts, grades, problems)
    assert [(r.problem_id, r.sample) for r in requests] == [("add", 0)]
    asked = built.chat.tokenizer.decode(requests[0].prompt_ids)
    assert ADD.prompt in asked
    assert CODE in asked
    assert "later" not in asked
    assert requests[0].prompt_ids[-len(built.chat.encoder.tail_ids) :] == built.chat.encoder.tail_ids

    notes = built.notes_from(requests, ["Use plus.\n" + CODE], rollouts, grades, problems)
    assert notes is not None
    assert dict(notes.by_row) == {("add", 0): ("Use plus.\nHere:", False)}
    contexts = built.teacher_contexts(rollouts, grades, problems, notes)
    assert [c.status for c in contexts] == ["hints", "hints", "hints", "bare"]
    assert "\nCorrect solution:\n\nUse plus.\nHere:\n\nCorrectly" in built.chat.tokenizer.decode(
        contexts[0].prompt_ids
    )
    nothing = built.notes_from(requests, [CODE.removeprefix("Here:\n")], rollouts, grades, problems)
    assert nothing is not None
    assert dict(nothing.by_row) == {}


def test_a_lone_success_reads_no_hint_of_its_own_answer(qwen: Path) -> None:
    built = assembler(qwen, load("llm_peer_hints"))
    rollouts, grades = [rollout(0, "no"), rollout(1, CODE)], [grade(0, False, "fb"), grade(1, True)]
    requests = built.note_requests(rollouts, grades, {"add": ADD})
    notes = built.notes_from(requests, ["Use plus."], rollouts, grades, {"add": ADD})
    contexts = built.teacher_contexts(rollouts, grades, {"add": ADD}, notes)
    assert [c.status for c in contexts] == ["hints", "bare"]


def test_hints_are_demanded_not_imagined(qwen: Path) -> None:
    with pytest.raises(OpsdError, match="needs hints"):
        assembler(qwen, load("llm_peer_hints")).teacher_contexts(ROLLOUTS, GRADES, {"add": ADD})


def test_copied_code_is_dropped_from_hints_and_quoted_code_is_flagged(qwen: Path) -> None:
    text = "Add them.\n    total = a + b\nThen `total = a + b` is it.\nreturn total"
    checked = check_note(text, [CODE])
    assert checked == ("Add them.\nThen `total = a + b` is it.", ("total = a + b",))
    assert check_note(text, [CODE], strip=False) == (text, ("return total", "total = a + b"))
    assert check_note(text, [CODE], given="Where total = a + b.").leaked == ()
    assert check_note("Unclosed:\n```python\ndef add(a, b):", [CODE]).text == "Unclosed:"
    rollouts, grades = [rollout(0, "no"), rollout(1, CODE)], [grade(0, False, "fb"), grade(1, True)]
    for mode, flags in {"strip": ("leak:solution",), "flag": ("leak:solution",), "off": ()}.items():
        hints = load("llm_peer_hints")
        context = hints.model_copy(update={"notes": hints.notes.model_copy(update={"leak_check": mode})})
        built = assembler(qwen, context)
        requests = built.note_requests(rollouts, grades, {"add": ADD})
        notes = built.notes_from(requests, [text], rollouts, grades, {"add": ADD})
        contexts = built.teacher_contexts(rollouts, grades, {"add": ADD}, notes)
        assert [c.flags for c in contexts] == [flags, ()]


# --- Prompts ---------------------------------------------------------------------------------------------------


def test_showing_a_context_needs_no_model() -> None:
    program = (
        "import sys, opsd_rs.context.templates as c; from opsd_rs.config import ContextConfig;"
        "from opsd_rs import Problem;"
        "print(c.render_message(ContextConfig(), Problem('p', 'Add.', ()), 'plain'));"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'polars')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Add.\n"), done.stderr


def test_shown_text_is_what_the_ids_say(qwen: Path) -> None:
    built = assembler(qwen, load("peer_solution_feedback"))
    rollouts, grades = [rollout(0, "no"), rollout(1, "yes")], [grade(0, False, "fb"), grade(1, True)]
    first = built.teacher_contexts(rollouts, grades, {"add": ADD})[0]
    shown = built.show(ADD, {"solution": "yes", "feedback": "fb"})
    assert built.chat.tokenizer.decode(first.prompt_ids) == unicodedata.normalize("NFC", shown)
    assert "[the whole text of a passing answer]" in built.show(ADD)
