"""The environment that a configuration names."""

from __future__ import annotations

from opsd_rs.base import resolve_plugin
from opsd_rs.config import Config
from opsd_rs.environments.base import Environment


def make_environment(config: Config) -> Environment:
    """The environment of ``environment.name``, not entered yet.

    :raises BadInput: no such environment, or one that cannot be loaded
    """
    chosen = config.environment
    environment: Environment = resolve_plugin("environment", chosen.name)(chosen.options, config)
    return environment
