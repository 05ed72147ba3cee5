"""The results file: one whole line per solution, as soon as its verdict is known; or the same rows as parquet.

A run that continues from its journal writes the results it already has beside the file and puts them in its place, so
that the file never shrinks. Parquet cannot be appended to: its rows are kept as lines beside it and turned into the
table, whole or not at all, when the run ends.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from opsd_rs.base import append, write_whole, writing
from opsd_rs.errors import BadInput, DiskFull
from opsd_rs.grading.files.record import COLUMNS, Record

ROWS_AT_ONCE = 4096
"""Lines turned into a table together."""


class Results:
    """Writes ``path``: jsonl, or parquet where that is its suffix."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Claim the file.

        :raises BadInput: it exists and ``resume`` is not set, or its folder cannot be written
        """
        self.path = path
        self._table = path.suffix == ".parquet"
        self._lines = path.with_name(f".{path.name}.lines") if self._table else path
        if not resume and path.exists():
            raise BadInput(f"{path} exists; choose another name, remove it, or add --resume to continue it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{path.parent}: {error.strerror}") from None
        self._file = -1

    def begin(self, known: Iterable[Record]) -> None:
        """Put the results that are already known in the file's place, then be ready for more."""
        fresh = self._lines.with_name(f".{self._lines.name.lstrip('.')}.new")
        try:
            with writing(self.path.name, self.path.parent):
                with fresh.open("wb") as file:
                    for record in known:
                        file.write(record.text.encode() + b"\n")
                fresh.replace(self._lines)
                self._file = os.open(self._lines, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except DiskFull:
            fresh.unlink(missing_ok=True)
            raise
        except OSError as error:
            raise BadInput(f"{self.path}: {error.strerror}") from None

    def write(self, record: Record) -> None:
        """Append one solution's result.

        :raises DiskFull: no space; the file ends with the result before
        """
        with writing(f"a line of {self.path.name}", self.path.parent):
            append(self._file, record.text.encode() + b"\n")

    def finish(self) -> None:
        """All results are written: make the table, if it is to be one."""
        if self._table:
            write_whole(self.path, _table_bytes(self._lines))
            self._lines.unlink()

    def close(self) -> None:
        """Leave the file as it is."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _table_bytes(lines: Path) -> bytes:
    """The rows as parquet. ``metadata`` is JSON text, its keys varying from row to row."""
    import polars

    case = {"index": polars.Int64, "verdict": polars.String}
    numbers = dict.fromkeys(("cpu_seconds", "wall_seconds", "memory_mib"), polars.Float64)
    schema: dict[str, Any] = dict.fromkeys(COLUMNS, polars.String)
    schema |= {
        "sample": polars.Int64,
        "passed": polars.Boolean,
        "tests": polars.List(polars.Struct({**case, **numbers})),
        "flags": polars.List(polars.String),
    }
    frames = [polars.DataFrame(schema=schema)]
    with lines.open("rb") as stream:
        while chunk := list(islice(stream, ROWS_AT_ONCE)):
            rows = [json.loads(line) for line in chunk]
            rows = [{**row, "metadata": json.dumps(row["metadata"])} for row in rows]
            frames.append(polars.DataFrame(rows, schema=schema))
    buffer = io.BytesIO()
    polars.concat(frames).write_parquet(buffer)
    return buffer.getvalue()
