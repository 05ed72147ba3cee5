"""Problems: read from any known file, filtered, split, held out, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.problems.files import index, load, read
    from opsd_rs.problems.livecodebench import fetch_lcb
    from opsd_rs.problems.pairs import pairs_cases, pairs_head
    from opsd_rs.problems.sets import ProblemSet, describe, draw, from_config

__all__ = [
    "ProblemSet", "describe", "draw", "fetch_lcb", "from_config", "index", "load", "pairs_cases", "pairs_head",
    "read",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "files": ["index", "load", "read"],
    "livecodebench": ["fetch_lcb"],
    "pairs": ["pairs_cases", "pairs_head"],
    "sets": ["ProblemSet", "describe", "draw", "from_config"],
})  # fmt: skip
