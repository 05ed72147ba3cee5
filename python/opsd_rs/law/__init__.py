"""The predictive law: improvement after training against the gap before it; fit, check, plan, predict, draw."""

# isort: off
from typing import TYPE_CHECKING
from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    from opsd_rs.law.backtest import backtest_runs, format_backtest
    from opsd_rs.law.bootstrap import add_bootstrap
    from opsd_rs.law.checks import failed_audits
    from opsd_rs.law.curve import RULES, Look, Stop, StopTerms, find_stop, looks_of
    from opsd_rs.law.figures import draw_figure1, figure1, figure2
    from opsd_rs.law.fit import fit_tables, save, synthetic_table
    from opsd_rs.law.forecast_text import format_law, format_predictions
    from opsd_rs.law.imports import import_tables
    from opsd_rs.law.laws import Law, law_names, law_record, law_table, load_law
    from opsd_rs.law.plan import power_tables, recover
    from opsd_rs.law.plan_text import format_power, format_recovered, format_study
    from opsd_rs.law.predict import PredictOptions, Terms, predict_records, predict_table
    from opsd_rs.law.run_forecast import check_run, forecast_line, forecast_run, prior_of
    from opsd_rs.law.regression import fit_line
    from opsd_rs.law.runs import RUNS_SCHEMA, append_run_row
    from opsd_rs.law.studies import run_study
    from opsd_rs.law.text import format_table, format_checks

__all__ = [
    "RULES", "RUNS_SCHEMA", "Law", "Look", "PredictOptions", "Stop", "StopTerms", "Terms", "add_bootstrap",
    "append_run_row", "backtest_runs", "check_run", "draw_figure1", "failed_audits", "figure1", "figure2",
    "find_stop", "fit_line", "fit_tables", "forecast_line", "forecast_run", "format_backtest", "format_checks",
    "format_law", "format_power", "format_predictions", "format_recovered", "format_study", "format_table",
    "import_tables", "law_names", "law_record", "law_table", "load_law", "looks_of", "power_tables",
    "predict_records", "predict_table", "prior_of", "recover", "run_study", "save", "synthetic_table"]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "run_forecast": "check_run forecast_line forecast_run prior_of", "forecast_text": "format_law format_predictions",
    "plan_text": "format_power format_recovered format_study", "laws": "Law law_names law_record law_table load_law",
    "predict": "PredictOptions Terms predict_records predict_table", "backtest": "backtest_runs format_backtest",
    "fit": "fit_tables save synthetic_table", "runs": "RUNS_SCHEMA append_run_row", "plan": "power_tables recover",
    "curve": "RULES Look Stop StopTerms find_stop looks_of", "figures": "draw_figure1 figure1 figure2",
    "text": "format_table format_checks", "bootstrap": "add_bootstrap", "imports": "import_tables",
    "checks": "failed_audits", "regression": "fit_line", "studies": "run_study"})  # fmt: skip
