"""Grades kept by content across runs: the same program, tests and settings are graded once on a machine."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from opsd_rs.base import writing
from opsd_rs.errors import BadInput
from opsd_rs.grading.files.journal import Result, is_settled


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

    def get(self, key: str) -> dict[str, Any] | None:
        """The result kept under ``key``, or None."""
        try:
            record = json.loads(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # a machine that lost power may leave an empty file: the program runs again
        result = record.get("result") if isinstance(record, dict) and record.get("key") == key else None
        return result if isinstance(result, dict) and isinstance(result.get("passed"), bool) else None

    def put(self, key: str, result: Result) -> None:
        """Keep a result under ``key``; of two runs that found it at once, either one's stays.

        :raises DiskFull: no room
        """
        assert is_settled(result)
        path = self._path(key)
        data = json.dumps({"key": key, "result": result}, allow_nan=False).encode()
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
