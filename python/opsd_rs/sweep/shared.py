"""What is measured once for many runs: the baseline before training and the gaps of all contexts, per model.

In: the runs. Out: ``Measurement``s, each with the runs that take its table. Runs share one where nothing that the
measurement depends on differs between them: not what only training changes. The tables carry what they were measured
with, and a run refuses one that is not its own (``training.measured``), so a wrong sharing would be an error and no
wrong number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from opsd_rs.base import write_whole
from opsd_rs.config import Config
from opsd_rs.sweep.cells import Cell
from opsd_rs.sweep.grid import Grid
from opsd_rs.training import run_settings

TRAINING = ("control.", "loss.", "objective.", "optim.", "seed", "teacher.kind", "teacher.rate", "train.")
"""Beginnings of keys that change nothing before the first update."""
NOT_OF_GAP = (*TRAINING, "context.", "eval.")
NOT_OF_BASELINE = (
    *TRAINING, "context.", "gap.", "rollout.n", "rollout.temperature", "rollout.top_p", "teacher.max_context_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """A table that several runs take."""

    name: str
    kind: Literal["baseline", "gap"]
    folder: Path
    cells: tuple[Cell, ...]
    """The runs that take it, of which the first one's configuration is measured."""

    @property
    def table(self) -> Path:
        return self.folder / ("eval.parquet" if self.kind == "baseline" else "gap.parquet")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What it depends on; one that was made with other settings is made again."""
        return json.loads(json.dumps(_settings(self.cells[0].config, self.kind)))  # type: ignore[no-any-return]

    @cached_property
    def contexts(self) -> list[str]:
        """Hashes of the contexts whose gap it has."""
        return sorted({cell.config.context.sha256 for cell in self.cells}) if self.kind == "gap" else []

    def is_in(self, event: Mapping[str, Any]) -> bool:
        """Whether the table that ``event`` ended holds it; more contexts do no harm."""
        same = event.get("settings") == self.settings and set(self.contexts) <= set(event.get("contexts", ()))
        return event.get("event") == "done" and same and self.table.exists()


def measurements_of(grid: Grid, cells: Sequence[Cell]) -> list[Measurement]:
    """Baselines, then gaps, in the order of the runs that need them first."""
    folder = Path(grid.out) / "measured"
    return [
        *(_grouped(folder, "baseline", _without(cells, "baseline")) if grid.shared.baseline else ()),
        *(_grouped(folder, "gap", _without(cells, "gap")) if grid.shared.gap else ()),
    ]


def _without(cells: Sequence[Cell], kind: str) -> list[Cell]:
    """The runs whose configuration names no table of its own."""
    return [
        cell
        for cell in cells
        if (cell.config.eval.from_ if kind == "baseline" else cell.config.gap.from_) is None
    ]


def _grouped(folder: Path, kind: Literal["baseline", "gap"], cells: Sequence[Cell]) -> Iterator[Measurement]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        settings = json.dumps(_settings(cell.config, kind), sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:6]
        groups.setdefault((cell.model, digest), []).append(cell)
    for (model, digest), members in groups.items():
        name = f"{model or 'model'}.{kind}-{digest}"
        yield Measurement(name, kind, folder / name, tuple(members))


def _settings(config: Config, kind: str) -> dict[str, Any]:
    left_out = NOT_OF_BASELINE if kind == "baseline" else NOT_OF_GAP
    seed = config.baseline_seed if kind == "baseline" else config.gap_seed
    found = {key: value for key, value in run_settings(config).items() if not key.startswith(left_out)}
    return {**found, f"{kind}.seed": seed}


def gap_words(measurement: Measurement, configs: Path, baseline: Measurement | None) -> list[str]:
    """The words that ``opsd-rs gap`` measures all contexts by; writes a file for each context.

    :param configs: the folder for these files
    :param baseline: whose accuracy stands beside each gap
    """
    files: dict[str, str] = {}
    for cell in measurement.cells:
        name = f"{measurement.name}.{cell.context}.toml"
        if name not in files:
            write_whole(configs / name, context_toml(cell.toml).encode())
            files[name] = str(configs / name)
    words = [f"run.dir={measurement.folder}", f"gap.contexts={json.dumps(list(files.values()))}"]
    return words if baseline is None else [*words, f"eval.from={baseline.table}"]


def context_toml(toml: str) -> str:
    """The tables of the context in a configuration as ``to_toml`` writes it, as a context's file.

    >>> toml = 'seed = 1\\n\\n[context]\\nname = "mine"\\n\\n[context.notes]\\nkind = "none"\\n\\n[gap]\\n'
    >>> print(context_toml(toml))
    [context]
    name = "mine"
    <BLANKLINE>
    [context.notes]
    kind = "none"
    <BLANKLINE>
    """
    tables = [table for table in toml.split("\n[") if table.startswith(("context]", "context."))]
    return "\n".join(f"[{table}\n".replace("\n\n", "\n") for table in tables)


def taken_words(cell: Cell, measurements: Sequence[Measurement]) -> list[str]:
    """The words by which a run takes its tables."""
    keys: Mapping[str, str] = {"baseline": "eval.from", "gap": "gap.from"}
    return [f"{keys[found.kind]}={found.table}" for found in measurements if cell in found.cells]
