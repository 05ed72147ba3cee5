"""Rules that hold between keys of the configuration, checked before any model is loaded.

In: a ``Config`` whose single values are already valid. Out: faults (the run must not start) and warnings
(it may). Each names the key to change, so that the loader can add the file and line that set it.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from opsd_rs.config.grader import BadOption
from opsd_rs.config.objectives import may_ask_the_self_teacher, objective_weights, tables_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsd_rs.config.tree import Config


class Finding(NamedTuple):
    """One broken rule: the dotted key to change, the reason and the fix.

    >>> Finding("optim.betas", "must lie in [0, 1)").key
    'optim.betas'
    """

    key: str
    text: str


OF_A_START = ("gap.n", "gap.from", "eval.from")
"""Keys whose rules bind a run that starts. One that has begun may be older than the rule, and no longer needs the
tables it began with, so their values in a run folder's ``config.json`` are taken as they are."""


def faults(config: Config) -> list[Finding]:
    """Everything that makes this configuration impossible to run."""
    rules = (_batches, _loss, _objective, _lengths, _problems, _grader, _gap, _tables, _law)
    return [finding for rule in rules for finding in rule(config)]


def warnings(config: Config) -> list[Finding]:
    """What is allowed but rarely intended."""
    return list(_unlikely(config))


def _batches(config: Config) -> Iterator[Finding]:
    train = config.train
    if train.mini_batch_prompts > train.prompts_per_step:
        yield Finding(
            "train.mini_batch_prompts",
            f"{train.mini_batch_prompts} is more than the {train.prompts_per_step} prompts of a step "
            "(train.prompts_per_step)",
        )
    elif train.prompts_per_step % train.mini_batch_prompts:
        yield Finding(
            "train.mini_batch_prompts",
            f"{train.mini_batch_prompts} must divide train.prompts_per_step = {train.prompts_per_step}",
        )
    if config.deepspeed.stage == 0:
        yield Finding(
            "deepspeed.stage",
            "0 is refused: DeepSpeed then keeps no fp32 partitions for the EMA teacher to follow; "
            "use 1, 2 or 3",
        )
    elif config.deepspeed.stage not in (1, 2, 3):
        yield Finding("deepspeed.stage", f"{config.deepspeed.stage} is not a ZeRO stage; use 1, 2 or 3")
    if config.model.compile and config.deepspeed.stage == 3:
        yield Finding(
            "model.compile",
            "true is refused under deepspeed.stage = 3, whose hooks gather weights between the layers' parts; use"
            " stage 1 or 2",
        )
    if config.model.keep_attention and not config.model.gradient_checkpointing:
        yield Finding(
            "model.keep_attention",
            "means nothing without model.gradient_checkpointing = true; set both or none",
        )
    if not all(0.0 <= beta < 1.0 for beta in config.optim.betas):
        yield Finding("optim.betas", f"{list(config.optim.betas)} must both lie in [0, 1)")
    if config.optim.gradient_dtype == "bfloat16" and config.model.dtype != "bfloat16":
        yield Finding(
            "optim.gradient_dtype",
            f'"bfloat16" needs model.dtype = "bfloat16", which is "{config.model.dtype}"',
        )


def _loss(config: Config) -> Iterator[Finding]:
    loss, rollout = config.loss, config.rollout
    if "loss" not in tables_read(config):
        return
    to_sampler = loss.old == "sampler" and loss.is_clip is not None
    if loss.old == "sampler" and loss.rollout_is_clip is not None:
        yield Finding(
            "loss.old",
            'sampler makes is_clip bound the whole ratio now/sampler: set loss.rollout_is_clip = "none"',
        )
    elif rollout.top_p < 1.0 and (loss.rollout_is_clip is not None or to_sampler):
        # The sampler's log-probabilities are those of the cut distribution, the trainer's of the whole one:
        # their ratio would correct for a difference that nucleus sampling made on purpose.
        yield Finding(
            "rollout.top_p",
            f"{rollout.top_p} cannot go with the trainer/sampler ratio: set rollout.top_p = 1.0, "
            'or loss.rollout_is_clip = "none" and loss.old = "trainer"',
        )
    if loss.kind == "jsd" and loss.jsd_alpha in (0.0, 1.0):
        other = "forward_kl" if loss.jsd_alpha == 0.0 else "reverse_kl"
        yield Finding(
            "loss.jsd_alpha", f'{loss.jsd_alpha} makes the divergence 0 everywhere; loss.kind = "{other}"?'
        )


