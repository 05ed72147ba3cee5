"""How far a sweep is, run by run, read from its folder alone: it may be at work meanwhile, or on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opsd_rs.base import read_lines
from opsd_rs.sweep.cells import Cell
from opsd_rs.sweep.folder import Rows, is_locked
from opsd_rs.sweep.journal import Journal
from opsd_rs.sweep.run import Sweep, chosen, open_sweep


def sweep_cells(path: Path, block: str | None = None) -> list[dict[str, Any]]:
    """The runs of a grid in their order, with what tells them apart; the grid's folder is not looked at."""
    sweep, _ = open_sweep(path)
    return [
        {
            "run": cell.name,
            "block": cell.block,
            "seed": cell.seed,
            "model": cell.config.model.path,
            "recipe": cell.recipe,
            "context": cell.config.context.name,
            "steps": cell.config.train.num_steps,
            "measured by": ", ".join(found.name for found in sweep.measurements if cell in found.cells),
        }
        for cell in chosen(sweep, block)
    ]


def sweep_status(path: Path, block: str | None = None) -> list[dict[str, Any]]:
    """A row for each measurement and run: its state, starts, minutes, step, and what came out or why it failed.

    States: waiting, running, stopped (the next start continues it), failed (to be repeated), given up, skipped, done.
    """
    sweep, _ = open_sweep(path)
    rows, journal = Rows(sweep.out), Journal(sweep.out / "events.jsonl")
    works = is_locked(sweep.out)
    found = []
    for measured in sweep.measurements:
        history = journal.of(measured.name)
        state = "done" if history.done else _state(journal, measured.name, works)
        found.append(_line(measured.name, state, journal))
    for cell in chosen(sweep, block):
        row = rows.of.get(cell.name)
        state = "done" if row is not None else _state(journal, cell.name, works)
        line = _line(cell.name, state, journal, step=_step(sweep, cell, state))
        if row is not None:
            line |= {"gap": row.get("gap"), "improvement": row.get("improvement")}
            line |= {"starts": row.get("attempts"), "minutes": round(row.get("minutes") or 0.0, 1)}
        found.append(line)
    return found


def _line(name: str, state: str, journal: Journal, step: str | None = None) -> dict[str, Any]:
    history = journal.of(name)
    note = (
        history.skipped if state == "skipped" else history.reason if state in ("failed", "given up") else None
    )
    return {
        "run": name,
        "state": state,
        "starts": history.attempts,
        "minutes": round(history.minutes, 1),
        "step": step,
        "gap": None,
        "improvement": None,
        "note": note,
    }


def _state(journal: Journal, name: str, works: bool) -> str:
    history = journal.of(name)
    if history.skipped is not None:
        return "skipped"
    if history.given_up:
        return "given up"
    if history.last.get("event") == "started":
        return "running" if works else "stopped"
    return "waiting" if not history.last else str(history.last["event"]).replace("retried", "waiting")


def _step(sweep: Sweep, cell: Cell, state: str) -> str | None:
    if state not in ("running", "stopped", "failed", "given up"):
        return None
    done = len(read_lines(Path(cell.config.run.dir) / "metrics.jsonl"))
    return f"{done}/{cell.config.train.num_steps}"
