"""What every package stands on: files and tables, ranks, progress, estimators, plugins, the packed batch."""

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.base.batch import Batch, Bools, flat_ids
    from opsd_rs.base.cores import usable_cores
    from opsd_rs.base.disk import MIB, writing
    from opsd_rs.base.estimators import tally_passed
    from opsd_rs.base.files import append, append_line, cut_lines, read_lines, write_lines, write_whole
    from opsd_rs.base.launch import has_cuda, restart_on_cpu
    from opsd_rs.base.lru import MOST_TEST_CHARS, SizedLru, num_test_chars
    from opsd_rs.base.plugins import REGISTERED, import_attribute, resolve_plugin
    from opsd_rs.base.progress import Clock, Progress, Ticker, every
    from opsd_rs.base.ranks import Ranks
    from opsd_rs.base.show import print_result
    from opsd_rs.base.suggest import near
    from opsd_rs.base.tables import add_rows, read_table, write_table

__all__ = [
    "MIB", "MOST_TEST_CHARS", "REGISTERED", "Batch", "Bools", "Clock", "Progress", "Ranks", "SizedLru", "Ticker",
    "add_rows", "append", "append_line", "cut_lines", "every", "flat_ids", "has_cuda", "import_attribute", "near",
    "num_test_chars", "print_result", "read_lines", "read_table", "resolve_plugin", "restart_on_cpu", "tally_passed",
    "usable_cores", "write_lines", "write_table", "write_whole", "writing",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "batch": ["Batch", "Bools", "flat_ids"], "cores": ["usable_cores"], "disk": ["MIB", "writing"],
    "estimators": ["tally_passed"],
    "files": ["append", "append_line", "cut_lines", "read_lines", "write_lines", "write_whole"],
    "launch": ["has_cuda", "restart_on_cpu"], "lru": ["MOST_TEST_CHARS", "SizedLru", "num_test_chars"],
    "plugins": ["REGISTERED", "import_attribute", "resolve_plugin"],
    "progress": ["Clock", "Progress", "Ticker", "every"], "ranks": ["Ranks"], "show": ["print_result"],
    "suggest": ["near"], "tables": ["add_rows", "read_table", "write_table"],
})  # fmt: skip
