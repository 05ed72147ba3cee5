"""Keys whose effect is on problems and on what the teacher reads: two values each, and what they make of one input."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import context_cases
import pytest
import tiny_models
from opsd_rs.config import load_config
from opsd_rs.context import NoteRequest
from opsd_rs.environments import make_environment
from opsd_rs.training.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from opsd_rs.config import Config
    from opsd_rs.records import Rollout

CONTROL = "control.mask=one"


def line(name: str, number: int, **more: Any) -> dict[str, Any]:
    tests = [{"input": f"{i}", "output": f"{i}", "public": i == 0} for i in range(9)]
    return {"problem_id": name, "prompt": f"Say {name}.", "tests": tests, **more}


FILE = [
    line("a", 0, difficulty="easy", platform="leetcode", release="v1", date="2024-01-01", entry_point="f"),
    line("b", 1, difficulty="hard", platform="atcoder", release="v2", date="2025-01-01"),
    line("c", 2, difficulty="easy", platform="atcoder", release="v1", date="2025-06-01"),
    line("d", 3, difficulty="medium", platform="codeforces", release="v3", date="2025-12-01"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("p") / "mine.jsonl"
    text = "".join(json.dumps(x) + "\n" for x in FILE)
    path.write_text(text)
    return path


def config_of(path: Path, *words: str) -> Config:
    return load_config([], [CONTROL, f"problems.path={path}", "seed=3", *words])


def kept(config: Config) -> str:
    found = make_environment(config).problems()
    return "".join(p.problem_id for p in found.full)


@pytest.mark.parametrize(
    ("word", "ids"),
    [
        ("problems.kind=all", "abcd"),
        ("problems.kind=stdin", "bcd"),
        ("problems.limit=2", "ab"),
        ("problems.difficulty=easy,hard", "abc"),
        ("problems.platform=atcoder", "bc"),
        ("problems.release=v1", "ac"),
        ("problems.date_from=2025-01-01", "bcd"),
        ("problems.date_to=2025-06-01", "ab"),
    ],
)
def test_which_problems_stay(path: Path, word: str, ids: str) -> None:
    assert kept(config_of(path, word)) == ids


def test_the_path_names_the_problems(path: Path) -> None:
    assert kept(config_of(path)) != kept(load_config([], [CONTROL]))


def test_which_tests_training_sees(path: Path) -> None:
    def counts(*words: str) -> list[int]:
        return [len(p.tests) for p in make_environment(config_of(path, *words)).problems().train]

    assert counts("problems.split=hash", "problems.train_tests=0.5") == [5] * 4
    assert counts("problems.split=hash", "problems.train_tests=0.25") == [3] * 4
    assert counts("problems.split=none") == [9] * 4
    assert counts("problems.split=sdpo") != [9] * 4


def test_how_many_problems_are_held_out_and_validated(path: Path) -> None:
    found = make_environment(config_of(path, "problems.held_out=0.5")).problems()
    assert found.held_out
    assert found.train
    assert not make_environment(config_of(path)).problems().held_out


def test_the_statement_as_a_message(path: Path) -> None:
    messages = {
        word: (environment := make_environment(config_of(path, f"problems.prompt={word}"))).message(
            environment.problems().full[1]
        )
        for word in ("plain", "sdpo")
    }
    assert messages["plain"] == "Say b."
    assert messages["plain"] in messages["sdpo"] != messages["plain"]


# ---- what the teacher reads ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("m") / "tiny", "qwen3")


ALL = "{preamble}{examples}{prompt}{solution}{attempt}{feedback}{notes}"
FULL = {
    "context.name": "full",
    "context.template": ALL,
    "context.solution": "peer",
    "context.attempt": "own",
    "context.feedback": "own",
    "context.preamble": "You are careful. ",
    "context.preamble_id": "careful-1",
    "context.examples.kind": "fixed",
    "context.examples.num": "1",
    "context.notes.kind": "hints",
    "context.notes.prompt": "Hint at {problem}{solution}",
}
LONG = "word " * 400
EFFECTS: dict[str, tuple[str, str]] = {
    "context.template": (ALL, f"{ALL} Answer."),
    "context.solution_template": ("<s>{solution}", "<t>{solution}"),
    "context.attempt_template": ("<s>{attempt}", "<t>{attempt}"),
    "context.feedback_template": ("<s>{feedback}", "<t>{feedback}"),
    "context.notes_template": ("<s>{notes}", "<t>{notes}"),
    "context.examples_template": ("<s>{examples}", "<t>{examples}"),
    "context.solution": ("peer", "none"),
    "context.solution_from": ("this_problem", "other_problem"),
    "context.solution_corrupt": ("false", "true"),
    "context.attempt": ("own", "none"),
    "context.feedback": ("own", "none"),
    "context.feedback_with_solution": ("always", "never"),
    "context.preamble": ("One. ", "Two. "),
    "context.notes.kind": ("hints", "none"),
    "context.notes.slot": ("notes", "solution"),
    "context.examples.kind": ("fixed", "none"),
    "context.examples.num": ("1", "2"),
    "context.examples.template": ("<s>{problem}{solution}", "<t>{problem}{solution}"),
}


def read(model: Path, changes: dict[str, str], text: str = "A note.") -> list[tuple[str, str]]:
    context = load_config([], [f"{key}={value}" for key, value in {**FULL, **changes}.items()]).context
    return context_cases.read(context_cases.make_assembler(model, context), write=lambda request: text)


@pytest.mark.parametrize("key", EFFECTS)
def test_two_values_read_differently(key: str, model: Path) -> None:
    one, two = EFFECTS[key]
    assert read(model, {key: one}) != read(model, {key: two}), key


def test_what_rows_without_context_read(model: Path) -> None:
    bare = {"context.preamble": "", "context.examples.kind": "none"}
    shown = read(model, {**bare, "context.bare_template": "BARE {prompt}", "context.on_own_success": "bare"})
    assert any("BARE" in text for _, text in shown)
    assert not any("BARE" in text for _, text in read(model, {**bare, "context.on_own_success": "bare"}))


def test_a_static_template_is_a_context_for_every_row(model: Path) -> None:
    words = {"context.solution": "none", "context.feedback": "none", "context.attempt": "none"}
    plain = {
        **words,
        "context.notes.kind": "none",
        "context.examples.kind": "none",
        "context.notes.prompt": "",
    }
    template = {"context.template": "Be brief. {prompt}", "context.preamble": ""}
    rows = {
        static: [status for status, _ in read(model, {**plain, **template, "context.static": static})]
        for static in ("true", "false")
    }
    assert rows["true"] != rows["false"]


def test_a_success_without_context_stays_or_goes(model: Path) -> None:
    words = {
        "context.solution": "none",
        "context.notes.kind": "none",
        "context.notes.prompt": "",
        "context.examples.kind": "none",
        "context.preamble": "",
    }
    found = {
        value: [status for status, _ in read(model, {**words, "context.feedback_on_success": value})]
        for value in ("bare", "drop")
    }
    assert found["bare"] != found["drop"]


def test_names_of_a_context_and_its_preamble(model: Path) -> None:
    context = load_config([], [f"{key}={value}" for key, value in FULL.items()]).context
    again = context.model_copy(update={"name": "other"})
    assert (context.name, context.preamble_id) == ("full", "careful-1")
    assert context.sha256 != again.sha256


def with_text(change: Callable[[str], str]) -> list[Rollout]:
    """The rollouts, their text changed."""
    return [dataclasses.replace(r, text=change(r.text)) for r in context_cases.ROLLOUTS]


@pytest.mark.parametrize("section", ["solution", "attempt", "feedback", "notes", "examples"])
def test_a_sections_bound_cuts_it(section: str, model: Path) -> None:
    long = {
        "context.solution_template": f"<s>{LONG}{{solution}}",
        "context.examples.template": "{problem}{solution}" + LONG,
    }
    grades = [dataclasses.replace(g, feedback=LONG) for g in context_cases.GRADES]
    rollouts = with_text(lambda text: f"{text} {LONG}")

    def tokens(bound: str) -> int:
        words = {**FULL, **long, f"context.section_tokens.{section}": bound}
        context = load_config([], [f"{key}={value}" for key, value in words.items()]).context
        assembler = context_cases.make_assembler(model, context, max_context_tokens=20_000)
        requests = assembler.note_requests(rollouts, grades, context_cases.PROBLEMS)
        notes = assembler.notes_from(
            requests, [LONG for _ in requests], rollouts, grades, context_cases.PROBLEMS, None
        )
        found = assembler.teacher_contexts(rollouts, grades, context_cases.PROBLEMS, notes)
        return sum(len(context.prompt_ids) for context in found)

    assert tokens("40") < tokens("none")


def requests_of(model: Path, changes: dict[str, str]) -> list[NoteRequest]:
    context = load_config([], [f"{key}={value}" for key, value in {**FULL, **changes}.items()]).context
    assembler = context_cases.make_assembler(model, context)
    return assembler.note_requests(context_cases.ROLLOUTS, context_cases.GRADES, context_cases.PROBLEMS)


def test_what_the_model_is_asked_to_write(model: Path) -> None:
    base = requests_of(model, {})
    assert base
    other = requests_of(model, {"context.notes.prompt": "Another {problem}{solution}"})
    assert [r.prompt_ids for r in base] != [r.prompt_ids for r in other]
    assert len(requests_of(model, {"context.notes.scope": "per_rollout"})) != len(base)
    reference = requests_of(model, {"context.notes.solution": "reference"})
    assert [r.prompt_ids for r in reference] != [r.prompt_ids for r in base]


def test_leaks_are_stripped_flagged_or_left(model: Path) -> None:
    leak = "Do this:\n```python\ndef add(a, b):\n    return a + b\n```\nso."
    texts = {
        rule: [
            text
            for _, text in read(model, {"context.notes.leak_check": rule, "context.solution": "none"}, leak)
        ]
        for rule in ("strip", "flag", "off")
    }
    assert texts["strip"] != texts["flag"] == texts["off"]


def test_thoughts_in_what_is_shown(model: Path) -> None:
    shown = {}
    for strip in ("true", "false"):
        words = {
            **FULL,
            "context.strip_think": strip,
            "context.notes.kind": "none",
            "context.notes.prompt": "",
        }
        context = load_config([], [f"{key}={value}" for key, value in words.items()]).context
        assembler = context_cases.make_assembler(model, context)
        thinking = with_text(lambda text: f"<think>secret</think>{text}")
        found = assembler.teacher_contexts(thinking, context_cases.GRADES, context_cases.PROBLEMS, None)
        shown[strip] = any("secret" in assembler.chat.text_of(c.prompt_ids) for c in found)
    assert shown == {"true": False, "false": True}


def test_thinking_and_the_date_are_the_chat_templates(model: Path, tmp_path: Path) -> None:
    dated = tmp_path / "dated"
    shutil.copytree(model, dated)
    template = (dated / "chat_template.jinja").read_text()
    (dated / "chat_template.jinja").write_text(
        "<|im_start|>system\n{{ strftime_now('%d %B %Y') }}<|im_end|>\n" + template
    )

    def prompt(folder: Path, *words: str) -> str:
        prepared = prepare(load_config([], [CONTROL, f"model.path={folder}", "problems.limit=1", *words]))
        return prepared.assembler.chat.text_of(
            prepared.assembler.student_prompt(prepared.problem_set.full[0])
        )

    assert "<think>" in prompt(model, "model.enable_thinking=false")
    assert "<think>" not in prompt(model, "model.enable_thinking=true")
    assert "31 January 2026" in prompt(dated, "model.chat_date=2026-01-31")


def test_the_teachers_prompt_is_bounded(model: Path) -> None:
    words = {**FULL, "context.notes.kind": "none", "context.notes.prompt": ""}
    context = load_config([], [f"{key}={value}" for key, value in words.items()]).context

    def longest(bound: int) -> int:
        assembler = context_cases.make_assembler(model, context, max_context_tokens=bound)
        found = assembler.teacher_contexts(
            with_text(lambda text: f"{text} {LONG}"), context_cases.GRADES, context_cases.PROBLEMS, None
        )
        return max(len(c.prompt_ids) for c in found)

    assert longest(4096) > 400 >= longest(400)
