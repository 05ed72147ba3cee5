"""The official profiles against a second file of records: programs written to surprise, kept where both said the same.

What these look for is a change of ours that the runner did not make: ways to read and to print, to end and to fail,
layouts of a source, odd samples.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from lcb_runs import run_all, same
from opsd_rs import Grader
from opsd_rs.grading import Profile

FILE = Path(__file__).parents[2] / "data" / "lcb_more_cases.jsonl"
"""As ``lcb_edge_cases.jsonl``: recorded at 28fef95 and with the ``testing_util`` of 15808c7; CPython 3.11."""


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="recorded under Python 3.11: other words elsewhere"
)
@pytest.mark.parametrize("profile", ["lcb-2025-05", "lcb-2025-01"])
def test_recorded_surprises(profile: Profile) -> None:
    rows: dict[str, dict[str, Any]] = {
        (row := json.loads(line))["id"]: row for line in FILE.read_text().splitlines()
    }
    assert len(rows) > 900
    if (
        profile == "lcb-2025-01" and os.environ.get("OPSD_RS_LONG_TESTS") != "1"
    ):  # the standard input is all that differs
        rows = {name: row for name, row in rows.items() if name.startswith("in") or "official_2025_01" in row}
    with Grader(profile=profile, workers=2, feedback=False) as grader:
        found = run_all(grader, rows, rows)
    others = {}
    for name, row in rows.items():
        older = row.get("official_2025_01") if profile == "lcb-2025-01" else None
        try:
            same(found[name][0], older or row["official"])
        except AssertionError:
            others[name] = row["code"], found[name][0], older or row["official"]
    assert others == {}
