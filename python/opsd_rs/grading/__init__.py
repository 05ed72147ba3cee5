"""Grading: programs run in the sandbox, verdicts and feedback out: a batch, a stream, a file, a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.grading.files.lcb import OFFICIAL_K, pass_at_k_metrics
    from opsd_rs.grading.files.report import report_counts, report_notes, report_rows
    from opsd_rs.grading.files.run import grade_files
    from opsd_rs.grading.grader import Grader
    from opsd_rs.grading.official import Profile, Sample, defect, quirks_of_tests
    from opsd_rs.grading.settings import GraderSettings

__all__ = [
    "OFFICIAL_K", "Grader", "GraderSettings", "Profile", "Sample", "defect", "grade_files", "pass_at_k_metrics",
    "quirks_of_tests", "report_counts", "report_notes", "report_rows",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "files.lcb": ["OFFICIAL_K", "pass_at_k_metrics"],
    "files.report": ["report_counts", "report_notes", "report_rows"],
    "files.run": ["grade_files"],
    "grader": ["Grader"],
    "official": ["Profile", "Sample", "defect", "quirks_of_tests"],
    "settings": ["GraderSettings"],
})  # fmt: skip
