"""What figures share: how a context looks, panels in one style, files of the same bytes every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.drawing.canvas import Drawing, counted, drawn_in_style, label, legend_above, load_matplotlib
    from opsd_rs.drawing.canvas import panels, percent, save_drawing, svg_element, widened
    from opsd_rs.drawing.looks import GRID, INK, LOOKS, MUTED, PAPER, RULE, STUDENT, TEACHER, Look
    from opsd_rs.drawing.looks import context_label, context_looks

__all__ = [
    "GRID", "INK", "LOOKS", "MUTED", "PAPER", "RULE", "STUDENT", "TEACHER", "Drawing", "Look", "context_label",
    "context_looks", "counted", "drawn_in_style", "label", "legend_above", "load_matplotlib", "panels", "percent",
    "save_drawing", "svg_element", "widened",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "canvas": "Drawing counted drawn_in_style label legend_above load_matplotlib panels percent save_drawing "
        "svg_element widened",
    "looks": "GRID INK LOOKS MUTED PAPER RULE STUDENT TEACHER Look context_label context_looks",
})  # fmt: skip
