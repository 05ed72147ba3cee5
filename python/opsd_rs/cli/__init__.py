"""The command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.cli.app import main

__all__ = ["main"]
__getattr__, __dir__ = lazy_exports(__name__, {
    "app": ["main"],
})  # fmt: skip
