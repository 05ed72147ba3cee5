"""Tasks that a model is trained on: problems, the message the student reads, verdicts with feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.environments.base import Environment
    from opsd_rs.environments.start import make_environment

__all__ = ["Environment", "make_environment"]
__getattr__, __dir__ = lazy_exports(__name__, {
    "base": ["Environment"],
    "start": ["make_environment"],
})  # fmt: skip
