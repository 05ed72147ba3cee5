"""The identities of a run's measurements: of a context's gap, and of the student's validation.

In: the configuration and what it opened (model folder, environment, problems, assembler). Out: ``measure.Identity``,
whose fields say what changes a number, and nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

from opsd_rs.config import Config, ContextConfig
from opsd_rs.context import Assembler
from opsd_rs.environments import Environment
from opsd_rs.measure import Identity
from opsd_rs.model import weights_id
from opsd_rs.problems import ProblemSet
from opsd_rs.records import Problem
from opsd_rs.training.recipe import tests_split

NOT_JUDGING = ("workers", "level", "require", "allow_unsandboxed", "memory_budget_mib")
"""Options of the grader that decide where programs run, and no verdict."""


class Opened(Protocol):
    """What a measurement is about: a ``Session``, or a ``Subject`` where nothing is started yet."""

    @property
    def config(self) -> Config: ...
    @property
    def model_dir(self) -> str: ...
    @property
    def environment(self) -> Environment: ...
    @property
    def problem_set(self) -> ProblemSet: ...
    @property
    def assembler(self) -> Assembler: ...


class Subject(NamedTuple):
    """What stands before a session is opened."""

    config: Config
    model_dir: str
    environment: Environment
    problem_set: ProblemSet
    assembler: Assembler


def gap_identity(opened: Opened, context: ContextConfig) -> Identity:
    """Of the gap of ``context``."""
    config, problems = opened.config, opened.problem_set
    rollout = config.rollout
    return Identity(
        **_common(opened),
        seed=config.gap_seed,
        problems=_problems(opened, [*problems.train, *problems.full], len(problems.full)),
        decoding=decoding(rollout.temperature, rollout.top_p, rollout.max_tokens),
        n=config.num_gap_groups * rollout.n,
        group_size=rollout.n,
        baseline=config.gap.baseline,
        split=tests_split(config.problems),
        context=_digest([context.sha256, *map(_source, (context.function, context.notes.file))]),
        max_context_tokens=config.teacher.max_context_tokens,
        baseline_samples=times
        if config.gap.baseline == "split" and (times := config.gap.baseline_samples) > 1
        else None,
    )


def eval_identity(opened: Opened) -> Identity:
    """Of the student's validation before training."""
    config, problems = opened.config, opened.problem_set
    evaluation = config.eval
    asked = problems.held_out if evaluation.problems == "held_out" else problems.full
    return Identity(
        **_common(opened),
        seed=config.baseline_seed,
        problems=_problems(opened, asked, len(asked)),
        decoding=decoding(evaluation.temperature, evaluation.top_p, config.rollout.max_tokens),
        n=evaluation.n,
    )


def decoding(temperature: float, top_p: float, max_tokens: int) -> str:
    """How answers are sampled.

    >>> decoding(1.0, 0.95, 128)
    'T=1.0,top_p=0.95,max_tokens=128'
    """
    return f"T={temperature},top_p={top_p},max_tokens={max_tokens}"


class _Common(TypedDict):
    weights: str
    chat: str
    dtype: str
    environment: str
    grader: str


def _common(opened: Opened) -> _Common:
    """What both measurements depend on."""
    config = opened.config
    name = config.environment.name
    own = config.environment.options.model_dump_json()
    judging = {k: v for k, v in config.grader.model_dump(mode="json").items() if k not in NOT_JUDGING}
    return {
        "weights": weights_id(opened.model_dir),
        "chat": _chat(opened.assembler),
        "dtype": config.model.dtype,
        "environment": f"{name} {_digest([own, _source(name) if ':' in name else ''])}",
        "grader": _digest([json.dumps(judging, sort_keys=True)]),
    }


def _chat(assembler: Assembler) -> str:
    chat = assembler.chat
    if (
        chat.prints_date
    ):  # a gap that was measured yesterday is the same gap: take the template's text of one day
        chat = Assembler(chat.path, ContextConfig(), enable_thinking=chat.enable_thinking).chat
    words = json.loads(chat.tokenizer.backend_tokenizer.to_str())
    words = {key: value for key, value in words.items() if key not in ("padding", "truncation")}
    around = [chat.head, chat.tail, chat.trims, chat.eos_ids, chat.enable_thinking]
    return _digest([json.dumps(words, sort_keys=True), json.dumps(around)])


def _problems(opened: Opened, problems: Sequence[Problem], count: int) -> str:
    message = opened.environment.message
    digest = _digest(part for problem in problems for part in (message(problem), _facts(problem)))
    return f"{count} problem{'s' if count != 1 else ''}, {digest}"


@lru_cache(maxsize=4096)
def _facts(problem: Problem) -> str:
    """A hash of everything of a problem that a prompt or a verdict depends on."""
    facts = [
        problem.problem_id,
        problem.starter_code,
        problem.entry_point,
        problem.solution,
        problem.time_limit_seconds,
        problem.memory_limit_mib,
        problem.compare,
    ]
    tests = (json.dumps([test.input, test.output, test.public]) for test in problem.tests)
    return _digest([json.dumps(facts), *tests])


def _source(spec: str) -> str:
    """The content behind ``file.py:name``, ``module:name`` or a file's path: it may change under an unchanged name."""
    place = spec.rpartition(":")[0] or spec
    path = Path(place)
    if place != spec and not place.endswith(".py"):
        found = importlib.util.find_spec(place)
        path = Path(found.origin) if found is not None and found.origin else path
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _digest(parts: Iterable[str]) -> str:
    """Of several texts, none of which can run into the next."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        found.update(b"%d:" % len(data))
        found.update(data)
    return found.hexdigest()[:16]
