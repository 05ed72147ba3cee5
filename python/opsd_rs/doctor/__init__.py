"""What this machine can do with opsd-rs, and what stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.doctor.machine import examine

__all__ = ["examine"]
__getattr__, __dir__ = lazy_exports(__name__, {
    "machine": ["examine"],
})  # fmt: skip
