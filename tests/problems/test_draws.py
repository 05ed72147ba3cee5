"""What a run trains on, chosen among its problems: the split of tests, what is held out, the draw of each step."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.errors import BadInput
from opsd_rs.problems import draw
from opsd_rs.problems.sets import hold_out, split_all, split_tests
from opsd_rs.records import Case, Problem
from problem_cases import seeds, some, stdin_problems

# ---- splits --------------------------------------------------------------------------------------


@given(stdin_problems, st.floats(0, 1), seeds)
def test_the_hash_split_parts_the_private_tests(problem: Problem, fraction: float, seed: int) -> None:
    train, full = split_tests(problem, split="hash", fraction=fraction, seed=seed)
    assert full == problem
    assert [test for test in train.tests if test.public] == [test for test in full.tests if test.public]
    num_private = sum(not test.public for test in full.tests)
    expected = max(1, int(fraction * num_private)) if num_private else 0
    assert sum(not test.public for test in train.tests) == expected
    rest = iter(full.tests)
    assert all(test in rest for test in train.tests), "a subsequence, in file order"
    assert dataclasses.replace(train, tests=full.tests) == full


def test_the_hash_split_depends_on_the_problem_and_the_seed_only() -> None:
    many = some(30)
    alone = [split_tests(problem, split="hash", seed=5) for problem in reversed(many)]
    assert list(reversed(alone)) == split_all(many, split="hash", seed=5)
    assert split_all(many, split="hash", seed=6) != split_all(many, split="hash", seed=5)
    assert len({train.tests for train, _ in split_all(many, split="hash")}) > 20


def test_the_hash_split_never_moves() -> None:
    (problem,) = some(1)
    train, _ = split_tests(problem, split="hash", seed=0)
    # The two public tests, and what the first release chose: a run resumed later must see the same tests.
    assert [test.input for test in train.tests] == ["0", "1", "2", "6", "7", "8"]


def test_no_split() -> None:
    many = some(3)
    assert split_all(many, split="none") == [(problem, problem) for problem in many]


def test_the_sdpo_split_is_the_published_one_to_the_index() -> None:
    sizes = [1, 2, 3, 10, 31, 7]
    many = [
        dataclasses.replace(
            problem, tests=(Case("shown", "", public=True), *(Case(str(i), "") for i in range(size)))
        )
        for size, problem in zip(sizes, some(len(sizes)), strict=True)
    ]
    np.random.seed(0)  # as the published script does, on the global generator
    expected = [sorted(np.random.choice(n, size=max(1, int(n * 0.5)), replace=False)) for n in sizes]
    np.random.seed(1)  # ours does not look at it
    pairs = split_all(many, split="sdpo", seed=99)
    assert [[int(test.input) for test in train.tests] for train, _ in pairs] == expected
    for (_, full), size in zip(pairs, sizes, strict=True):
        assert [test.input for test in full.tests] == [str(i) for i in range(size)]


def test_the_sdpo_split_needs_private_tests() -> None:
    with pytest.raises(BadInput, match=r"problems\.split: p0 has no private test, .*: take hash"):
        split_all(some(1, num_tests=2, num_public=2), split="sdpo")


@given(st.floats(0.2, 0.8), seeds)
def test_hold_out_parts_the_problems(fraction: float, seed: int) -> None:
    many = some(60)
    train, held_out = hold_out(many, fraction, seed)
    assert sorted([*train, *held_out], key=many.index) == many
    assert not {problem.problem_id for problem in train} & {problem.problem_id for problem in held_out}
    fewer, apart = hold_out(many[:40], fraction, seed)
    assert fewer == [problem for problem in train if problem in many[:40]]
    assert apart == [problem for problem in held_out if problem in many[:40]]


def test_hold_out_keeps_its_share_and_its_ends() -> None:
    many = some(2000)
    assert hold_out(many, 0.0, 0) == (many, [])
    assert hold_out(many, 1.0, 0) == ([], many)
    assert abs(len(hold_out(many, 0.25, 0)[1]) - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5
    with pytest.raises(BadInput, match=r"problems\.held_out: 0\.01 of 3 problems leaves one side empty"):
        hold_out(some(3), 0.01, 0)


# ---- draws ---------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), seeds, st.integers(0, 3))
def test_an_epoch_draws_each_problem_once(count: int, per_step: int, seed: int, epoch: int) -> None:
    many = some(count)
    steps = count // per_step
    if steps == 0:
        with pytest.raises(
            BadInput, match=rf"train\.prompts_per_step: {per_step} is more than the {count} training"
        ):
            draw(many, 0, per_step, seed)
        return
    drawn = [draw(many, step, per_step, seed) for step in range(epoch * steps, (epoch + 1) * steps)]
    assert all(len(batch) == per_step for batch in drawn)
    ids = [problem.problem_id for batch in drawn for problem in batch]
    assert len(ids) == len(set(ids)) == steps * per_step
    assert count - len(ids) < per_step


def test_a_draw_is_a_pure_function_of_its_arguments() -> None:
    many = some(12)
    first = [draw(many, step, 4, seed=1) for step in range(9)]
    assert [draw(many, step, 4, seed=1) for step in reversed(range(9))] == first[::-1]
    assert [draw(many, step, 4, seed=2) for step in range(9)] != first
    assert first[:3] != first[3:6] != first[6:], "each epoch has its own order"
    code = (
        "from opsd_rs import problems; from opsd_rs.records import Problem;"
        "print([p.problem_id for p in problems.draw([Problem(f'p{i}', '?', ()) for i in range(12)], 7, 4, 1)])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == str([problem.problem_id for problem in first[7]])


def test_a_draw_never_moves() -> None:
    drawn = draw(some(12), 0, 4, seed=0)
    assert [problem.problem_id for problem in drawn] == ["p6", "p10", "p5", "p11"]
