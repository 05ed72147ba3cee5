"""The attacks' surroundings: each test has its own, and every program names them by placeholders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from attack_range import ATTACKS, Attack, Range

if TYPE_CHECKING:
    import pytest

PLACEHOLDERS = {"@CANARY@", "@PORT@", "@NAME@"}
SHARED = re.compile(
    r"""/(?:tmp|var/tmp|dev/shm)/\w|\(["'](?:localhost|\d+\.[\d.]+|)["'], *[1-9]\d+|\\0[a-z-]{4}"""
)
"""What two checkouts would share: a path in a common folder, an address with a port, an abstract socket."""


def test_two_checkouts_have_surroundings_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Range(monkeypatch), Range(monkeypatch)
    try:
        assert ours.folder != theirs.folder
        assert ours.port != theirs.port
        assert ours.name != theirs.name
        (theirs.folder / "new").touch()
        assert theirs.breaches(b"", []) == ["new files beside the canary"]
        assert ours.breaches(b"", []) == []
        code = Attack.read("net_loopback", ours).code
        assert str(ours.port) in code
        assert ours.name in code
        assert str(ours.canary) in Attack.read("canary_read", ours).code
    finally:
        ours.close()
        theirs.close()
    assert not ours.folder.exists()


def test_programs_and_tests_name_no_place_that_checkouts_share() -> None:
    texts = {path: path.read_text() for path in ATTACKS.parent.rglob("*.py") if path != Path(__file__)}
    assert {path.name: found for path, text in texts.items() if (found := SHARED.findall(text))} == {}
    programs = [text for path, text in texts.items() if path.parent == ATTACKS]
    assert {word for text in programs for word in re.findall("@[A-Z]+@", text)} == PLACEHOLDERS
    for old in ('"/tmp/canary.txt"', '("127.0.0.1", 47123)', '"\\0listener"'):
        assert SHARED.search(old), old
