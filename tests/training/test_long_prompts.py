"""``rollout.max_prompt_tokens``: problems with a longer prompt are left out before the start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from opsd_rs.config import load_config, load_context
from opsd_rs.context import Assembler
from opsd_rs.errors import BadInput
from opsd_rs.problems import ProblemSet
from opsd_rs.records import Case, Problem
from opsd_rs.training.prepare import longest_prompt, prepare, prompt_lengths, without


def problem(name: str, words: int) -> Problem:
    return Problem(name, "add " * words, (Case("1", "1"), Case("2", "2")))


FULL = [problem("short", 3), problem("long", 90), problem("other", 4)]
TRAIN = [Problem(p.problem_id, p.prompt, p.tests[:1]) for p in FULL]
PROBLEMS = ProblemSet(TRAIN, FULL, [problem("held-short", 3), problem("held-long", 99)], 7, {"kind": 2})


@pytest.fixture(scope="module")
def assembler(tmp_path_factory: pytest.TempPathFactory) -> Assembler:
    return Assembler(tiny_models.tiny(tmp_path_factory.mktemp("tiny"), "llama"), load_context("feedback"))


def test_longer_prompts_are_left_out_of_every_side(assembler: Assembler) -> None:
    lengths = prompt_lengths(PROBLEMS, assembler)
    assert lengths["short"] == len(assembler.student_prompt(FULL[0])) < lengths["long"]
    limit = lengths["other"]
    left_out = {name: length for name, length in lengths.items() if length > limit}
    assert set(left_out) == {"long", "held-long"}, "a prompt of exactly so many tokens stays"
    config = load_config([], ["control.mask=one", f"rollout.max_prompt_tokens={limit}"])
    found = without(PROBLEMS, left_out, config, f"rollout.max_prompt_tokens = {limit}")
    assert [p.problem_id for p in found.train] == [p.problem_id for p in found.full] == ["short", "other"]
    assert [len(p.tests) for p in found.train + found.full] == [1, 1, 2, 2]
    assert [p.problem_id for p in found.held_out] == ["held-short"]
    assert found.dropped == {"kind": 2, "max_prompt_tokens": 2}
    assert found.notes == (
        "2 of 5 problems are left out, their prompts are longer than"
        f" rollout.max_prompt_tokens = {limit}: long, held-long",
    )


def test_nothing_left_is_bad_input(assembler: Assembler) -> None:
    shortest = len(assembler.student_prompt(FULL[0]))
    config = load_config([], ["control.mask=one", "rollout.max_prompt_tokens=2"])
    with pytest.raises(BadInput, match=rf"max_prompt_tokens = 2: no problem is left; .* {shortest} tokens"):
        without(PROBLEMS, prompt_lengths(PROBLEMS, assembler), config, "rollout.max_prompt_tokens = 2")
    held_out = ["eval.problems=held_out", "problems.held_out=0.5", "rollout.max_prompt_tokens=20"]
    only_long = ProblemSet(TRAIN, FULL, [PROBLEMS.held_out[1]], 4, {})
    config = load_config([], ["control.mask=one", *held_out])
    with pytest.raises(BadInput, match="no problem is left"):
        without(only_long, {"held-long": 101}, config, "rollout.max_prompt_tokens = 20")


def test_a_prompt_longer_than_the_model_is_left_out_by_name(tmp_path: Path) -> None:
    model = tiny_models.tiny(tmp_path / "m", "llama")  # 1,024 positions
    lines = [
        {"problem_id": name, "prompt": "add " * words, "tests": [{"input": "1", "output": "1"}] * 2}
        for name, words in [("short", 3), ("beyond", 3000)]
    ]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = [
        f"model.path={model}",
        f"problems.path={path}",
        "rollout.max_prompt_tokens=5000",
        "control.mask=one",
    ]
    config = load_config([], words)
    assert longest_prompt(config, str(model)) == (1023, "the model's 1024 positions")
    prepared = prepare(config)
    assert set(prepared.left_out) == {"beyond"}
    assert [p.problem_id for p in prepared.problem_set.full] == ["short"]
    assert any("longer than the model's 1024 positions: beyond" in note for note in prepared.notes)
