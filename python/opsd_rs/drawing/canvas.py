"""What every figure is drawn on: panels in one style, a caption, and files of the same bytes every time.

In: what to draw, by matplotlib, which is loaded with the first figure. Out: .svg, .png or .pdf without dates, or an
<svg> element for a page, whose ground is transparent and whose colours are the page's variables.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsd_rs.base import write_whole
from opsd_rs.drawing.looks import GRID, INK, MUTED, PAPER, shortened
from opsd_rs.errors import BadInput

MAX_COLUMNS = 4
STYLE = {
    "svg.hashsalt": "opsd-rs",  # else element ids differ from run to run
    "text.parse_math": False,  # names may hold a $
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has the same
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": 300,
}
FORMATS: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": "opsd-rs"},
    ".png": {"Software": "opsd-rs"},
    ".pdf": {"CreationDate": None, "Creator": "opsd-rs", "Producer": None},
}
"""What a file says of itself: no date and no version."""


@dataclass(frozen=True)
class Drawing:
    """A figure, and what a reader must know to read it: what points and bars are, and how many."""

    title: str
    figure: Any
    caption: str


def load_matplotlib(extra: str = "plot") -> Any:
    """matplotlib.

    :raises BadInput: it is not installed, naming the extra
    """
    try:
        import matplotlib
    except ImportError as error:
        raise BadInput(
            f"figures need matplotlib: install the {extra} extra, `pip install opsd-rs[{extra}]`"
        ) from error
    return matplotlib


def drawn_in_style(draw: Callable[..., Drawing]) -> Callable[..., Drawing]:
    """``draw``, called with the style set; matplotlib's own settings of the process stay as they were."""

    def inner(*args: Any, **options: Any) -> Drawing:
        with load_matplotlib().rc_context(STYLE):
            return draw(*args, **options)

    inner.__doc__ = draw.__doc__
    return inner


def panels(
    count: int,
    *,
    width: float,
    height: float,
    share: bool = True,
    columns: int = MAX_COLUMNS,
) -> tuple[Any, list[Any]]:
    """A figure of ``count`` panels, in inches; ``legend_above`` makes it taller.

    :param share: all axes have the same limits
    """
    from matplotlib.figure import Figure

    across = min(count, columns)
    rows = -(-count // across)
    figure = Figure(figsize=(width * across, height * rows + 0.2), layout="constrained")
    found = list(figure.subplots(rows, across, sharex=share, sharey=share, squeeze=False).flat)
    for unused in found[count:]:
        unused.set_visible(False)
    return figure, found[:count]


def legend_above(figure: Any, handles: Sequence[Any], labels: Sequence[str] | None = None) -> None:
    """One legend for all panels, above them, in as many columns as there is width for.

    :param labels: the handles' own unless given
    """
    names = list(labels) if labels is not None else [handle.get_label() for handle in handles]
    width, height = figure.get_size_inches()
    columns = max(1, int((width - 0.1) / (0.4 + 0.066 * max(map(len, names)))))
    figure.set_size_inches(width, height + 0.1 + 0.19 * -(-len(names) // columns))
    figure.legend(
        list(handles), names, loc="outside upper left", ncols=min(columns, len(names)), columnspacing=1.2,
        handletextpad=0.5, borderaxespad=0.2,
    )  # fmt: skip


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {what}" + ("" if number == 1 else "s")


def label(text: str) -> str:
    """A text that a legend shows: one that begins with an underscore would be left out."""
    return shortened(f"\u200b{text}" if text.startswith("_") else text)


def save_drawing(drawing: Drawing, out: Path, *, caption: bool = True) -> list[Path]:
    """Write ``out`` as its suffix says; without one, or as .svg and .png beside each other.

    :param caption: print the caption below the panels
    :raises BadInput: another suffix
    """
    if out.suffix not in ("", *FORMATS):
        raise BadInput(f"{out}: a figure is {', '.join(FORMATS)}, or both .svg and .png without a suffix")
    matplotlib = load_matplotlib()
    figure = drawing.figure
    characters = int(figure.get_size_inches()[0] * 18.5)
    lines = [textwrap.fill(line, characters, break_on_hyphens=False) for line in drawing.caption.split("\n")]
    with matplotlib.rc_context(STYLE):
        figure.supxlabel("\n".join(lines) if caption else "", fontsize=7, color=MUTED, x=0.01, ha="left")
    written = []
    for suffix in [out.suffix] if out.suffix else [".svg", ".png"]:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            figure.savefig(buffer, format=suffix[1:], metadata=FORMATS[suffix], facecolor=PAPER)
        path = out if out.suffix else out.with_name(out.name + suffix)
        write_whole(path, buffer.getvalue())
        written.append(path)
    return written


def svg_element(drawing: Drawing, name: str, variables: dict[str, str]) -> str:
    """The figure as an <svg> element for a page.

    :param name: begins every id in it, so that figures of one page do not share any
    :param variables: colour -> the CSS variable that replaces it
    """
    buffer = io.BytesIO()
    with load_matplotlib().rc_context({**STYLE, "svg.fonttype": "none"}):
        drawing.figure.savefig(buffer, format="svg", metadata=FORMATS[".svg"], transparent=True)
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', text)
    # In styles only: a name in a text may look like a colour.
    return re.sub(
        r'(?<=style=")[^"]*',
        lambda style: re.sub(
            r"#[0-9a-f]{6}\b",
            lambda colour: f"var({variables[colour[0]]})" if colour[0] in variables else colour[0],
            style[0],
        ),
        text,
    )


def percent(value: float | None) -> float | None:
    """A fraction in per cent; None where it is not known."""
    return None if value is None else 100 * value


def widened(values: Sequence[float], above: float = 0.08, below: float = 0.08) -> tuple[float, float]:
    """Limits of an axis that hold ``values`` with space on both sides."""
    span = max(values) - min(values) or 1.0
    return min(values) - below * span, max(values) + above * span
