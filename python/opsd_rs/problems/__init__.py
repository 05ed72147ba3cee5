"""Problems: read from any known file, filtered, split, held out, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.problems.check import check_file, check_rows
    from opsd_rs.problems.files import Index, index, load, read
    from opsd_rs.problems.livecodebench import fetch_lcb
    from opsd_rs.problems.rows import CONTEST_KEYS, TEST_KEYS, row_problem
    from opsd_rs.problems.sets import ProblemSet, describe, draw, from_config
    from opsd_rs.problems.unsupported import Unsupported

__all__ = [
    "CONTEST_KEYS", "TEST_KEYS", "Index", "ProblemSet", "Unsupported", "check_file", "check_rows", "describe", "draw",
    "fetch_lcb", "from_config", "index", "load", "read", "row_problem",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "check": ["check_file", "check_rows"],
    "files": ["Index", "index", "load", "read"],
    "livecodebench": ["fetch_lcb"],
    "rows": ["CONTEST_KEYS", "TEST_KEYS", "row_problem"],
    "sets": ["ProblemSet", "describe", "draw", "from_config"],
    "unsupported": ["Unsupported"],
})  # fmt: skip
