"""On-policy self-distillation of language models from world feedback.

``import opsd_rs`` is light: torch, transformers and polars are loaded by the packages that need them.
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
    from opsd_rs.base import Batch as Batch
    from opsd_rs.context import Assembler as Assembler
    from opsd_rs.context import Context as Context
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
    """Load what is listed below, and the packages as attributes, at first use."""
    from importlib import import_module

    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'opsd_rs' has no attribute {name!r}")


_NAMES = {
    "Assembler": "opsd_rs.context",
    "Batch": "opsd_rs.base",
    "Context": "opsd_rs.context",
    "Grader": "opsd_rs.grading",
}
_PACKAGES = (
    "config",
    "context",
    "grading",
    "law",
    "loss",
    "measure",
    "model",
    "policy",
    "problems",
    "rollout",
)
_MODULES = {name: f"opsd_rs.{name}" for name in _PACKAGES} | {
    "gap": "opsd_rs.measure.arms",
    "teacher": "opsd_rs.policy.teacher",
}
