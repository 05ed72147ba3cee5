"""The figures by name, as ``opsd-rs figure NAME`` and the report ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from opsd_rs.drawing import Drawing, load_matplotlib, save_drawing
from opsd_rs.errors import BadInput
from opsd_rs.report import of_gaps, of_law, of_runs
from opsd_rs.report.sources import Sources, read_sources

FIGURES: dict[str, Callable[[Sources], Drawing]] = {
    "1": of_law.figure1,
    "2": of_runs.figure2,
    "3": of_law.figure3,
    "loo": of_law.loo,
    "forest": of_law.forest,
    "gap": of_gaps.gaps,
    "power": of_law.power,
    "curves": of_runs.curves,
    "timeline": of_runs.timeline,
}


def draw(name: str, sources: Sources) -> Drawing:
    """The figure called ``name``.

    :raises BadInput: no figure of that name; ``Missing`` where its numbers are not there
    """
    if name not in FIGURES:
        raise BadInput(f"{name}: no figure of that name; there are {', '.join(FIGURES)}")
    load_matplotlib("report")
    return FIGURES[name](sources)


def write_figure(name: str, inputs: Sequence[Path], out: Path, *, caption: bool = True) -> list[Path]:
    """Draw one figure from runs, a sweep, tables or a law, and write it as ``out``'s suffix says.

    :raises BadInput: as ``draw`` and ``read_sources``; a suffix that is no picture's
    """
    return save_drawing(draw(name, read_sources(inputs)), out, caption=caption)