def _objective(config: Config) -> Iterator[Finding]:
    parts, tables = objective_weights(config), tables_read(config)
    if not parts:
        yield Finding(
            "mixture.opsd", "0.0, and so are all other weights: give at least one objective a weight"
        )
    if "opd" in parts and config.opd.teacher is None:
        yield Finding(
            "opd.teacher", 'none: the objective "opd" needs a teacher, a Hugging Face folder or hub name'
        )
    if "grpo" in tables:
        if config.rollout.top_p < 1.0 and config.grpo.rollout_is_clip is not None:
            yield Finding(
                "rollout.top_p",
                f"{config.rollout.top_p} cannot go with the trainer/sampler ratio: set rollout.top_p = 1.0, or"
                ' grpo.rollout_is_clip = "none"',
            )
        if config.rollout.n < 2:
            yield Finding(
                "rollout.n", "1: a group of 1 has no advantage, the objective grpo needs 2 rollouts or more"
            )
    if config.teacher.kind == "trust_region" and config.eval.teacher:
        yield Finding(
            "eval.teacher",
            'true: it needs weights to sample from, and teacher.kind = "trust_region" mixes logits; take another kind'
            " (blend mixes weights)",
        )


def _lengths(config: Config) -> Iterator[Finding]:
    if config.model.chat_date is not None and not _is_date(config.model.chat_date):
        yield Finding("model.chat_date", f'"{config.model.chat_date}" is not an ISO date such as 2025-02-01')
    if config.teacher.max_context_tokens < config.rollout.max_prompt_tokens:
        yield Finding(
            "teacher.max_context_tokens",
            f"{config.teacher.max_context_tokens} cannot hold a problem of "
            f"rollout.max_prompt_tokens = {config.rollout.max_prompt_tokens}, which is never cut",
        )


def _problems(config: Config) -> Iterator[Finding]:
    problems = config.problems
    ends: dict[str, date] = {}
    for name, text in (("date_from", problems.date_from), ("date_to", problems.date_to)):
        if text is None:
            continue
        if _is_date(text):
            ends[name] = date.fromisoformat(text)
        else:
            yield Finding(f"problems.{name}", f'"{text}" is not an ISO date such as 2025-02-01')
    if len(ends) == 2 and ends["date_from"] >= ends["date_to"]:
        yield Finding(
            "problems.date_to", f"{ends['date_to']} must come after date_from = {ends['date_from']}"
        )
    if config.eval.problems == "held_out" and problems.held_out == 0.0:
        yield Finding("eval.problems", '"held_out" needs problems.held_out above 0')


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _gap(config: Config) -> Iterator[Finding]:
    n, group = config.gap.n, config.rollout.n
    if n is not None and n % group:
        yield Finding(
            "gap.n",
            f"{n} is not a multiple of rollout.n = {group}: the gap is measured on whole groups of rollout.n, whose "
            f"answers are each other's peers as in training; take {2 * group} (two groups, the default)",
        )


def _tables(config: Config) -> Iterator[Finding]:
    for key, name, command in (
        ("gap.from", config.gap.from_, "`opsd-rs gap`"),
        ("eval.from", config.eval.from_, "`opsd-rs train`"),
    ):
        if name is not None and not Path(name).is_file():
            yield Finding(key, f"{name}: no such file; {command} writes one, or leave {key} out")


def _law(config: Config) -> Iterator[Finding]:
    if config.law.file is not None and not may_ask_the_self_teacher(config):
        yield Finding(
            "law.file",
            f"{config.law.file}: a forecast is made from the gap to the self-teacher, which the objective"
            f" {config.objective.name} does not ask; leave law.file out",
        )
    if config.law.stop == "off":
        return
    if config.law.file is None:
        yield Finding(
            "law.stop", f'"{config.law.stop}" needs law.file: a run is stopped against its forecast'
        )
    if config.eval.every == 0:
        yield Finding(
            "law.stop", f'"{config.law.stop}" needs validations during the run: set eval.every above 0'
        )


def _grader(config: Config) -> Iterator[Finding]:
    try:
        config.grader.settings()
    except BadOption as error:
        value = json.dumps(getattr(config.grader, error.option))
        yield Finding(f"grader.{error.option}", f"{value}: {error.reason}")


def _unlikely(config: Config) -> Iterator[Finding]:
    context, teacher = config.context, config.teacher
    if not may_ask_the_self_teacher(config):
        yield from _evaluation(config)
        return
    if teacher.kind == "ema" and teacher.rate > 0.5:
        yield Finding(
            "teacher.rate",
            f"{teacher.rate} is the share of the student taken over per step, not a decay; "
            f"did you mean {1.0 - teacher.rate:.4g}?",
        )
    from_peers = "{solution}" in context.notes.prompt and context.notes.solution == "peer"
    if (context.solution == "peer" or from_peers) and config.rollout.n < 2:
        yield Finding("rollout.n", f'1 rollout has no peer, and the context "{context.name}" asks for one')
    kinds = (context.solution, context.feedback, context.notes.kind, context.examples.kind)
    privileged = context.static or bool(context.function) or any(kind != "none" for kind in kinds)
    if not privileged and config.control.mask == "zero":
        yield Finding(
            "control.mask",
            f'"zero" takes every row of the context "{context.name}" out of the loss: nothing would train; '
            'set control.mask = "one" for the control',
        )
    yield from _evaluation(config)


def _evaluation(config: Config) -> Iterator[Finding]:
    evaluation = config.eval
    if evaluation.temperature == 0.0 and evaluation.n > 1:
        yield Finding(
            "eval.n", f"{evaluation.n} samples at eval.temperature = 0 are {evaluation.n} times the same"
        )
