"""``RUN/metrics.jsonl``: a JSON line per step, on disk before the next step begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsd_rs.base import append_line, cut_lines
from opsd_rs.config import Config, Section


class JsonlLogger:
    """The logger ``jsonl``."""

    def __init__(self, options: Section, config: Config, run_dir: Path) -> None:
        self._path = run_dir / "metrics.jsonl"

    def rewind(self, step: int) -> None:
        cut_lines(self._path, step)

    def log(self, line: Mapping[str, Any]) -> None:
        append_line(self._path, line)

    def close(self) -> None:
        """Every line is on disk already."""
