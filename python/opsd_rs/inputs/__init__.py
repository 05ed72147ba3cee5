"""What users hand in as files: records of JSON or parquet, packed, piped or neither, and values kept as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.inputs.raw import Record, Value, lines, records
    from opsd_rs.inputs.sources import Source, source
    from opsd_rs.inputs.values import (
        Digits,
        as_json,
        dumps,
        get,
        is_absent,
        literal,
        loads,
        parse,
        present,
        short,
    )

__all__ = [
    "Digits", "Record", "Source", "Value", "as_json", "dumps", "get", "is_absent", "lines", "literal", "loads", "parse",
    "present", "records", "short", "source",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "raw": ["Record", "Value", "lines", "records"],
    "sources": ["Source", "source"],
    "values": ["Digits", "as_json", "dumps", "get", "is_absent", "literal", "loads", "parse", "present", "short"],
})  # fmt: skip
