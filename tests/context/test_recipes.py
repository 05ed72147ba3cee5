"""The contexts beyond the paper's six: notes of the model's, experience, examples, references, controls, functions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from context_cases import ADD, GRADES, MUL, PROBLEMS, ROLLOUTS, SUB, make_assembler, read
from opsd_rs import Context
from opsd_rs.base import write_lines, write_table
from opsd_rs.config import ExamplesConfig, config_names, load_context
from opsd_rs.context import NoteCache, case_of_run, diff_previews, lint_context, made_up_case, preview_context
from opsd_rs.context.controls import corrupted
from opsd_rs.context.examples import Bm25, Examples
from opsd_rs.context.sections import View
from opsd_rs.context.templates import compile_context
from opsd_rs.errors import BadInput
from opsd_rs.records import Problem

# --- Files -------------------------------------------------------------------------------------------------------


def test_every_shipped_context_lints_clean_but_the_control() -> None:
    for name in config_names("contexts"):
        stem = name.removeprefix("contexts/")
        assert [finding.level for finding in lint_context(stem)] == (["warning"] if stem == "none" else [])


def test_the_text_of_a_preamble_and_its_version_change_together() -> None:
    """When this fails: give the preamble a new number after its slash, and its hash here."""
    found = {
        c.preamble_id: c.preamble_sha256
        for c in map(load_context, (n.removeprefix("contexts/") for n in config_names("contexts")))
    }
    assert found == {
        "": "",
        "concise/1": "a8d17919af2c0e57",
        "expert-preamble/1": "0cacc123bc6ae072",
        "system-prompt/1": "1c176fa080dee095",
    }


# --- Notes -------------------------------------------------------------------------------------------------------


def test_a_reflection_is_written_for_each_failure_from_its_own_attempt_and_feedback(qwen: Path) -> None:
    assembler = make_assembler(qwen, "erl")
    requests = assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS)
    assert [(r.problem_id, r.sample) for r in requests] == [("add", 0), ("add", 2), ("sub", 0), ("mul", 0)]
    asked = assembler.chat.text_of(requests[1].prompt_ids)
    assert "odd add" in asked
    assert "said of add 2" in asked
    assert "bad add" not in asked
    found = read(assembler, lambda r: f"I erred in {r.problem_id} {r.sample}.")
    assert [status for status, _ in found] == [
        "attempt+reflection+feedback", "bare", "attempt+reflection+feedback",
        "attempt+reflection+feedback", "bare", "attempt+reflection+feedback", "bare",
    ]  # fmt: skip
    text = found[2][1]
    order = [text.index(words) for words in (ADD.prompt, "odd add", "said of add 2", "I erred in add 2.")]
    assert order == sorted(order)


def test_a_critique_stands_beside_the_attempt_without_the_raw_feedback(qwen: Path) -> None:
    found = read(make_assembler(qwen, "rltf_sd"), lambda r: f"Critique of {r.sample}.")
    assert found[2][0] == "attempt+critique"
    assert "Critique of 2." in found[2][1]
    assert "said of add 2" not in found[2][1]
    # Nothing was written: nothing privileged is left, and an attempt alone is no context.
    assert [status for status, _ in read(make_assembler(qwen, "rltf_sd"), lambda r: " ")] == ["bare"] * 7


def test_an_explanation_is_of_the_reference_and_loses_its_code(qwen: Path) -> None:
    assembler = make_assembler(qwen, "opsd_explained")
    requests = assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS)
    assert [(r.problem_id, r.sample) for r in requests] == [("add", 0), ("sub", 0), ("mul", 0)]
    assert "```python\ndef mul(a, b):\n    return a * b\n```" in assembler.chat.text_of(
        requests[2].prompt_ids
    )
    found = read(assembler, lambda r: "It adds.\n```python\ndef add(a, b):\n    return a + b\n```\nSo it is.")
    assert found[0][0] == "reference+explanation"
    assert "Why it works:\n\nIt adds.\n\nSo it is.\n" in found[0][1]
    assert found[1][0] == "reference+explanation"  # who passed learns from the reference too


def test_hints_per_rollout_come_from_another_success(qwen: Path) -> None:
    hints = load_context("llm_peer_hints")
    settings = hints.notes.model_copy(update={"scope": "per_rollout"})
    assembler = make_assembler(qwen, hints.model_copy(update={"notes": settings}))
    requests = assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS)
    assert [(r.problem_id, r.sample) for r in requests] == [("add", 0), ("add", 2), ("sub", 0)]
    assert read(assembler, lambda r: f"Hint {r.sample}.")[2][1].count("Hint 2.") == 1


def test_notes_can_come_from_a_file_of_annotators(qwen: Path, tmp_path: Path) -> None:
    path = tmp_path / "critiques.jsonl"
    write_lines(path, [{"problem_id": "add", "sample": 0, "text": "An annotator's word."}])
    context = load_context("rltf_sd")
    settings = context.notes.model_copy(update={"generator": "file", "file": str(path)})
    assembler = make_assembler(qwen, context.model_copy(update={"notes": settings}))
    assert assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS) == []
    found = read(assembler)
    assert [status for status, _ in found][:3] == ["attempt+critique", "bare", "bare"]
    assert "An annotator's word." in found[0][1]
    path.write_text('{"problem_id": "add"}\n')
    with pytest.raises(BadInput, match=r"critiques\.jsonl:1: expected problem_id and text"):
        read(assembler)


def test_an_unknown_slot_of_a_prompt_is_refused_by_its_key() -> None:
    context = load_context("erl")
    settings = context.notes.model_copy(update={"prompt": "{problem} {reflection}"})
    with pytest.raises(BadInput, match=r"context\.notes\.prompt: unknown slot \{reflection\}"):
        compile_context(context.model_copy(update={"notes": settings}))


# --- References, examples, controls ------------------------------------------------------------------------------


def test_a_reference_is_shown_as_an_answer_to_everybody(qwen: Path) -> None:
    for name in ("sdft", "opsd"):
        found = read(make_assembler(qwen, name))
        assert [status for status, _ in found] == ["reference"] * 6 + ["bare"]
        assert "```python\ndef add(a, b):\n    return a + b\n```" in found[1][1]
    none = {name: replace(p, solution=None) for name, p in PROBLEMS.items()}
    contexts = make_assembler(qwen, "sdft").teacher_contexts(ROLLOUTS, GRADES, none)
    assert {c.status for c in contexts} == {"bare"}


TEXTS = [
    "Return the sum of all numbers in the list.",
    "Reverse the string and return it.",
    "Return the largest number in the list.",
    "Count the vowels in the string.",
    "Return the list sorted.",
]


def test_the_nearest_text_is_found_whatever_the_words() -> None:
    """By hand: "numbers" stands in text 0 alone (9 words of 32), ln(1 + 4.5 / 1.5) / (1 + k1 (1/4 + 3/4 L))."""
    scores = Bm25(TEXTS).scores("numbers")
    length = 9 / (32 / 5)
    assert scores[0] == pytest.approx(math.log(4) / (1 + 1.5 * (0.25 + 0.75 * length)), rel=1e-5)
    assert scores[1:] == [0.0] * 4
    assert Bm25(TEXTS).best("the sum of the list of numbers", 2) == [0, 4]
    for nothing in ("", "?!", "zebra"):
        assert Bm25(TEXTS).best(nothing, 2) == [0, 1]
    assert Bm25(["", "?"]).best("list", 1) == [0]


def test_examples_are_other_problems_nearest_last(qwen: Path) -> None:
    pool = [Problem(f"p{i}", text, (), solution=f"answer {i}") for i, text in enumerate(TEXTS)]
    twin = Problem("twin", TEXTS[0], (), solution="the twin's answer")
    settings = ExamplesConfig(kind="nearest", num=2)
    shown = Examples(settings, [*pool, twin, replace(pool[1], solution=None)], "c").of(pool[0])
    assert shown is not None
    assert "answer 0" not in shown
    assert "twin" not in shown  # the same statement under another name would give the answer away
    assert shown.index("answer 4") < shown.index("answer 2")
    fixed = Examples(ExamplesConfig(kind="fixed", num=2), pool, "c")
    texts = {fixed.of(replace(pool[0], problem_id=f"new {i}", prompt=f"New {i}")) for i in range(4)}
    assert len(texts) == 1
    with pytest.raises(BadInput, match="needs training problems with a solution"):
        Examples(settings, [replace(pool[0], solution=None)], "c")
    found = read(make_assembler(qwen, "retrieved_examples"))
    assert found[0][0] == "examples"
    assert found[0][1].index("def mul") < found[0][1].index(ADD.prompt)
    assert "def add" not in found[0][1]


def test_the_wrong_problem_stands_where_a_peer_would(qwen: Path) -> None:
    peers = read(
        make_assembler(qwen, load_context("peer_solution_feedback").model_copy(update={"feedback": "none"}))
    )
    found = read(make_assembler(qwen, "wrong_problem_solution"))
    assert [status for status, _ in found] == [s.replace("peer", "other_problem") for s, _ in peers]
    assert "good sub" in found[0][1]
    assert "return a + b" not in found[0][1]
    assert "return a + b" in found[3][1]


def test_a_corrupted_solution_differs_in_one_place(qwen: Path) -> None:
    assert "    return a - b\n" in read(make_assembler(qwen, "corrupted_solution"))[0][1]
    for code in ("def f(x):\n    return x < 3\n", "print(input())", "x", "def broken(:\n  return 1 +"):
        assert corrupted(code) != code
        assert corrupted(code) == corrupted(code)
    answer = "Say:\n```\nshort = 1\n```\nand\n```python\ndef long(a):\n    return a and True\n```\nbye 1 + 1"
    damaged = corrupted(answer)
    assert damaged.startswith("Say:\n```\nshort = 1\n```\nand\n```python\ndef long(a):\n")
    assert damaged.endswith("\n```\nbye 1 + 1")


# --- Functions as contexts ---------------------------------------------------------------------------------------


def told(view: View) -> Any:
    """A context of a test: feedback for failures, a word for successes, nothing where the sandbox failed."""
    if view.grade.passed is None:
        return None
    return "Well done." if view.grade.passed else {"feedback": f"{view.grade.feedback} of {len(view.group)}"}


def test_a_function_is_a_context(qwen: Path, tmp_path: Path) -> None:
    found = read(make_assembler(qwen, Context.of(told)))
    assert [status for status, _ in found] == [
        "feedback",
        "notes",
        "feedback",
        "feedback",
        "notes",
        "feedback",
        "bare",
    ]
    assert "earlier attempt:\n\nsaid of add 0 of 3" in found[0][1]
    assert f"{ADD.prompt}\n\nWell done." in found[1][1]

    path = tmp_path / "mine.py"
    path.write_text("def mind(view):\n    return 'Mind ' + view.problem.problem_id\n")
    loaded = Context.load(f"{path}:mind")
    assert loaded.name == "mind"
    assert "Mind sub" in read(make_assembler(qwen, loaded))[3][1]
    file = tmp_path / "mine.toml"
    file.write_text(
        f'[context]\nname = "mine"\nfunction = "{path}:mind"\ntemplate = "{{notes}}{{prompt}}"\n'
        'notes_template = "{notes}\\n"\n'
    )
    assert "Mind sub\nSubtract" in read(make_assembler(qwen, Context.load(file)))[3][1]

    with pytest.raises(BadInput, match="its function gave 'hint'"):
        read(make_assembler(qwen, Context.of(lambda view: {"hint": "x"}, name="odd")))
    for spec in ("nowhere:f", f"{path}:absent", "mine.py:", f"{tmp_path}/no.py:f"):
        with pytest.raises(BadInput, match=r"context\.function = "):
            Context.load(spec if spec.count(":") else f"{spec}:")


def test_a_preview_counts_tokens_and_cuts(qwen: Path) -> None:
    assembler = make_assembler(qwen, "paper-2605.30070", max_context_tokens=400)
    case = made_up_case(ADD, solution="import sys\n" + "x = 1\n" * 300 + "print(x)", feedback="wrong " * 60)
    shown = preview_context(assembler, case, budget=400)
    counts = {row.section: row for row in shown.sections}
    assert shown.status == "peer+feedback"
    assert shown.flags == ("cut:solution", "cut:feedback")
    assert shown.teacher_tokens <= 400
    assert sum(row.tokens for row in shown.sections) == shown.teacher_tokens
    for name, whole in (("solution", case.rollouts[1].text), ("feedback", case.grades[0].feedback)):
        assert f"[... {counts[name].cut_characters} characters cut ...]" in shown.teacher
        assert 0 < counts[name].cut_characters < len(whole)
    other = preview_context(make_assembler(qwen, "sdpo", max_context_tokens=400), case, budget=400)
    assert any(line.startswith("+The following is feedback") for line in diff_previews(other, shown))
    assert diff_previews(shown, shown) == []


BOUNDED = """
[context]
name = "mine"
template = "{prompt}{solution}{feedback}"
solution = "peer"
feedback = "own"
section_tokens = {solution = 60, feedback = 40}
"""


def test_a_context_file_bounds_its_sections_and_a_preview_shows_what_was_cut(
    qwen: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(BOUNDED)
    assert lint_context(str(path)) == []
    assembler = make_assembler(qwen, Context.load(path))
    # The feedback itself holds what looks like a marker: the sandbox cuts long texts too.
    told = "first\n[... 7 characters cut ...]\n" + "wrong answer " * 60
    shown = preview_context(
        assembler, made_up_case(ADD, solution="x = 1\n" * 200, feedback=told), budget=4096
    )
    counts = {row.section: row for row in shown.sections}
    assert shown.flags == ("cut:solution", "cut:feedback")
    assert 50 <= counts["solution"].tokens <= 60
    assert 30 <= counts["feedback"].tokens <= 40
    for name, whole in (("solution", 1200), ("feedback", len(told))):
        assert f"[... {counts[name].cut_characters} characters cut ...]" in shown.teacher
        assert whole - counts[name].cut_characters < 200
    batch = assembler.teacher_batch(ROLLOUTS, GRADES, PROBLEMS)
    assert batch.sections is not None
    assert (batch.sections["feedback"][:, 1] - batch.sections["feedback"][:, 0] <= 40).all()
    wider = make_assembler(qwen, Context.load(path), section_tokens={"feedback": 4000})
    again = preview_context(wider, made_up_case(ADD, solution="x = 1\n" * 200, feedback=told), budget=4096)
    assert again.flags == ("cut:solution",)
    for bounds in ({"feedback": 31}, {"feedback": 0}, {"hint": 40}):
        with pytest.raises(BadInput, match="section_tokens: "):
            make_assembler(qwen, "sdpo", section_tokens=bounds)


def test_a_preview_of_a_run_reads_its_rollouts_and_notes(qwen: Path, tmp_path: Path) -> None:
    rows = [
        {
            "problem_id": r.problem_id, "sample": r.sample, "prompt_ids": list(r.prompt_ids), "completion_ids": [5, 2],
            "logprobs": [-0.1, -0.2], "text": r.text, "truncated": False, "policy_version": 0, "passed": g.passed,
            "verdict": g.verdict, "feedback": g.feedback,
        }
        for r, g in zip(ROLLOUTS, GRADES, strict=True)
    ]  # fmt: skip
    write_table(tmp_path / "rollouts" / "step-000003.parquet", rows)
    note = {"problem_id": "add", "sample": 2, "kind": "reflection", "text": "I was odd."}
    NoteCache(tmp_path).add("erl", 3, [{"key": "k", **note}])
    shown = preview_context(make_assembler(qwen, "erl"), case_of_run(tmp_path, 3, 2, ADD, "erl"), budget=4096)
    assert shown.status == "attempt+reflection+feedback"
    assert "I was odd." in shown.teacher
    assert "odd add" in shown.teacher
    with pytest.raises(BadInput, match="no rollouts of problem mul"):
        case_of_run(tmp_path, 2, 0, MUL, "erl")
    NoteCache(tmp_path).remember("oel", 1, {"mul": "Learned of mul."})
    NoteCache(tmp_path).remember("oel", 3, {"add": "Learned of add.", "sub": "Learned of sub."})
    NoteCache(tmp_path).remember("oel", 4, {"mul": "Learned too late."})
    shown = preview_context(make_assembler(qwen, "oel"), case_of_run(tmp_path, 3, 2, ADD, "oel"), budget=4096)
    assert "wrong):\n\nLearned of mul.\n\nLearned of sub.\n\n---" in shown.teacher
    lines = [
        {"key": str(i), "problem_id": name, "sample": 0, "kind": kind, "text": f"{kind} of {name or 'all'}."}
        for i, (name, kind) in enumerate([("add", "experience"), ("", "merge"), ("add", "merge")])
    ]
    NoteCache(tmp_path).add("oel_merged", 3, lines)
    for problem, text in ((ADD, "merge of add."), (SUB, "merge of all.")):
        case = case_of_run(tmp_path, 3, 0, problem, "oel_merged")
        assert (
            f"wrong):\n\n{text}\n\n---"
            in preview_context(make_assembler(qwen, "oel_merged"), case, budget=4096).teacher
        )


@pytest.mark.parametrize(
    ("text", "level", "key"),
    [
        ('template = "{prompt}"\nsolution = "peer"', "fault", "context.template"),
        ('template = "{prompt}{hint}"', "fault", "context.template"),
        ('templat = "{prompt}"', "fault", ""),
        ('function = "nowhere:f"', "fault", "context.function"),
        ('template = "{prompt}{solution}"\nsolution = "peer"\nsection_tokens = {solution = 31}', "fault", ""),
        ('template = "{prompt}{solution}"\nsolution = "peer"\nsection_tokens = {solutoin = 90}', "fault", ""),
        ('template = "{prompt}{solution}"\nsolution = "peer"\nsection_tokens = {notes = 90}', "warning",
         "context.section_tokens.notes"),
        ('template = "{prompt}{notes}"\nstatic = true', "warning", "context.template"),
        ('template = "{prompt}{feedback}"\nfeedback = "own"\nfeedback_template = "no: {feedback}"', "warning",
         "context.feedback_template"),
        ('template = "<|im_start|>{prompt}"\nstatic = true', "warning", "context.template"),
        ('template = "{prompt}\\nGo. "\nstatic = true', "warning", "context.template"),
        ('template = "{preamble}\\n{prompt}"\npreamble = "Go."\nstatic = true', "warning", "context.preamble_id"),
        ('template = "{prompt}\\nGo."\nstatic = true\non_own_success = "bare"', "warning", "context.on_own_success"),
        ('template = "{notes}\\n{prompt}"\nnotes_template = "{notes}"\n[context.notes]\nkind = "experience"\n'
         'prompt = "{problem}"\nscope = "per_rollout"', "warning", "context.notes.scope"),
        ('template = "{prompt}\\n{notes}"\nnotes_template = "{notes}"\n[context.notes]\nkind = "hints"\n'
         'prompt = "{problem} {experience}"', "warning", "context.notes.prompt"),
        ('template = "{prompt}\\nGo."\nstatic = true\nbare_template = "{prompt}!"', "warning", "context.bare_template"),
    ],
)  # fmt: skip
def test_lint_names_the_key(tmp_path: Path, text: str, level: str, key: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'[context]\nname = "mine"\n{text}\n')
    assert [(found.level, found.key) for found in lint_context(str(path))] == [(level, key)]
