"""Tables of records as parquet files: read, written whole, added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base.files import write_whole
from opsd_rs.errors import BadInput


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as one parquet file, whole or not at all."""
    import io

    import polars

    buffer = io.BytesIO()
    polars.DataFrame(list(rows), infer_schema_length=None).write_parquet(buffer)
    write_whole(path, buffer.getvalue())


def read_table(path: Path) -> list[dict[str, Any]]:
    """All rows of a parquet file; none where the file is absent.

    :raises BadInput: a file that is no parquet table
    """
    if not path.exists():
        return []
    import polars

    try:
        return polars.read_parquet(path).to_dicts()
    except polars.exceptions.PolarsError as error:
        raise BadInput(f"{path}: no parquet table: {error}") from None


def add_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a small parquet table by rewriting it whole."""
    write_table(path, [*read_table(path), *rows])
