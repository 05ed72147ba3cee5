"""The predictive law: improvement after training against the gap before it; fit, predict, draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.law.figures import draw_curve, draw_figure1, draw_figure2, draw_point, figure1, figure2
    from opsd_rs.law.fit import fit_tables, save, synthetic_table
    from opsd_rs.law.predict import predict_table
    from opsd_rs.law.regression import fit_line
    from opsd_rs.law.runs import RUNS_SCHEMA, append_run_row
    from opsd_rs.law.text import format_predictions, format_table

__all__ = [
    "RUNS_SCHEMA", "append_run_row", "draw_curve", "draw_figure1", "draw_figure2", "draw_point", "figure1", "figure2",
    "fit_line", "fit_tables", "format_predictions", "format_table", "predict_table", "save", "synthetic_table",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "figures": ["draw_curve", "draw_figure1", "draw_figure2", "draw_point", "figure1", "figure2"],
    "fit": ["fit_tables", "save", "synthetic_table"],
    "predict": ["predict_table"],
    "regression": ["fit_line"],
    "runs": ["RUNS_SCHEMA", "append_run_row"],
    "text": ["format_predictions", "format_table"],
})  # fmt: skip
