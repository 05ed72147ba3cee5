"""``rollout.max_prompt_tokens``: problems with a longer prompt are left out before the start."""

from __future__ import annotations

import pytest
import tiny_models
from opsd_rs.config import load_config, load_context
from opsd_rs.context import Assembler
from opsd_rs.errors import BadInput
from opsd_rs.problems import ProblemSet
from opsd_rs.records import Case, Problem
from opsd_rs.training.session import long_prompts, without


def problem(name: str, words: int) -> Problem:
    return Problem(name, "add " * words, (Case("1", "1"), Case("2", "2")))


FULL = [problem("short", 3), problem("long", 90), problem("other", 4)]
TRAIN = [Problem(p.problem_id, p.prompt, p.tests[:1]) for p in FULL]
PROBLEMS = ProblemSet(TRAIN, FULL, [problem("held-short", 3), problem("held-long", 99)], 7, {"kind": 2})


@pytest.fixture(scope="module")
def assembler(tmp_path_factory: pytest.TempPathFactory) -> Assembler:
    return Assembler(tiny_models.tiny(tmp_path_factory.mktemp("tiny"), "llama"), load_context("feedback"))


def test_longer_prompts_are_left_out_of_every_side(assembler: Assembler) -> None:
    lengths = long_prompts(PROBLEMS, assembler, 0)
    assert lengths["short"] == len(assembler.student_prompt(FULL[0])) < lengths["long"]
    limit = lengths["other"]
    left_out = long_prompts(PROBLEMS, assembler, limit)
    assert set(left_out) == {"long", "held-long"}, "a prompt of exactly so many tokens stays"
    config = load_config([], ["control.mask=one", f"rollout.max_prompt_tokens={limit}"])
    found = without(PROBLEMS, left_out, config)
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
        without(PROBLEMS, long_prompts(PROBLEMS, assembler, 2), config)
    held_out = ["eval.problems=held_out", "problems.held_out=0.5", "rollout.max_prompt_tokens=20"]
    only_long = ProblemSet(TRAIN, FULL, [PROBLEMS.held_out[1]], 4, {})
    config = load_config([], ["control.mask=one", *held_out])
    with pytest.raises(BadInput, match="no problem is left"):
        without(only_long, {"held-long": 101}, config)
