"""Every configuration of a grid through the checks of ``opsd-rs train --check``, before any run starts.

In: the runs. Out: nothing, or the first fault of each configuration. One process of its own does it, as it loads torch;
a seed changes nothing that is checked, so it sees each model, recipe and context once. What was checked and has not
changed is not checked again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from opsd_rs import __version__
from opsd_rs.base import read_lines, write_whole
from opsd_rs.errors import OpsdError
from opsd_rs.sweep.cells import Cell
from opsd_rs.sweep.children import Child
from opsd_rs.sweep.grid import GridFaults
from opsd_rs.sweep.slots import Slot

COMMAND = (sys.executable, "-m", "opsd_rs.sweep.check_configs")


def check_cells(
    cells: Sequence[Cell],
    out: Path,
    slot: Slot,
    *,
    again: bool = False,
    wait: Callable[[], None] = lambda: time.sleep(0.05),
) -> int:
    """Check what was not checked before; returns how many configurations hold.

    :param again: check all of them
    :param wait: called while the checks go on; it may raise to end them
    :raises BadInput: a line for each configuration that a run could not start with
    """
    unique: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        unique.setdefault((cell.model, cell.recipe, cell.context), cell)
    known_path = out / "checked.json"
    known = set(json.loads(known_path.read_bytes())) if known_path.exists() and not again else set()
    tokens = {cell.name: _token(cell, slot) for cell in unique.values()}
    new = [cell for cell in unique.values() if tokens[cell.name] not in known]
    if new:
        _check(new, out, slot, wait)
        write_whole(known_path, json.dumps(sorted({*known, *tokens.values()})).encode())
    return len(unique)


def _check(cells: Sequence[Cell], out: Path, slot: Slot, wait: Callable[[], None]) -> None:
    questions, answers = out / "configs" / "to-check.json", out / "configs" / "checked.jsonl"
    asked = [
        {
            "name": cell.name,
            "toml": str(out / "configs" / f"{cell.name}.toml"),
            "words": [*slot.words(cell.config), f"run.dir={out / 'configs' / 'no-run'}"],
        }
        for cell in cells
    ]
    write_whole(questions, json.dumps(asked).encode())
    write_whole(answers, b"")
    child = Child([str(questions), str(answers)], slot, out / "logs" / "check.log", command=COMMAND)
    try:
        while child.ended() is None:
            wait()
    finally:
        child.kill()
    found = {line["name"]: line["fault"] for line in read_lines(answers)}
    if faults := [f"run {name}: {fault}" for name, fault in found.items() if fault is not None]:
        raise GridFaults(faults)
    if len(found) < len(cells):
        raise OpsdError(
            f"the checks ended early: {child.reason()}; {out / 'logs' / 'check.log'} has their output"
        )
    questions.unlink()
    answers.unlink()


def _token(cell: Cell, slot: Slot) -> str:
    facts = [__version__, cell.model, cell.recipe, cell.context, cell.settings, slot.words(cell.config)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
