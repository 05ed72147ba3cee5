"""The journal of one results file: verdicts on disk by their key.

``R.journal`` holds one line ``{"key": ..., "result": ...}`` per finished program, written in one write as soon as the
verdict is known; a run that was killed continues from it. A write that the kill cut short is the last line and is
dropped. Results of an infrastructure fault are not kept: they say nothing about the program.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Self

from opsd_rs.base import append, writing
from opsd_rs.errors import BadInput
from opsd_rs.grading.files.record import Record, is_settled


class Journal:
    """The verdicts of one results file. Holds a lock on its file: a second run on it is refused."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Open or create it.

        :raises BadInput: it exists and ``resume`` is not set; another run is writing it; a line is corrupt
        :raises DiskFull: no space for it
        """
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            with writing(path.name, path.parent):
                self._file = os.open(path, flags | (0 if resume else os.O_EXCL), 0o644)
        except FileExistsError:
            raise BadInput(
                f"{path} exists, of a run that was cut short: add --resume to continue it, or remove it"
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
            self.path.unlink()  # nothing to continue: the command may be given again as it was
        os.close(self._file)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Record:
        """The result kept under ``key``. KeyError where there is none."""
        offset, length = self._places[key]
        return Record.read(json.loads(os.pread(self._file, length, offset))["result"])

    def put(self, key: str, record: Record) -> None:
        """Keep a result; it outlives a kill of this process once this returns.

        :raises DiskFull: no space; the journal holds what it held
        """
        assert is_settled(record.grade)
        line = record.under(key).encode() + b"\n"
        with writing(f"a line of {self.path.name}", self.path.parent):
            append(self._file, line)
        self._places[key] = (self._size, len(line))
        self._size += len(line)

    def _read(self) -> int:
        """Read the lines that are there and cut off an unfinished one; their length in bytes."""
        offset = 0
        with os.fdopen(os.dup(self._file), "rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    break  # an unfinished write: that program runs again
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
