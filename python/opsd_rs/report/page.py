"""One HTML file that needs nothing else: figures, tables, and the rollouts in a browser of their own.

In: ``Sources``. Out: the page's bytes, the same for the same inputs. Every string of a run is escaped: by the template
in text, as \\u003c in JSON, and the page's own script puts completions into text nodes only. A content security policy
lets no other script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from opsd_rs.base import write_whole
from opsd_rs.drawing import GRID, INK, LOOKS, MUTED, PAPER, RULE, svg_element
from opsd_rs.errors import BadInput
from opsd_rs.report.figures import FIGURES, draw
from opsd_rs.report.missing import Missing
from opsd_rs.report.of_law import SIZES
from opsd_rs.report.of_runs import PHASES
from opsd_rs.report.rollouts import MOST, Packed, pack
from opsd_rs.report.sources import Sources, read_sources
from opsd_rs.report.tables import facts, tables

GROUND = {INK: "--ink", MUTED: "--muted", RULE: "--rule", GRID: "--grid", PAPER: "--paper"}
SERIES = sorted({*(look.colour for look in LOOKS.values()), *SIZES, *PHASES.values()} - GROUND.keys())
DARK = {
    "#0072b2": "#4aa8e0", "#7f7f7f": "#a3a3a3", "#009e73": "#2fbf94", "#d55e00": "#f07c26",
    "#08519c": "#5b9bd9", "#08306b": "#3f86cf", "#2171b5": "#7fb2e2",
}  # fmt: skip
"""What is too dark for a dark ground; the hue stays."""
SECTIONS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("law", "The law", ("1", "loo", "forest", "3", "power"), ("lines", "audits", "rivals", "points")),
    ("gaps", "The gap before training", ("gap",), ("gaps",)),
    ("runs", "The runs", ("2", "curves", "timeline"), ("runs",)),
)
"""Id, title, figures and tables of each section."""


def write_report(
    inputs: Sequence[Path], out: Path, *, most_rollouts: int = MOST, title: str | None = None
) -> Path:
    """Write the report of runs, a sweep, tables or a law as one HTML file.

    :param most_rollouts: of the browser; 0: without it
    :raises BadInput: inputs that hold nothing to report or cannot be read; jinja2 or matplotlib is not installed
    """
    out = out / "report.html" if out.is_dir() else out
    sources = read_sources(inputs)
    write_whole(out, render(sources, most_rollouts=most_rollouts, title=title).encode(errors="replace"))
    return out


def render(sources: Sources, *, most_rollouts: int = MOST, title: str | None = None) -> str:
    """The page as text."""
    template = _template()
    drawn, absent = _figures(sources)
    shown = tables(sources)
    packed = pack(sources.runs, most_rollouts) if sources.runs and most_rollouts > 0 else None
    script, style = _file("report.js"), _file("report.css")
    sections = [
        {
            "id": name,
            "title": heading,
            "figures": [drawn[figure] for figure in figures if figure in drawn],
            "absent": _not_drawn([(figure, absent[figure]) for figure in figures if figure in absent]),
            "tables": [shown[table] for table in listed if table in shown],
        }
        for name, heading, figures, listed in SECTIONS
    ]
    found: str = template.render(
        title=title or _title(sources),
        facts=list(facts(sources)),
        notes=[*sources.notes, *(packed.notes if packed else ())],
        law_notes=_law_notes(sources),
        sections=sections,
        style=_variables() + style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        rollouts=None if packed is None or not packed.index["step"] else _browser(packed),
        colours=_json({name: colour for colour, name in _names().items()}),
    )
    return found


def _figures(sources: Sources) -> tuple[dict[str, Any], dict[str, str]]:
    drawn, absent = {}, {}
    for name in FIGURES:
        try:
            drawing = draw(name, sources)
        except Missing as reason:
            absent[name] = str(reason)
            continue
        drawn[name] = {
            "name": name,
            "heading": f"Figure {name}. {drawing.title}" if name.isdigit() else drawing.title,
            "caption": drawing.caption.split("\n"),
            "svg": svg_element(drawing, f"f{name}", _names()),
            "width": round(float(drawing.figure.get_size_inches()[0]) * 96),
        }
    return drawn, absent


def _not_drawn(absent: Sequence[tuple[str, str]]) -> list[str]:
    """A line per reason, with the figures that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in absent:
        by_reason.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def _browser(packed: Packed) -> Mapping[str, Any]:
    return {"index": _json(packed.index), "pieces": packed.pieces, "parts": packed.parts}


def _json(value: Any) -> str:
    """JSON for a script element: no text can end the element."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _title(sources: Sources) -> str:
    names = [path.resolve().name for path in sources.inputs]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _law_notes(sources: Sources) -> list[tuple[str, str]]:
    if sources.law is None:
        return []
    return [(name, note) for name, entry in sources.law["families"].items() for note in entry["notes"]]


def _names() -> dict[str, str]:
    """Colour -> CSS variable."""
    return GROUND | {colour: f"--s-{colour[1:]}" for colour in SERIES}


def _variables() -> str:
    """The series' colours as CSS, for a light and a dark ground."""
    light = "".join(f"--s-{colour[1:]}:{colour};" for colour in SERIES)
    dark = "".join(f"--s-{colour[1:]}:{DARK[colour]};" for colour in SERIES if colour in DARK)
    return f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


def _file(name: str) -> str:
    return (files("opsd_rs.report") / "page" / name).read_text(encoding="utf-8")


def _template() -> Any:
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise BadInput(
            "reports need jinja2: install the report extra, `pip install opsd-rs[report]`"
        ) from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["ours"] = Markup
    return environment.from_string(_file("report.html.jinja"))
