"""Tables of records: our own parquet files, read, written whole and added to, and tables that a user hands in.

A value that is not known is null in a file and None here. Files of earlier versions hold nan for it; what reads them
says so.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base.files import write_whole
from opsd_rs.errors import BadInput


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], *, halves: Sequence[str] = ()) -> None:
    """Write rows as one parquet file, whole or not at all.

    :param halves: columns, where there are such, that hold lists of float16, also where every one is null
    """
    import polars

    table = polars.DataFrame(list(rows), infer_schema_length=None)
    of_halves = polars.List(polars.Float16)
    table = table.with_columns(polars.col(name).cast(of_halves) for name in halves if name in table.columns)
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_whole(path, buffer.getvalue())


def read_table(path: Path, *, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a parquet file; none where the file is absent.

    :param columns: only these
    :raises BadInput: a file that is no parquet table
    """
    if not path.exists():
        return []
    import polars

    try:
        table = polars.read_parquet(
            io.BytesIO(path.read_bytes()),  # a path would be a pattern
            columns=None if columns is None else list(columns),
        )
    except polars.exceptions.PolarsError as error:
        raise BadInput(f"{path}: no parquet table: {error}") from None
    return table.to_dicts()


def add_rows(path: Path, rows: Sequence[Mapping[str, Any]], *, key: Sequence[str] = ()) -> None:
    """Append rows to a parquet table by rewriting it whole.

    :param key: columns by which a new row replaces an older one
    :raises BadInput: a file that is no parquet table
    """
    import polars

    new = polars.DataFrame(list(rows), infer_schema_length=None)
    if path.exists():
        try:
            old = polars.read_parquet(io.BytesIO(path.read_bytes()))
        except polars.exceptions.PolarsError as error:
            raise BadInput(f"{path}: no parquet table: {error}") from None
        if key:
            old = old.join(new.select(key), on=list(key), how="anti", nulls_equal=True)
        new = polars.concat([old, new], how="diagonal_relaxed")
    buffer = io.BytesIO()
    new.write_parquet(buffer)
    write_whole(path, buffer.getvalue())


def read_records(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that a user names: .parquet, .csv (values stay text) or .jsonl.

    :raises BadInput: no such file, another suffix, or a file that is not what its suffix says
    """
    import polars

    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return polars.read_parquet(io.BytesIO(path.read_bytes())).to_dicts()
        if suffix == ".csv":
            # Lines before the header that start with # are comments.
            text = path.read_text(encoding="utf-8-sig")
            while text.startswith("#"):
                text = text.partition("\n")[2]
            return polars.read_csv(io.StringIO(text), infer_schema=False).to_dicts() if text.strip() else []
        if suffix in (".jsonl", ".ndjson"):
            return list(_json_lines(path))
    except (polars.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read as {suffix[1:]}: {str(error).splitlines()[0]}") from error
    raise BadInput(f"{path}: a table is .parquet, .csv or .jsonl, not {suffix or 'without suffix'}")


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}: line {place} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path}: line {place} is not a JSON object")
        yield record
