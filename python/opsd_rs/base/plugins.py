"""Plugins by name: the objective, the environment and the loggers of a run, ours or the user's own.

A plugin is a class. The configuration names it by a registered name, or by ``module:attribute`` (``file.py:attribute``
for a file beside the run), so that a user's own works without a fork. Registered names map to the same spelling and
are resolved the same way; nothing is imported until a plugin is used, so ``opsd-rs config show`` needs no torch.

How its own keys are written. A kind of which a run has one (objective, environment) has a table of the kind's name:

    objective = "opsd"                       # short for [objective] name = "opsd"

    [objective]
    name = "my_losses.py:CrossEntropy"
    label_smoothing = 0.1                    # also: opsd-rs train run.toml objective.label_smoothing=0.1

As with ``[context]``, a table that names a plugin replaces the one before it, so that the keys of two plugins never
mix. Kinds of which a run has several (loggers, by ``log.to``) have one table each, ``[log.NAME]``: the registered name,
or the attribute of ``module:attribute``.

A user's plugin declares its keys as ``Options``, a nested ``opsd_rs.config.Section`` (pydantic: frozen, strict types,
unknown keys are errors); without it the plugin has none. The keys are checked while the configuration is read, with
the origin of each key and the nearest valid name in the message; ``config show`` lists them with their defaults. The
class is called with the checked ``options`` first; what follows is the kind's matter. The keys of registered plugins
stand in the tree itself, where ``config keys`` lists them: ``[loss]`` holds those of the objective ``opsd``.

What this file does not do: read tables (``config.plugins``), or know what a kind of plugin has to offer.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from opsd_rs.errors import BadInput, near

REGISTERED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "environment": {"code": "opsd_rs.environments.code:CodeEnvironment"},
        "logger": {"jsonl": "opsd_rs.training.loggers.jsonl:JsonlLogger"},
        "objective": {
            "opsd": "opsd_rs.loss.objectives:OpsdObjective",
            "grpo": "opsd_rs.loss.grpo:Grpo",
            "rft": "opsd_rs.loss.rft:Rft",
            "ssd": "opsd_rs.loss.ssd:Ssd",
            "opd": "opsd_rs.loss.opd:Opd",
            "negative_advantage": "opsd_rs.loss.negative_advantage:NegativeAdvantage",
            "mixture": "opsd_rs.loss.mixture:Mixture",
        },
    }
)
"""Kind -> name -> ``module:attribute``."""

_files: dict[Path, tuple[int, ModuleType]] = {}


def resolve_plugin(kind: str, name: str, *, key: str | None = None) -> Any:
    """The class that ``name`` stands for among the plugins of ``kind``; imports its module.

    :param key: how messages call the key that holds the name; by default ``KIND.name``
    :raises BadInput: an unknown name (with the nearest known one), or what ``import_attribute`` raises
    """
    key, registered = key or f"{kind}.name", REGISTERED[kind]
    if ":" not in name and name not in registered:
        hint = near(name, list(registered)) or f"; there is {', '.join(registered)}"
        raise BadInput(f'{key} = "{name}": no {kind} of this name{hint}; your own is module:attribute')
    return import_attribute(key, registered.get(name, name))


def import_attribute(key: str, spec: str) -> Any:
    """The class or function that ``module:attribute`` or ``file.py:attribute`` names. Its module is run: load what
    you trust. A file that has not changed is run once.

    >>> import_attribute("objective.name", "math:sqrt")(4.0)
    2.0

    :raises BadInput: no such file, module or attribute, one that cannot be called, or a module that fails
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise BadInput(f"{key} = {spec}: write file.py:name or module:name")
    if place.endswith(".py") and not Path(place).is_file():
        raise BadInput(f"{key} = {spec}: no such file {place}")
    try:
        module = _run_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise BadInput(f"{key} = {spec}: {error}") from None
    except Exception as error:  # the user's own file: it may fail in any way
        raise BadInput(f"{key} = {spec}: {place} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        known = [word for word, value in vars(module).items() if callable(value)]
        raise BadInput(f"{key} = {spec}: {place} holds no function or class {name}{near(name, known)}")
    return found


def _run_file(path: Path) -> ModuleType:
    path = path.resolve()
    changed = path.stat().st_mtime_ns
    before, module = _files.get(path, (0, None))
    if module is None or before != changed:
        # A module of its own name, whatever the file is called; pydantic and pickle look it up under that name.
        name = f"opsd_rs_file_{len(_files)}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        _files[path] = changed, module
    return module
