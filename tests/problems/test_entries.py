"""A row is read when it is asked for, and no more often than it must be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lcb_records import record
from opsd_rs.problems import files, index, load, read


def test_an_opened_row_keeps_what_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(record("a")) + "\n")
    entry = index(path)["a"]
    head, card = index(path)["a"].head, index(path)["a"].card
    assert entry.open().tests
    path.unlink()
    assert (entry.head, entry.card) == (head, card)
    assert head.tests == ()


def test_a_long_read_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(record(str(n))) + "\n" for n in range(3)))
    said: list[str] = []
    index(path, progress=said.append)
    assert said == [], "a small file is read without a word"
    monkeypatch.setattr(files, "SECONDS_PER_LINE", 0.0)
    index(path, progress=said.append)
    load(path, limit=2)
    read(path, progress=said.append)
    assert said[:3] == [f"{path}: {n} problems read" for n in (1, 2, 3)]
    assert said[-1] == f"{path}: 3 problems read, 3 kept"
