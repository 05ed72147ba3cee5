"""The columns by which the law tells configurations apart, the same in a gap's row and in a run's.

In: a configuration and the context whose gap or run it is. Out: who was trained or would be (family, config_id, size),
under which settings (``law.DOMAIN`` among them), with which version of the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsd_rs import __version__
from opsd_rs.base import own_name
from opsd_rs.config import Config, ContextConfig
from opsd_rs.model import num_parameters

if TYPE_CHECKING:
    from opsd_rs.training.session import Session


def configuration_columns(session: Session, context: ContextConfig) -> dict[str, Any]:
    """The columns of the session's configuration under ``context``.

    ``run.config_id`` names the run's own context; a gap of another context gets the default name.
    """
    config, model_dir = session.config, session.model_dir
    family = config.run.family or own_name(model_dir)
    dataset = session.environment.dataset_id
    own = config.run.config_id if context == config.context else None
    rollout, evaluation = config.rollout, config.eval
    return {
        "config_id": own or f"{family}/{dataset}/{context.name}",
        "family": family,
        "size_b": num_parameters(model_dir) / 1e9,
        "base_model": own_name(model_dir),
        "context": context.name,
        "context_sha256": context.sha256,
        "preamble": f"{context.preamble_id or 'unnamed'}:{context.preamble_sha256}"
        if context.preamble
        else None,
        "recipe_id": recipe_id(config),
        "horizon_steps": config.train.num_steps,
        "lr": config.optim.lr,
        "ema": config.teacher.rate,
        "group_size": rollout.n,
        "seed": config.seed,
        "dataset_id": dataset,
        "split": "held_out" if evaluation.problems == "held_out" else "transductive",
        "n_problems": len(session.validation_ids),
        "k_gap": config.gap.n,
        "k_val": evaluation.n,
        "decoding_gap": f"T={rollout.temperature},top_p={rollout.top_p}",
        "decoding_val": f"T={evaluation.temperature},top_p={evaluation.top_p}",
        "gap_baseline_shared": config.gap.baseline == "paper",
        "code_version": __version__,
    }


def recipe_id(config: Config) -> str:
    """What is minimised, and how the teacher follows.

    >>> recipe_id(Config())
    'reverse_kl-top20-ema0.01'
    """
    objective = config.objective.name
    loss = f"{config.loss.kind}-top{config.loss.topk}" if objective == "opsd" else objective
    return f"{loss}-{config.teacher.kind}{config.teacher.rate}"
