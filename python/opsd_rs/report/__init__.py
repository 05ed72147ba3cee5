"""Reports: one offline HTML file of runs, a sweep or a law, and its figures by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    from opsd_rs.report.figures import FIGURES, write_figure
    from opsd_rs.report.page import write_report

__all__ = ["FIGURES", "write_figure", "write_report"]
__getattr__, __dir__ = lazy_exports(
    __name__, {"figures": ["FIGURES", "write_figure"], "page": ["write_report"]}
)
