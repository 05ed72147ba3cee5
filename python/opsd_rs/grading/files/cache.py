"""Grades kept by content across runs: the same program, tests and settings are graded once on a machine.

A cache is a folder with one file per key, each written beside its place and renamed, so that runs may share it. Results
of an infrastructure fault are not kept.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from opsd_rs.base import writing
from opsd_rs.errors import BadInput
from opsd_rs.grading.files.record import Record, is_settled


class Cache:
    """Verdicts shared between runs, also between runs at the same time."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, made where absent.

        :raises BadInput: it cannot be made or written to
        """
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"--cache {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise BadInput(f"--cache {folder}: not writable")

    def get(self, key: str) -> Record | None:
        """The result kept under ``key``, or None."""
        try:
            record = json.loads(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # a machine that lost power may leave an empty file: the program runs again
        result = record.get("result") if isinstance(record, dict) and record.get("key") == key else None
        if not isinstance(result, dict) or not isinstance(result.get("passed"), bool):
            return None
        return Record.read(result)

    def put(self, key: str, record: Record) -> None:
        """Keep a result under ``key``; of two runs that found it at once, either one's stays.

        :raises DiskFull: no space
        """
        assert is_settled(record.grade)
        path = self._path(key)
        data = record.under(key).encode()
        with writing("a verdict", self._folder, "free space there, or leave --cache out"):
            path.parent.mkdir(exist_ok=True)
            file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False)  # noqa: SIM115
            try:
                with file:
                    file.write(data)
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
