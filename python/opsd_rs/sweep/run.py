"""A sweep from its file to its end: read, check, run, and say what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opsd_rs.base import Clock, Progress, StopSignals, stop_signals, write_whole
from opsd_rs.errors import BadInput, OpsdError, Stopped, near
from opsd_rs.sweep.cells import Cell, cells_of
from opsd_rs.sweep.checks import check_cells
from opsd_rs.sweep.folder import Rows, locked, source_hash
from opsd_rs.sweep.grid import Grid, load_grid
from opsd_rs.sweep.journal import Journal
from opsd_rs.sweep.schedule import Schedule
from opsd_rs.sweep.shared import Measurement, measurements_of
from opsd_rs.sweep.skips import check_law
from opsd_rs.sweep.slots import slots_here
from opsd_rs.sweep.tasks import tasks_of


@dataclass(frozen=True)
class Sweep:
    """A grid with its runs and what they share.

    >>> Sweep(Grid(out="o", contexts={}), Path("grid.toml"), [], []).out
    PosixPath('o')
    """

    grid: Grid
    path: Path
    cells: list[Cell]
    measurements: list[Measurement]

    @property
    def out(self) -> Path:
        return Path(self.grid.out)


def open_sweep(path: Path) -> tuple[Sweep, list[str]]:
    """Read a grid and the configuration of every run of it; starts nothing. With warnings about the configurations.

    :raises BadInput: the grid or a configuration, in a line for each fault
    """
    grid = load_grid(path)
    if grid.skip_by_law is not None:
        try:
            check_law(grid.skip_by_law)
        except BadInput as error:
            raise BadInput(f"{path}: skip_by_law: {error}") from None
    cells, warnings = cells_of(grid, path)
    return Sweep(grid, path, cells, measurements_of(grid, cells)), warnings


def run_sweep(
    path: Path,
    *,
    block: str | None = None,
    gpus: Sequence[str] | None = None,
    per_gpu: int | None = None,
    limit_minutes: float | None = None,
    retry_failed: bool = False,
    check_only: bool = False,
) -> str:
    """Run a grid, or go on with it; returns its last line.

    :param block: run the runs of this block alone
    :param gpus: as ``CUDA_VISIBLE_DEVICES`` names them; empty: on CPU; None: all that this process may use
    :param per_gpu: instead of the grid's
    :param limit_minutes: start no run that would not end in time
    :param retry_failed: give runs that have failed twice another two attempts
    :param check_only: stop after the checks
    :raises BadInput: before anything starts
    :raises Stopped: on a signal, or where the time limit left runs: the same command goes on
    :raises OpsdError: runs that failed twice
    """
    started = time.monotonic()
    sweep, warnings = open_sweep(path)
    grid, out, cells = sweep.grid, sweep.out, chosen(sweep, block)
    progress = Progress(None, Clock())
    for warning in warnings:
        progress.say(f"warning: {warning}")
    slots = slots_here(gpus, per_gpu or grid.per_gpu)
    with stop_signals() as stop, locked(out):
        stop.deferred, stop.phase = True, "sweep"
        rows, journal = Rows(out), Journal(out / "events.jsonl")
        for cell in sweep.cells:
            rows.check(cell)
            write_whole(out / "configs" / f"{cell.name}.toml", cell.toml.encode())
        write_whole(out / "grid.toml", path.read_bytes())
        if retry_failed:
            journal.retry([*(cell.name for cell in cells), *(found.name for found in sweep.measurements)])
        to_check = cells if check_only else [cell for cell in cells if cell.name not in rows.of]
        count = check_cells(to_check, out, slots[0], again=check_only, wait=_waiter(stop))
        if check_only:
            return f"{len(cells)} runs, {count} configurations: a run can start with each"
        schedule = Schedule(
            grid,
            tasks_of(cells, sweep.measurements),
            slots,
            journal=journal,
            rows=rows,
            stop=stop,
            say=progress.say,
            end=None if limit_minutes is None else started + 60 * limit_minutes,
        )
        source_hash()  # of the code as it is now, whatever is changed while the runs go on
        progress.say(f"{schedule.progress_line()}; {len(slots)} at a time")
        try:
            schedule.run()
        except Stopped as stopped:
            raise Stopped(f"{stopped}: {schedule.progress_line()}; the same command goes on") from None
        return _said(schedule, out, limit_minutes)


def chosen(sweep: Sweep, block: str | None) -> list[Cell]:
    """The runs of a block; all without one.

    :raises BadInput: no such block
    """
    blocks = list(dict.fromkeys(cell.block for cell in sweep.cells))
    if block is not None and block not in blocks:
        raise BadInput(f"--block {block}: the grid has {', '.join(blocks)}{near(block, blocks)}")
    return [cell for cell in sweep.cells if block in (None, cell.block)]


def _waiter(stop: StopSignals) -> Callable[[], None]:
    def wait() -> None:
        time.sleep(0.05)
        stop.check()

    return wait


def _said(schedule: Schedule, out: Path, limit_minutes: float | None) -> str:
    failed = schedule.failed()
    line = f"{schedule.progress_line()}; {out / 'runs.parquet'}"
    if failed:
        listed = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise OpsdError(f"{line}; failed: {listed}; --retry-failed runs them again")
    if schedule.held:
        raise Stopped(
            f"{line}; {len(schedule.held)} would not have ended within {limit_minutes:g} minutes: the same command goes"
            " on"
        )
    return line
