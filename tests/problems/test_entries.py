"""A row is read when it is asked for, and no more often than it must be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lcb_records import record
from opsd_rs.problems import index


def test_an_opened_row_keeps_what_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(record("a")) + "\n")
    entry = index(path)["a"]
    head, card = index(path)["a"].head, index(path)["a"].card
    assert entry.open().tests
    path.unlink()
    assert (entry.head, entry.card) == (head, card)
    assert head.tests == ()
