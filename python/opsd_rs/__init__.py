"""On-policy self-distillation of language models from world feedback.

``import opsd_rs`` is light: torch, transformers and polars are loaded by the rooms that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsd_rs.records import (
    Case,
    CaseResult,
    Grade,
    Problem,
    Rollout,
    Solution,
    TeacherContext,
)

if TYPE_CHECKING:
    from opsd_rs.context import Assembler as Assembler
    from opsd_rs.context_api import Context as Context
    from opsd_rs.context_batch import Batch as Batch
    from opsd_rs.grading import Grader as Grader

__version__ = "0.1.0"
__all__ = [
    "Assembler",
    "Batch",
    "Case",
    "CaseResult",
    "Context",
    "Grade",
    "Grader",
    "Problem",
    "Rollout",
    "Solution",
    "TeacherContext",
]


def __getattr__(name: str) -> Any:
    """Load ``Grader``, ``Context``, ``Assembler`` and ``Batch`` (and the rooms, as attributes) at first use."""
    from importlib import import_module

    if name in _AT_FIRST_USE:
        return getattr(import_module(_AT_FIRST_USE[name]), name)
    if not name.startswith("_") and name in _ROOMS:
        return import_module(f"opsd_rs.{name}")
    raise AttributeError(f"module 'opsd_rs' has no attribute {name!r}")


_AT_FIRST_USE = {
    "Assembler": "opsd_rs.context",
    "Batch": "opsd_rs.context_batch",
    "Context": "opsd_rs.context_api",
    "Grader": "opsd_rs.grading",
}
_ROOMS = frozenset(
    {"config", "context", "gap", "grading", "law", "loss", "model", "problems", "rollout", "teacher"}
)
