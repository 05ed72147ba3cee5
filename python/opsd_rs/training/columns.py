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
from opsd_rs.training.recipe import recipe_columns


def configuration_columns(opened: Opened, context: ContextConfig) -> dict[str, Any]:
    """The columns of a configuration under ``context``: of a session, or of what stands before one is opened.

    ``run.config_id`` names the run's own context; a gap of another context gets the default name.
    """
    config, model_dir = opened.config, opened.model_dir
    base_model = own_name(config.model.path)  # the folder of a hub model is called by its commit
    family = config.run.family or base_model
    dataset = opened.environment.dataset_id
    own = config.run.config_id if context == config.context else None
    held_out = config.eval.problems == "held_out"
    asked = opened.problem_set.held_out if held_out else opened.problem_set.full
    identity = gap_identity(opened, context)
    columns = recipe_columns(config)
    model = family if family == base_model else f"{family}/{base_model}"
    return {
        "config_id": own or f"{model}/{dataset}/{context.name}/{columns['recipe_id']}",
        "family": family,
        "size_b": num_parameters(model_dir) / 1e9,
        "base_model": base_model,
        "model_sha": identity.weights,
        "context": context.name,
        "context_sha256": context.sha256,
        "preamble": f"{context.preamble_id or 'unnamed'}:{context.preamble_sha256}"
        if context.preamble
        else None,
        **columns,
        "dataset_id": dataset,
        "problems_sha": identity.problems,
        "n_problems": len(asked),
        "code_version": __version__,
    }
