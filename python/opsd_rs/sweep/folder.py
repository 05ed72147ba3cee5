"""The sweep's folder: locked by one process, what its runs' folders hold, the row of each run that has ended.

OUT/
├── runs.parquet     a row per run that has ended: the law's table, and by which run of the grid
├── events.jsonl     what happened, a line per start and end
├── grid.toml        the grid, as it was last started
├── configs/         the configuration of every run and measurement
├── measured/        what runs share: baselines and gaps
├── runs/NAME/       the run folders
└── logs/NAME.log    what each run printed
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from opsd_rs.base import add_rows, read_lines, read_table
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.sweep.cells import Cell, different_settings
from opsd_rs.training import run_settings

PACKAGE = Path(__file__).parents[1]
SWEEP_COLUMNS = ("cell", "block", "recipe", "attempts", "minutes", "settings", "source")
"""What the sweep adds to a run's row: which run of the grid it is, how often it was started, its minutes in all,
its settings, where they are not at their defaults, and the hash of the code that made it."""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder for the block; the kernel lets go of it with the process.

    :raises BadInput: another process holds it, or it cannot be written
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("a+")
    except OSError as error:
        raise BadInput(f"out = {out}: cannot be written to ({error.strerror}): name another folder") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BadInput(
                f"out = {out}: another sweep ({file.read().strip() or 'unknown'}) is at work in it; `--status` shows"
                " how far it is"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        yield


def is_locked(out: Path) -> bool:
    """Whether a sweep is at work in the folder."""
    try:
        file = (out / ".lock").open("r")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@cache
def source_hash(folder: Path = PACKAGE) -> str:
    """The package's Python and configuration files, as 12 digits: runs of one table ought to be made by one code."""
    found = hashlib.sha256()
    for path in sorted((*folder.rglob("*.py"), *folder.rglob("*.toml"))):
        data = path.read_bytes()
        found.update(f"{path.relative_to(folder)} {len(data)}\n".encode() + data)
    return found.hexdigest()[:12]


class Rows:
    """``OUT/runs.parquet``."""

    def __init__(self, out: Path) -> None:
        self.path = out / "runs.parquet"
        self.of: dict[str, dict[str, Any]] = {
            row["cell"]: row for row in read_table(self.path) if row.get("cell")
        }
        """The rows by the run's name."""

    def check(self, cell: Cell) -> None:
        """Refuse a grid that has changed under a run that has ended.

        :raises BadInput: naming the keys
        """
        row = self.of.get(cell.name)
        if row is not None and (found := different_settings(row.get("settings"), cell)):
            raise BadInput(
                f"{self.path}: run {cell.name} was made with another {', '.join(found)}: give the changed runs another"
                " name, or the sweep another out"
            )

    def take(self, cell: Cell, run_dir: Path, *, attempts: int, minutes: float) -> Mapping[str, Any] | None:
        """Add the row of a run that has ended; None where its folder holds none."""
        found = read_table(run_dir / "runs.parquet")
        if not found:
            return None
        facts = (
            cell.name,
            cell.block,
            cell.recipe,
            attempts,
            round(minutes, 3),
            cell.settings,
            source_hash(),
        )
        row = {**found[-1], **dict(zip(SWEEP_COLUMNS, facts, strict=True))}
        add_rows(self.path, [row], key=["cell"])
        self.of[cell.name] = row
        return row


Standing = Literal["new", "begun", "ended", "lost"]


def standing(cell: Cell) -> Standing:
    """How far the folder of a run is: ``lost`` where it has begun and there is nothing to continue from.

    :raises BadInput: it holds another run, or one that began with other settings, naming the keys
    """
    run_dir = Path(cell.config.run.dir)
    if not (run_dir / "config.json").exists():
        return "new"
    if found := different_settings(json.dumps(_settings_of(run_dir)), cell):
        raise BadInput(
            f"{run_dir} began with another {', '.join(found)}: give the changed runs another name, or the sweep another"
            " out"
        )
    if read_table(run_dir / "runs.parquet") and not _unfinished_export(run_dir):
        return "ended"
    if any((run_dir / "checkpoints").glob("step-*/state.json")):
        return "begun"
    steps, cadence = len(read_lines(run_dir / "metrics.jsonl")), cell.config.train.checkpoint_every
    return "lost" if (run_dir / "model").exists() or (cadence and steps > cadence) else "begun"


def share_done(cell: Cell) -> float:
    """The share of a run's steps that its newest checkpoint has behind it."""
    states = (Path(cell.config.run.dir) / "checkpoints").glob("step-*/state.json")
    steps = [int(path.parent.name.removeprefix("step-")) for path in states]
    return min(max(steps, default=0) / max(cell.config.train.num_steps, 1), 1.0)


def _unfinished_export(run_dir: Path) -> bool:
    """Whether the run was killed between its row and its weights, and can still write these."""
    return not (run_dir / "model" / "config.json").exists() and any(
        (run_dir / "checkpoints").glob("step-*/state.json")
    )


def _settings_of(run_dir: Path) -> dict[str, Any]:
    return run_settings(load_config([str(run_dir / "config.json")]))


def set_aside(run_dir: Path) -> Path:
    """Rename a run folder that cannot be continued, so that the run can begin again; returns its new name."""
    for number in range(1, 1000):
        other = run_dir.with_name(f"{run_dir.name}.old-{number}")
        if not other.exists():
            run_dir.rename(other)
            return other
    raise OpsdError(f"{run_dir}: a thousand older folders of this run")


def tidy(run_dir: Path, keep: Literal["all", "model", "rows"]) -> None:
    """Remove what need not stay of a run whose row is in the sweep's table."""
    if keep != "all":
        shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    if keep == "rows":
        shutil.rmtree(run_dir / "model", ignore_errors=True)
