"""The columns by which the law tells configurations apart, the same in a gap's row and in a run's.

In: a configuration and the context whose gap or run it is. Out: who was trained or would be (family, config_id, size),
under which settings (``law.DOMAIN`` among them), with which version of the code.
"""

from __future__ import annotations

from typing import Any

from opsd_rs import __version__
from opsd_rs.base import own_name
from opsd_rs.config import ContextConfig
from opsd_rs.model import num_parameters
from opsd_rs.training.identity import Opened, gap_identity
from opsd_rs.training.recipe import problem_filter, recipe_id, tests_split


def configuration_columns(opened: Opened, context: ContextConfig) -> dict[str, Any]:
    """The columns of a configuration under ``context``: of a session, or of what stands before one is opened.

    ``run.config_id`` names the run's own context; a gap of another context gets the default name.
    """
    config, model_dir = opened.config, opened.model_dir
    base_model = own_name(config.model.path)  # the folder of a hub model is called by its commit
    family = config.run.family or base_model
    dataset = opened.environment.dataset_id
    own = config.run.config_id if context == config.context else None
    rollout, evaluation = config.rollout, config.eval
    held_out = evaluation.problems == "held_out"
    asked = opened.problem_set.held_out if held_out else opened.problem_set.full
    identity = gap_identity(opened, context)
    recipe = recipe_id(config)
    model = family if family == base_model else f"{family}/{base_model}"
    return {
        "config_id": own or f"{model}/{dataset}/{context.name}/{recipe}",
        "family": family,
        "size_b": num_parameters(model_dir) / 1e9,
        "base_model": base_model,
        "model_sha": identity.weights,
        "context": context.name,
        "context_sha256": context.sha256,
        "preamble": f"{context.preamble_id or 'unnamed'}:{context.preamble_sha256}"
        if context.preamble
        else None,
        "control_mask": config.control.mask,
        "recipe_id": recipe,
        "horizon_steps": config.train.num_steps,
        "lr": config.optim.lr,
        "prompts_per_step": config.train.prompts_per_step,
        "mini_batch_prompts": config.train.mini_batch_prompts,
        "max_tokens": rollout.max_tokens,
        "aggregate": config.loss.aggregate,
        "ema": config.teacher.rate,
        "group_size": rollout.n,
        "seed": config.seed,
        "dataset_id": dataset,
        "problems_sha": identity.problems,
        "problem_filter": problem_filter(config.problems),
        "tests_split": tests_split(config.problems),
        "split": "held_out" if held_out else "transductive",
        "n_problems": len(asked),
        "k_gap": config.num_gap_groups * rollout.n,
        "gap_groups": config.num_gap_groups,
        "k_val": evaluation.n,
        "decoding_gap": f"T={rollout.temperature},top_p={rollout.top_p}",
        "decoding_val": f"T={evaluation.temperature},top_p={evaluation.top_p}",
        "gap_baseline_shared": config.gap.baseline == "paper",
        "code_version": __version__,
    }
