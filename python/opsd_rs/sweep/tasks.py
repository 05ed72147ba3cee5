"""What a sweep starts: a baseline, a gap or a run, by which command, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opsd_rs.sweep.cells import Cell
from opsd_rs.sweep.folder import standing
from opsd_rs.sweep.grid import Grid
from opsd_rs.sweep.shared import Measurement, gap_words, taken_words
from opsd_rs.sweep.slots import Slot


@dataclass(frozen=True)
class Task:
    """One process to start."""

    name: str
    kind: Literal["baseline", "gap", "run"]
    cell: Cell
    """The run, or the first one of those that a measurement is for."""
    measurement: Measurement | None = None
    needs: tuple[Measurement, ...] = ()
    """What must be measured before."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{'run' if self.kind == 'run' else 'measurement'} {self.name}"


def tasks_of(cells: list[Cell], measurements: list[Measurement]) -> list[Task]:
    """Measurements first, then the runs in their order."""
    tasks = []
    for found in measurements:
        first = found.cells[0]
        needs = () if found.kind == "baseline" else _taken(first, measurements, "baseline")
        tasks.append(Task(found.name, found.kind, first, found, needs))
    for cell in cells:
        needs = (*_taken(cell, measurements, "baseline"), *_taken(cell, measurements, "gap"))
        tasks.append(Task(cell.name, "run", cell, None, needs))
    return tasks


def _taken(cell: Cell, measurements: list[Measurement], kind: str) -> tuple[Measurement, ...]:
    return tuple(found for found in measurements if found.kind == kind and cell in found.cells)


def command(task: Task, grid: Grid, slot: Slot) -> list[str]:
    """The words after ``opsd-rs``."""
    out, cell = Path(grid.out), task.cell
    toml, here = str(config_path(out, task)), slot.words(cell.config)
    if task.measurement is None:
        if standing(cell) == "new":
            return ["train", toml, *taken_words(cell, task.needs), *here]
        return ["train", "--resume", cell.config.run.dir, *here]
    if task.kind == "baseline":
        return ["eval", toml, *here, "--out", str(task.measurement.table)]
    baseline = task.needs[0] if task.needs else None
    words = ["gap", toml, *gap_words(task.measurement, out / "configs", baseline), *here]
    return [*words, "--anyway"] if grid.shared.anyway else words


def config_path(out: Path, task: Task) -> Path:
    """Where the configuration of a task is kept; a measurement has that of its first run."""
    return out / "configs" / f"{task.cell.name}.toml"
