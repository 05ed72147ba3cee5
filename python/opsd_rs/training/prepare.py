"""What can be known before anything is started: the model's files, the problems, their prompts, the contexts.

It loads no weights and no engine, so ``--check`` and ``--dry-run`` stop here and a run begins here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from opsd_rs.config import Config, ContextConfig
from opsd_rs.context import Assembler
from opsd_rs.environments import Environment, make_environment
from opsd_rs.errors import BadInput
from opsd_rs.model import check_model_files, facts, local_folder, resolve
from opsd_rs.problems import ProblemSet
from opsd_rs.records import Problem


@dataclass
class Prepared:
    """What a session is opened with."""

    model_dir: str
    environment: Environment
    problem_set: ProblemSet
    prompt_tokens: Mapping[str, int]
    """The length of each problem's prompt, problems left out included."""
    left_out: Mapping[str, int]
    """Those whose prompt is too long, with its length; they are not in ``problem_set``."""
    assembler: Assembler
    notes: Sequence[str]
    """Lines for people."""


def prepare(config: Config) -> Prepared:
    """Read what ``config`` names, as far as that needs no weights.

    :raises BadInput: a model folder, tokenizer, chat template, problem file or context that cannot be used
    """
    model_dir = local_folder(resolve(config.model.path))
    check_model_files(Path(model_dir))
    environment = make_environment(config)
    problem_set = environment.problems()
    assembler = make_assembler(config, environment, model_dir, config.context, problem_set.train)
    assembler.assert_generation_header()
    lengths = prompt_lengths(problem_set, assembler)
    limit, key = longest_prompt(config, model_dir)
    left_out = {name: length for name, length in lengths.items() if length > limit}
    if left_out:
        problem_set = without(problem_set, left_out, config, key)
        assembler = make_assembler(config, environment, model_dir, config.context, problem_set.train)
    notes = list(problem_set.notes)
    if assembler.chat.prints_date:
        day = assembler.chat.date
        notes.append(f"the chat template prints today's date: {day} for all of this run (model.chat_date)")
    return Prepared(model_dir, environment, problem_set, lengths, left_out, assembler, notes)


def dated(config: Config) -> Config:
    """``config`` with today's date for chat templates, where it names none; what a run then keeps for its resumes."""
    if config.model.chat_date is not None:
        return config
    model = config.model.model_copy(update={"chat_date": datetime.now(UTC).date().isoformat()})
    return config.model_copy(update={"model": model})


def prompt_lengths(problem_set: ProblemSet, assembler: Assembler) -> dict[str, int]:
    """Tokens of each problem's prompt."""
    return {
        problem.problem_id: len(assembler.student_prompt(problem))
        for problem in (*problem_set.full, *problem_set.held_out)
    }


def longest_prompt(config: Config, model_dir: str) -> tuple[int, str]:
    """The longest prompt that is sampled from, and what bounds it: the key, or the model, which must add a token."""
    asked, longest = config.rollout.max_prompt_tokens, facts(model_dir).max_tokens
    if longest is not None and longest - 1 < asked:
        return longest - 1, f"the model's {longest} positions"
    return asked, f"rollout.max_prompt_tokens = {asked}"


def without(problem_set: ProblemSet, left_out: Mapping[str, int], config: Config, bound: str) -> ProblemSet:
    """``problem_set`` without the problems of ``left_out``, and a note that says so.

    :param bound: what their prompts are too long for
    :raises BadInput: nothing is left to train on or to validate
    """
    train, full, held_out = (
        [problem for problem in side if problem.problem_id not in left_out]
        for side in (problem_set.train, problem_set.full, problem_set.held_out)
    )
    if not train or (config.eval.problems == "held_out" and not held_out):
        raise BadInput(
            f"{bound}: no problem is left; the shortest prompt has {min(left_out.values())} tokens"
        )
    total = len(problem_set.full) + len(problem_set.held_out)
    some = ", ".join(list(left_out)[:3]) + (", ..." if len(left_out) > 3 else "")
    note = f"{len(left_out)} of {total} problems are left out, their prompts are longer than {bound}: {some}"
    return dataclasses.replace(
        problem_set,
        train=train,
        full=full,
        held_out=held_out,
        dropped={**problem_set.dropped, "max_prompt_tokens": len(left_out)},
        notes=(*problem_set.notes, note),
    )


def make_assembler(
    config: Config,
    environment: Environment,
    model_dir: str,
    context: ContextConfig,
    pool: Sequence[Problem],
) -> Assembler:
    """An assembler of ``context`` with the run's tokenizer, template and budgets."""
    return Assembler(
        model_dir,
        context,
        enable_thinking=config.model.enable_thinking,
        chat_date=config.model.chat_date,
        max_context_tokens=config.teacher.max_context_tokens,
        prompt_style=environment.message,
        control_mask=config.control.mask,
        pool=pool,
    )
