"""The runs of a grid in their order, each with its whole configuration.

In: a ``Grid``. Out: ``Cell``s, block by block, seed by seed, then by model, recipe and context as the grid lists them;
every configuration is checked as ``opsd-rs train`` checks its own.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsd_rs.config import Config, resolve, to_toml
from opsd_rs.errors import BadInput
from opsd_rs.sweep.grid import Grid, Words, path_beside
from opsd_rs.training import run_settings


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    >>> Cell("m.base.none.s0", "all", "m", "base", "none", 0, Config()).name
    'm.base.none.s0'
    """

    name: str
    """``MODEL.RECIPE.CONTEXT.sSEED``: its folder below ``OUT/runs``, its row in ``OUT/runs.parquet``."""
    block: str
    model: str
    recipe: str
    context: str
    seed: int
    config: Config = field(repr=False)
    toml: str = field(default="", repr=False)
    """The configuration, with what set each key."""

    @property
    def settings(self) -> str:
        """Every key that decides its numbers, where it is not at its default, as JSON."""
        return json.dumps(run_settings(self.config), sort_keys=True)


def cells_of(grid: Grid, path: Path) -> tuple[list[Cell], list[str]]:
    """The runs in their order, and warnings about their configurations.

    :param path: of the grid's file
    :raises BadInput: a configuration that cannot be run, with the run's name
    """
    found: list[Cell] = []
    warnings: dict[str, None] = {}
    for block, seed, model, recipe, context in _order(grid):
        name = f"{model or 'model'}.{recipe}.{context}.s{seed}"
        words = [
            *_shared_seeds(grid),
            *grid.set,
            *_model_words(grid, model),
            *grid.recipes[recipe],
            *_context_words(grid, path, context),
            f"seed={seed}",
            f"run.dir={Path(grid.out) / 'runs' / name}",
            "gap.contexts=[]",
        ]
        try:
            resolved = resolve([path_beside(path, source) for source in grid.base], words)
        except BadInput as error:
            raise BadInput(f"run {name}: {str(error).splitlines()[0]}") from None
        if resolved.config.run.config_id is not None:
            raise BadInput(
                f"run {name}: {resolved.origins.get('run.config_id')}: run.config_id: one name for all contexts would"
                " make them seeds of each other; leave it out"
            )
        warnings |= dict.fromkeys(resolved.warnings)
        toml = to_toml(resolved)
        found.append(Cell(name, block, model, recipe, context, seed, resolved.config, toml))
    return found, list(warnings)


def _order(grid: Grid) -> Iterator[tuple[str, int, str, str, str]]:
    blocks: Mapping[str, tuple[str, ...]] = grid.blocks or {"all": tuple(grid.contexts)}
    for block, contexts in blocks.items():
        for seed, model, recipe in itertools.product(grid.seeds, grid.models or [""], grid.recipes):
            for context in grid.contexts:
                if context in contexts:
                    yield block, seed, model, recipe, context


def _shared_seeds(grid: Grid) -> Words:
    """First of all words, so that the grid's own come after."""
    shared = grid.shared
    gap = (f"gap.seed={shared.seed}",) if shared.gap else ()
    return (*gap, f"eval.seed={shared.seed}") if shared.baseline else gap


def _model_words(grid: Grid, model: str) -> Words:
    return _entry("model.path", model, grid.models[model]) if model else ()


def _context_words(grid: Grid, path: Path, context: str) -> Words:
    first, *others = _entry("context", context, grid.contexts[context])
    key, _, value = first.partition("=")
    return (f"{key}={path_beside(path, value)}", *others)


def _entry(key: str, name: str, words: Words) -> Words:
    """The words of an entry, the one that names it first."""
    named = [word for word in words if word.partition("=")[0].strip() == key]
    return (*(named[-1:] or [f"{key}={name}"]), *(word for word in words if word not in named))


def different_settings(before: str | None, cell: Cell) -> list[str]:
    """The keys in which a run of earlier differs from ``cell``, with both values; empty where it is the same run."""
    old: dict[str, Any] = json.loads(before) if before else {}
    new: dict[str, Any] = json.loads(cell.settings)
    return [
        f"{key} ({json.dumps(old.get(key, 'default'))}, now {json.dumps(new.get(key, 'default'))})"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
