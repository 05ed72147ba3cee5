"""Problems: from a file to what each step draws. Read, filter, divide the tests, hold some out, draw.

In: ``primer`` (built in), our own jsonl or LiveCodeBench's. Out: frozen problems. Every choice that looks random
is a rank by hash of (purpose, seed, problem), so that it depends on neither the process nor its history: a
resumed run draws what an uninterrupted one would have drawn. The exception is the ``sdpo`` split, which repeats the
published one to the index.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from opsd_rs.base import write_whole
from opsd_rs.config import ProblemsConfig
from opsd_rs.errors import BadInput
from opsd_rs.problems import livecodebench, ours
from opsd_rs.problems.files import UNSUPPORTED, read
from opsd_rs.problems.filters import Filters
from opsd_rs.records import Case, Problem

Split = Literal["hash", "sdpo", "none"]


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """The problems of one run. ``train`` and ``full`` hold the same problems in the same order."""

    train: list[Problem]
    """With the tests that training may see."""
    full: list[Problem]
    """With all their tests, for validation."""
    held_out: list[Problem]
    """Problems that training never sees, with all their tests."""
    num_read: int
    """Problems read before filtering."""
    dropped: Mapping[str, int]
    """How many problems each filter took, each counted at the first that did."""
    notes: tuple[str, ...] = ()
    """Lines that the user should see once."""


# ---- dividing and drawing ------------------------------------------------------------------------


def split_all(
    problems: Sequence[Problem], *, split: Split, fraction: float = 0.5, seed: int = 0
) -> list[tuple[Problem, Problem]]:
    """Divide each problem's tests: per problem, what training sees and what validation runs.

    ``none``: both see all. ``hash``: training keeps the public tests and ``max(1, int(fraction * n))`` of the
    n private ones, by a rank that depends on seed, problem and test only; validation runs all. ``sdpo``: the
    published split (SDPO, ``data/split_tests.py``): private tests only, one draw after another from numpy's
    generator seeded with 0, so that it depends on the order of the problems; validation runs all private ones.

    :raises BadInput: ``sdpo`` on a problem without private tests
    """
    if split == "none":
        return [(problem, problem) for problem in problems]
    if split == "hash":
        return [(_hashed(problem, fraction, seed), problem) for problem in problems]
    import numpy as np

    generator = np.random.RandomState(0)  # numpy's legacy stream is frozen, so these indices stay
    pairs = []
    for problem in problems:
        private = [test for test in problem.tests if not test.public]
        if not private:
            raise BadInput(
                f"problems.split: {problem.problem_id} has no private test, sdpo draws from those: take hash"
            )
        count = max(1, int(len(private) * fraction))
        chosen = sorted(generator.choice(len(private), size=count, replace=False))
        pairs.append((_with(problem, [private[index] for index in chosen]), _with(problem, private)))
    return pairs


def split_tests(
    problem: Problem, *, split: Split, fraction: float = 0.5, seed: int = 0
) -> tuple[Problem, Problem]:
    """:func:`split_all` of one problem; under ``sdpo`` as if it were the first of its list."""
    return split_all([problem], split=split, fraction=fraction, seed=seed)[0]


def hold_out(problems: Sequence[Problem], fraction: float, seed: int) -> tuple[list[Problem], list[Problem]]:
    """Problems to train on and problems held out, each in file order.

    A problem's side depends on its id and the seed only, never on which others are there; so the held-out
    share is ``fraction`` in expectation.

    :raises BadInput: ``fraction`` lies between 0 and 1 and yet one side is empty
    """
    sides: tuple[list[Problem], list[Problem]] = ([], [])
    for problem in problems:
        sides[_unit("hold-out", seed, problem.problem_id) < fraction].append(problem)
    if 0 < fraction < 1 and not (sides[0] and sides[1]):
        raise BadInput(
            f"problems.held_out: {fraction} of {len(problems)} problems leaves one side empty: "
            "take another share or problems.split_seed, or more problems"
        )
    return sides


def draw(problems: Sequence[Problem], step: int, prompts_per_step: int, seed: int) -> list[Problem]:
    """The problems of one step: shuffled epochs without replacement, a part-batch at the end left out.

    A pure function of its arguments, so that a resumed run needs no state.

    :param step: outer step, from 0
    :raises BadInput: fewer problems than ``prompts_per_step``
    """
    steps_per_epoch = len(problems) // prompts_per_step
    if steps_per_epoch == 0:
        raise BadInput(
            f"train.prompts_per_step: {prompts_per_step} is more than the {len(problems)} training problems: "
            f"take at most {len(problems)}"
        )
    epoch, place = divmod(step, steps_per_epoch)
    shuffled = sorted(problems, key=lambda problem: _rank("draw", seed, epoch, problem.problem_id))
    return shuffled[place * prompts_per_step : (place + 1) * prompts_per_step]


def from_config(config: ProblemsConfig, *, progress: Callable[[str], None] | None = None) -> ProblemSet:
    """Read, filter, divide and hold out as the configuration says.

    ``split_seed`` moves the ``hash`` split and the held-out side, never the ``sdpo`` split.

    :raises BadInput: see :func:`load`, :func:`split_all`, :func:`hold_out`
    """
    filters = Filters(
        config.kind, config.difficulty, config.platform, config.release, config.date_from, config.date_to,
        config.limit,
    )  # fmt: skip
    problems, num_read, dropped = read(config.path, filters, progress=progress)
    pairs = split_all(problems, split=config.split, fraction=config.train_tests, seed=config.split_seed)
    apart = {problem.problem_id for problem in hold_out(problems, config.held_out, config.split_seed)[1]}
    notes = []
    if dropped[UNSUPPORTED]:
        notes.append(
            f"{config.path}: {dropped[UNSUPPORTED]} of {num_read} rows cannot be graded and are left out: "
            "`opsd-rs data check` names each"
        )
    window = (config.date_from, config.date_to) == livecodebench.PUBLISHED_WINDOW
    if window and config.limit is None and len(problems) != livecodebench.PUBLISHED_COUNT:
        notes.append(
            f"{config.path}: {len(problems)} problems from {config.date_from} to before {config.date_to}; "
            f"the published runs have {livecodebench.PUBLISHED_COUNT}"
        )
    return ProblemSet(
        train=[train for train, full in pairs if full.problem_id not in apart],
        full=[full for _, full in pairs if full.problem_id not in apart],
        held_out=[full for _, full in pairs if full.problem_id in apart],
        num_read=num_read,
        dropped=dict(dropped),
        notes=tuple(notes),
    )


def _hashed(problem: Problem, fraction: float, seed: int) -> Problem:
    private = [index for index, test in enumerate(problem.tests) if not test.public]
    ranked = sorted(private, key=lambda index: _rank("tests", seed, problem.problem_id, index))
    kept = set(ranked[: max(1, int(len(private) * fraction))])
    return _with(problem, [test for index, test in enumerate(problem.tests) if test.public or index in kept])


def _with(problem: Problem, tests: Sequence[Case]) -> Problem:
    return dataclasses.replace(problem, tests=tuple(tests))


def _rank(*parts: str | int) -> bytes:
    """A rank that looks random and never changes; JSON separates the parts."""
    return blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def _unit(*parts: str | int) -> float:
    """A number in [0, 1) from the same hash."""
    return int.from_bytes(_rank(*parts)[:6], "big") / 2**48


# ---- writing and describing ----------------------------------------------------------------------


def dump(problems: Sequence[Problem], path: str | Path) -> None:
    """Write our own jsonl, whole or not at all; ``load`` gives the same problems back."""
    write_whole(Path(path), b"".join(map(ours.format_line, problems)))


def describe(problems: Sequence[Problem] | ProblemSet | ProblemsConfig) -> dict[str, Any]:
    """What there is, as plain values to print: counts by kind, difficulty, platform, release, dates, tests."""
    if isinstance(problems, ProblemsConfig):
        problems = from_config(problems)
    if isinstance(problems, ProblemSet):
        sides = {"train": len(problems.full), "held_out": len(problems.held_out), "read": problems.num_read}
        extra = {**sides, "dropped": dict(problems.dropped), "notes": list(problems.notes)}
        return {**describe([*problems.full, *problems.held_out]), **extra}
    dates = sorted(problem.date for problem in problems if problem.date)
    counts = sorted(len(problem.tests) for problem in problems)
    public = sum(test.public for problem in problems for test in problem.tests)
    return {
        "count": len(problems),
        "kinds": dict(sorted(Counter(problem.kind for problem in problems).items())),
        **{
            key: dict(sorted(Counter(getattr(problem, name) or "none" for problem in problems).items()))
            for key, name in (
                ("difficulties", "difficulty"),
                ("platforms", "platform"),
                ("releases", "release"),
            )
        },
        "dates": {"first": dates[0], "last": dates[-1]} if dates else {},
        "tests": {
            "total": sum(counts),
            "public": public,
            "min": counts[0] if counts else 0,
            "median": counts[len(counts) // 2] if counts else 0,
            "max": counts[-1] if counts else 0,
        },
        "with_solution": sum(problem.solution is not None for problem in problems),
    }
