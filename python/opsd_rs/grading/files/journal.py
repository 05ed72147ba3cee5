"""Verdicts on disk by their key: the journal of one results file, and a cache between runs.

``R.journal`` holds one line ``{"key": ..., "result": ...}`` per finished program, written in one write as soon as the
verdict is known; a run that was killed goes on from it. A write that the kill cut is the last line and is dropped.
A cache is a folder with one file per key, each written aside and renamed, so that runs may share it. Neither takes a
result of an infrastructure fault, which says nothing about the program.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from opsd_rs.base import append, writing
from opsd_rs.errors import BadInput

Result = Mapping[str, Any]
"""A result line's content: a ``Grade`` as plain values."""


def is_settled(result: Result) -> bool:
    """Whether the result is about the program: no infrastructure fault, under a second profile neither."""
    second = result["metadata"].get("also") or {}
    return result["passed"] is not None and second.get("verdict") != "infra_error"


class Journal:
    """The verdicts of one results file. Holds a lock on its file: a second run on it is refused."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Open or create it.

        :raises BadInput: it exists and ``resume`` is not set; another run is writing it; a line is corrupt
        :raises DiskFull: no room for it
        """
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            with writing(path.name, path.parent):
                self._file = os.open(path, flags | (0 if resume else os.O_EXCL), 0o644)
        except FileExistsError:
            raise BadInput(
                f"{path} exists, of a run that was cut short: add --resume to go on with it, or remove it"
            ) from None
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._places: dict[str, tuple[int, int]] = {}
            self._size = self._read()
        except BlockingIOError:
            os.close(self._file)
            raise BadInput(f"{path}: another run is writing it: wait for its end") from None
        except BadInput:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._places:
            self.path.unlink()  # nothing to go on with: the command may be given again as it was
        os.close(self._file)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> dict[str, Any]:
        """The result kept under ``key``. KeyError where there is none."""
        offset, length = self._places[key]
        result: dict[str, Any] = json.loads(os.pread(self._file, length, offset))["result"]
        return result

    def put(self, key: str, result: Result) -> None:
        """Keep a result; it is on disk, as far as a killed process is concerned, when this returns.

        :raises DiskFull: no room; the journal holds what it held
        """
        assert is_settled(result)
        line = json.dumps({"key": key, "result": result}, allow_nan=False).encode() + b"\n"
        with writing(f"a line of {self.path.name}", self.path.parent):
            append(self._file, line)
        self._places[key] = (self._size, len(line))
        self._size += len(line)

    def _read(self) -> int:
        """Take in the lines that are there; their length in bytes, what follows being cut off."""
        offset = 0
        with os.fdopen(os.dup(self._file), "rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    break  # a write that did not finish: that program runs again
                try:
                    record = json.loads(line)
                    key = record["key"]
                    sound = isinstance(key, str) and isinstance(record["result"]["passed"], bool)
                except (ValueError, KeyError, TypeError):
                    sound = False
                if not sound:
                    raise BadInput(f"{self.path}, line {number}: corrupt: remove the line, then resume")
                self._places[key] = (offset, len(line))
                offset += len(line)
        os.ftruncate(self._file, offset)
        return offset
