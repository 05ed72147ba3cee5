"""A problem file as a row of records: lines of JSON, items of one JSON array, rows of a parquet table.

The first bytes decide which. In: a path. Out: records with the place each stands at, read one after the other, and
a way to read one again, so that gigabytes of tests need not stay in memory. This module does not know the keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from opsd_rs.errors import BadInput
from opsd_rs.inputs.sources import Source, source
from opsd_rs.inputs.values import raw_decode

ROWS_AT_ONCE = 32
"""Parquet rows read together; with LiveCodeBench's tests about 100 MB."""

Value = bytes | Mapping[str, Any]
"""A line as it stands, or an object already parsed."""


class Record(NamedTuple):
    """One record of a file."""

    where: str
    """``file:line``, or ``file, row N`` (from 1) of a table."""
    number: int
    """From 0, empty lines not counted."""
    value: Value
    again: Callable[[], Value]
    """Reads ``value`` again; raises BadInput where the file has changed meanwhile."""


def records(file: Path) -> Iterator[Record]:
    """The records of a file.

    :raises BadInput: names the file and line: it cannot be read, or is neither JSON nor parquet
    """
    found = source(file)
    try:
        if found.head[:4] == b"PAR1":
            yield from _rows(found)
            return
        with found.open() as stream:
            if found.head.lstrip()[:1] == b"[":
                yield from _items(file, stream.read())
            else:
                yield from _lines(file, found, stream)
    except OSError as error:
        raise BadInput(f"problems.path: {file}: {error.strerror}") from error


def lines(file: Path, stream: list[bytes]) -> Iterator[Record]:
    """The records of lines held in memory; ``file`` names them in errors."""
    found = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    for index, (number, line) in enumerate(found):
        yield Record(f"{file}:{number}", index, line, partial(_same, line))


def _same(value: Value) -> Value:
    return value


def _lines(file: Path, found: Source, stream: IO[bytes]) -> Iterator[Record]:
    offset, index = found.start, 0
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield Record(
                f"{file}:{number}", index, line, partial(_line_again, found, number, offset, line[:64])
            )
            index += 1
        offset += len(line)


def _line_again(found: Source, number: int, offset: int, start: bytes) -> bytes:
    try:
        with found.path.open("rb") as stream:
            stream.seek(offset)
            line = stream.readline()
    except OSError as error:
        raise BadInput(f"{found.name}: {error.strerror}") from error
    if not line.startswith(start):
        raise BadInput(f"{found.name}:{number}: the file has changed since it was opened: start again")
    return line


def _items(file: Path, data: bytes) -> Iterator[Record]:
    """Items of a JSON array, decoded one after the other, so that each one's line is known."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{file}:{line}: not UTF-8 ({error.reason})") from error
    position, line, index = text.index("[") + 1, 1 + text.count("\n", 0, text.index("[")), 0
    try:
        while True:
            start = _past_space(text, position)
            line, position = line + text.count("\n", position, start), start
            if index == 0 and text[position : position + 1] == "]":
                return
            where = f"{file}:{line}"
            value, end = raw_decode(text, position)
            if not isinstance(value, dict):
                raise BadInput(
                    f"{where}: one JSON object per problem is expected, found {type(value).__name__}"
                )
            yield Record(where, index, value, partial(_same, value))
            index += 1
            after = _past_space(text, end)
            line, position = line + text.count("\n", position, after), after
            if text[position : position + 1] == "]":
                return
            if text[position : position + 1] != ",":
                raise BadInput(f"{file}:{line}: a comma or the array's end is expected")
            position += 1
    except json.JSONDecodeError as error:
        raise BadInput(f"{file}:{error.lineno}: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise BadInput(f"{file}:{line}: JSON nested too deep") from error


def _past_space(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\r", "\n"):
        position += 1
    return position


def _rows(found: Source) -> Iterator[Record]:
    file, start = found.path, 0
    stamp = _stamp(file)
    while batch := _batch(file, stamp, start, found.name):
        for offset, row in enumerate(batch):
            index = start + offset
            yield Record(
                f"{found.name}, row {index + 1}", index, row, partial(_row_again, found, stamp, index)
            )
        start += len(batch)


def _stamp(file: Path) -> tuple[int, int, int]:
    """Changes with the file's content."""
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


@lru_cache(maxsize=1)
def _batch(file: Path, stamp: tuple[int, int, int], start: int, name: str) -> list[dict[str, Any]]:
    """Rows from ``start`` on; the last batch stays in memory, as its rows are read again one after the other."""
    import polars

    try:
        frame = polars.scan_parquet(file, glob=False).slice(start, ROWS_AT_ONCE).collect()
    except (polars.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{name}: not a readable parquet file ({str(error).splitlines()[0]})") from error
    return [_plain(row) for row in frame.to_dicts()]


def _row_again(found: Source, stamp: tuple[int, int, int], index: int) -> Mapping[str, Any]:
    start = index - index % ROWS_AT_ONCE
    try:
        if _stamp(found.path) == stamp:
            return _batch(found.path, stamp, start, found.name)[index - start]
    except OSError as error:
        raise BadInput(f"{found.name}: {error.strerror}") from error
    raise BadInput(f"{found.name}: the file has changed since it was opened: start again")


def _plain(value: Any) -> Any:
    """A table's value as JSON would have it: dates as ISO text, bytes as text."""
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [_plain(item) for item in value] if isinstance(value, list) else value
