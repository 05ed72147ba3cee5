"""Files that are written whole or not at all, and lines that are appended whole.

A run folder holds ``config.json`` (resolved), ``metrics.jsonl`` (a line per step), ``gap.parquet``, ``eval.parquet``,
``samples.parquet``, ``runs.parquet``, ``rollouts/*.parquet``, ``tokens.parquet``, ``run.json`` (id, versions, problems
left out, starts) and ``checkpoints/``; ``base.tables`` has the tables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsd_rs.base.disk import MIB as MIB
from opsd_rs.base.disk import writing as writing
from opsd_rs.errors import BadInput


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` so that a crash leaves the old file or the new one, never a part (rename(2)).

    :raises DiskFull: no space left; the old file stays and nothing of the new one does
    :raises BadInput: a folder, or a place where nothing can be written
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder: name a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with _refused(path), writing(f"{path.name} ({len(data) / MIB:.1f} MiB)", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line in one write, then fsync: a crash can cut the last line only.

    :raises DiskFull: no space left; the file is as it was
    :raises BadInput: a place where nothing can be written
    """
    line = (json.dumps(record, allow_nan=False) + "\n").encode()
    with _refused(path), writing(f"a line of {path.name}", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            append(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """A file that cannot be made or written, for another reason than space, as one line with its name."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}): name another place") from error


def append(file: int, line: bytes) -> None:
    """Append a whole line to an open file that no other process writes, or none of it.

    One write usually takes all of it. After a signal or on a disk that fills up it continues; if it cannot, it removes
    what it wrote and raises OSError.
    """
    size = os.fstat(file).st_size
    view = memoryview(line)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        os.ftruncate(file, size)
        raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole JSON lines; a last line cut by a crash is left out.

    :raises BadInput: a line that is not JSON
    """
    if not path.exists():
        return []
    found = []
    for place, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            if line.strip():
                found.append(json.loads(line))
        except ValueError as error:
            raise BadInput(
                f"{path}: line {place} is not JSON ({error}): remove it or put the file back"
            ) from None
    return found


def cut_lines(path: Path, num_steps: int) -> None:
    """Keep only the lines of steps before ``num_steps``: what comes after a checkpoint is done again."""
    write_lines(path, [line for line in read_lines(path) if line["step"] < num_steps])


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON lines as one file, whole or not at all."""
    write_whole(path, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
