"""The predictive law: improvement after training against the gap before it; fit, check, plan, predict, draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.law.bootstrap import add_bootstrap
    from opsd_rs.law.checks import failed_audits
    from opsd_rs.law.figures import figure1, figure2
    from opsd_rs.law.fit import fit_tables, save, synthetic_table
    from opsd_rs.law.plan import power_tables, recover
    from opsd_rs.law.plan_text import format_power, format_recovered, format_study
    from opsd_rs.law.predict import predict_table
    from opsd_rs.law.runs import RUNS_SCHEMA, append_run_row
    from opsd_rs.law.studies import run_study
    from opsd_rs.law.text import format_checks, format_predictions, format_table

__all__ = [
    "RUNS_SCHEMA", "add_bootstrap", "append_run_row", "failed_audits", "figure1", "figure2", "fit_tables",
    "format_checks", "format_power", "format_predictions", "format_recovered", "format_study", "format_table",
    "power_tables", "predict_table", "recover", "run_study", "save", "synthetic_table",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "bootstrap": "add_bootstrap", "checks": "failed_audits", "figures": "figure1 figure2",
    "fit": "fit_tables save synthetic_table", "plan": "power_tables recover", "predict": "predict_table",
    "plan_text": "format_power format_recovered format_study", "runs": "RUNS_SCHEMA append_run_row",
    "studies": "run_study", "text": "format_checks format_predictions format_table"})  # fmt: skip
