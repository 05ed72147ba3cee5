"""Results on stdout: a table for people, JSON for programs.

In: rows (mappings, dataclasses, a polars frame), or one mapping. Out: a table with the same columns and plain
text where stdout is no terminal, or JSON in which a number that is not finite is null.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: records become mappings, frames lists of mappings, NaN null.

    >>> plain({"gap": float("nan"), "contexts": ("none",)})
    {'gap': None, 'contexts': ['none']}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "to_dicts"):
        return plain(value.to_dicts())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def to_json(value: Any) -> str:
    """JSON text, indented, every number finite."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def to_rows(value: Any) -> list[dict[str, Any]]:
    """Rows of a table: a list as it is, a mapping of mappings keyed in the first column, others as pairs."""
    data = plain(value)
    if isinstance(data, dict) and len(data) == 1 and isinstance(next(iter(data.values())), dict):
        (title, inner) = next(iter(data.items()))
        if all(isinstance(row, dict) for row in inner.values()):
            return [{title: name, **row} for name, row in inner.items()]
    if isinstance(data, dict):
        return [{"": name, "value": item} for name, item in data.items()]
    return data if isinstance(data, list) else [{"value": data}]


def print_result(value: Any, form: str) -> None:
    """Write ``value`` to stdout as ``table`` or ``json``."""
    if form == "json":
        print(to_json(value))
        return
    rows = to_rows(value)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    if not sys.stdout.isatty():  # a file or a pipe has no width to wrap at
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for line in [columns, *cells]:
            print("  ".join(map(str.ljust, line, widths)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for line in cells:
        table.add_row(*map(Text, line))  # as it is: square brackets are not markup here
    Console(highlight=False).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
