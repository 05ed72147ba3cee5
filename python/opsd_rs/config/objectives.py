"""The keys of the objectives, and which tables an objective reads; ``[teacher]``, of ``opsd`` too, is in ``tree``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from opsd_rs.config.section import Fraction, PositiveInt, Section, expanded

if TYPE_CHECKING:
    from opsd_rs.config.tree import Config

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class LossConfig(Section):
    """The divergence between student and self-teacher, token by token: the keys of the objective ``opsd``, and of
    ``opd`` with its other teacher."""

    kind: Literal["reverse_kl", "forward_kl", "jsd", "sampled_token"] = "reverse_kl"
    """Reverse KL is KL(student || teacher); ``sampled_token`` uses the sampled token alone."""
    jsd_alpha: Fraction = 0.5
    """Weight of the teacher in the mixture; used by ``jsd`` only."""
    topk: PositiveInt | None = 20
    """Size of the student's support; unset: the whole vocabulary."""
    tail: bool = True
    """One more bucket for the rest of the vocabulary; else both sides are renormalised on the support."""
    aggregate: Literal["token_mean", "sdpo"] = "token_mean"
    """``token_mean``: over all trained tokens of the mini-batch, whatever the micro-batches. ``sdpo``: mean
    over rows of token means, masked rows counted in the denominator."""
    is_clip: Annotated[float, Field(gt=0.0)] | None = 2.0
    """Upper bound of the ratio now/old; unset: no ratio."""
    old: Literal["trainer", "sampler"] = "trainer"
    """Whose log-probs are old: the trainer's at the start of the step, one more forward where a step has several
    updates; or the sampler's, then ``rollout_is_clip`` must be unset."""
    rollout_is_clip: Annotated[float, Field(gt=0.0)] | None = 2.0
    """Upper bound of the ratio trainer/sampler; unset: no ratio."""
    rows: Literal["all", "failed", "passed"] = "all"
    """Which of the rows that have a context enter the loss, by their grade. A row without verdict is neither."""


class GrpoConfig(Section):
    """Policy gradient with group-relative advantages, clipped: the keys of the objective ``grpo``. No KL term."""

    loss_type: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """What divides the tokens' losses, in TRL's words. ``grpo``: mean over rows of each row's mean; ``dapo``: all
    graded tokens of the mini-batch; ``dr_grpo``: graded rows times ``rollout.max_tokens``."""
    scale_rewards: Literal["group", "none"] = "group"
    """``group``: advantages are divided by the standard deviation of their group; ``none``: they are not (Dr. GRPO)."""
    epsilon: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """The ratio now/start of step is clipped at 1 - ``epsilon``."""
    epsilon_high: Annotated[float, Field(gt=0.0)] | None = None
    """... and at 1 + ``epsilon_high``; unset: ``epsilon``. DAPO takes 0.28."""
    rollout_is_clip: Annotated[float, Field(gt=0.0)] | None = 2.0
    """Upper bound of the ratio trainer/sampler, a weight of each token; unset: no ratio."""


class OpdConfig(Section):
    """On-policy distillation from another model: ``opd`` is the divergence of ``[loss]`` to this teacher."""

    teacher: str | None = None
    """A Hugging Face directory or hub name with the student's tokenizer. It reads what the student read, frozen, in
    ``model.dtype``, whole on each GPU."""

    _paths = field_validator("teacher")(expanded)


class NegativeAdvantageConfig(Section):
    """A control without teacher and verifier, ``negative_advantage``: one advantage for all unlikely sampled tokens."""

    advantage: Annotated[float, Field(allow_inf_nan=False)] = -1.0
    """Of the tokens that count; all others have 0."""
    below: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """A sampled token counts where the student gives it a lower probability."""


class MixtureConfig(Section):
    """A weighted sum of objectives, ``mixture``; each reads its own tables and trains on its own rows."""

    opsd: Weight = 1.0
    """Weight of ``opsd``; 0 leaves an objective out."""
    grpo: Weight = 0.0
    """Weight of ``grpo``."""
    rft: Weight = 0.0
    """Weight of ``rft``."""
    ssd: Weight = 0.0
    """Weight of ``ssd``."""
    opd: Weight = 0.0
    """Weight of ``opd``."""
    negative_advantage: Weight = 0.0
    """Weight of ``negative_advantage``."""


TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "opsd": ("loss", "teacher"),
        "grpo": ("grpo",),
        "rft": (),
        "ssd": (),
        "opd": ("loss", "opd"),
        "negative_advantage": ("negative_advantage",),
    }
)
"""Objective -> the tables with its keys."""
OBJECTIVE_TABLES = ("loss", "grpo", "opd", "negative_advantage", "mixture")
"""Tables that hold nothing but an objective's keys."""


def objective_weights(config: Config) -> dict[str, float]:
    """What is minimised: objectives by name with their weights.

    >>> from opsd_rs.config import Config
    >>> objective_weights(Config())
    {'opsd': 1.0}
    """
    if config.objective.name != "mixture":
        return {config.objective.name: 1.0}
    return {name: weight for name, weight in config.mixture.model_dump().items() if weight > 0}


def tables_read(config: Config) -> set[str]:
    """The tables of objectives that the run's own objective reads."""
    found = {table for name in objective_weights(config) for table in TABLES.get(name, ())}
    return found | ({"mixture"} if config.objective.name == "mixture" else set())


def may_ask_the_self_teacher(config: Config) -> bool:
    """False where it is known that no self-teacher is asked; an objective of one's own may ask one."""
    return any("teacher" in TABLES.get(name, ("teacher",)) for name in objective_weights(config))
