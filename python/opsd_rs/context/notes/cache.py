"""What the model wrote for its teacher, kept by content: a run samples the same prompt under the same weights once.

In: keys made of everything that decides a text. Out: the texts that were written before. One file of JSON lines per
context and step, so that a run's notes can be read beside its rollouts, and one for the memory of experience.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base import read_lines, write_lines


class NoteCache:
    """The folder ``notes/`` of a run."""

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / "notes"

    def texts(self, context: str, step: int) -> dict[str, str]:
        """Texts as the model wrote them, by key, of one context and step."""
        return {line["key"]: line["text"] for line in read_lines(self._path(context, step))}

    def add(self, context: str, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append new texts: ``note_key``, ``text`` and whatever says what they are."""
        path = self._path(context, step)
        write_lines(path, [*read_lines(path), *lines])

    def remembered(self, context: str, step: int) -> dict[str, str]:
        """Experience by problem as it stood before ``step``, oldest first."""
        found: dict[str, str] = {}
        for line in read_lines(self._memory(context)):
            if line["step"] < step:
                found.pop(line["problem_id"], None)
                found[line["problem_id"]] = line["text"]
        return found

    def remember(self, context: str, step: int, texts: Mapping[str, str]) -> None:
        """Keep a step's experience, replacing what an interrupted run had kept of it and of later steps."""
        path = self._memory(context)
        kept = [line for line in read_lines(path) if line["step"] < step]
        new = [{"step": step, "problem_id": name, "text": text} for name, text in texts.items()]
        write_lines(path, [*kept, *new])

    def _path(self, context: str, step: int) -> Path:
        return self.folder / f"{context}-{step:06d}.jsonl"

    def _memory(self, context: str) -> Path:
        return self.folder / f"{context}-memory.jsonl"


def note_key(**parts: Any) -> str:
    """The content hash of a requested text: prompt ids, decoding, seed, and which weights write it.

    >>> note_key(prompt_ids=(1, 2), weights="m@0") == note_key(weights="m@0", prompt_ids=(1, 2))
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
