"""What every package stands on: files and tables, ranks, progress, estimators, plugins."""

# isort: off
from typing import TYPE_CHECKING
from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    from opsd_rs.base.batch import Batch, Bools, Ints, flat_ids
    from opsd_rs.base.console import diverted, keep_output
    from opsd_rs.base.cores import usable_cores, whole_cores
    from opsd_rs.base.estimators import Mean, grouped_difference, mean_accuracy, mean_difference, pass_at_k
    from opsd_rs.base.estimators import t_interval, t_quantile, t_two_sided, tally_passed
    from opsd_rs.base.files import MIB, append, append_line, cut_lines, read_lines, write_lines, write_whole
    from opsd_rs.base.files import writing
    from opsd_rs.base.launch import has_cuda, openmp_environment, restart_on_cpu
    from opsd_rs.base.lru import MOST_TEST_CHARS, SizedLru, num_test_chars
    from opsd_rs.base.output_head import LogitRule
    from opsd_rs.base.paths import expand, own_name, without_wildcards
    from opsd_rs.base.plugins import REGISTERED, import_attribute, resolve_plugin
    from opsd_rs.base.progress import Clock, Progress, Ticker, every
    from opsd_rs.base.ranks import Ranks
    from opsd_rs.base.show import print_result
    from opsd_rs.base.signals import StopNow, StopSignals, stop_signals
    from opsd_rs.base.tables import add_rows, read_records, read_table, write_table

__all__ = ["MIB", "MOST_TEST_CHARS", "REGISTERED", "Batch", "Bools", "Clock", "Ints", "LogitRule", "Mean", "Progress",
    "Ranks", "SizedLru", "StopNow", "StopSignals", "Ticker", "add_rows", "append", "append_line", "cut_lines",
    "diverted", "every", "expand", "flat_ids", "grouped_difference", "has_cuda", "import_attribute", "keep_output",
    "mean_accuracy", "mean_difference", "num_test_chars", "openmp_environment", "own_name", "pass_at_k",
    "print_result", "read_lines", "read_records", "read_table", "resolve_plugin", "restart_on_cpu", "stop_signals",
    "t_interval", "t_quantile", "t_two_sided", "tally_passed", "usable_cores", "whole_cores", "without_wildcards",
    "write_lines", "write_table", "write_whole", "writing"]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "batch": "Batch Bools Ints flat_ids", "console": "diverted keep_output", "cores": "usable_cores whole_cores",
    "estimators": "Mean grouped_difference mean_accuracy mean_difference pass_at_k t_interval t_quantile t_two_sided "
        "tally_passed", "ranks": "Ranks", "show": "print_result", "signals": "StopNow StopSignals stop_signals",
    "files": "MIB append append_line cut_lines read_lines write_lines write_whole writing", "output_head": "LogitRule",
    "launch": "has_cuda openmp_environment restart_on_cpu", "lru": "MOST_TEST_CHARS SizedLru num_test_chars",
    "paths": "expand own_name without_wildcards", "plugins": "REGISTERED import_attribute resolve_plugin",
    "progress": "Clock Progress Ticker every", "tables": "add_rows read_records read_table write_table"})  # fmt: skip
