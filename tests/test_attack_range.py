"""The attacks' surroundings: each test has its own, and every program names them by placeholders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attack_range import ATTACKS, NAMES, Attack, Range

if TYPE_CHECKING:
    import pytest

SHARED = re.compile(r'@[A-Z]+@|/tmp/\w|/dev/shm/\w|127\.0\.0\.1", *\d|\\0\w')
"""Placeholders, and what two checkouts would share: a path in a common folder, a port, an abstract socket."""


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


def test_no_program_names_a_place_that_checkouts_share() -> None:
    found = {name: SHARED.findall((ATTACKS / f"{name}.py").read_text()) for name in NAMES}
    placeholders = {word for words in found.values() for word in words if word.startswith("@")}
    assert placeholders == {"@CANARY@", "@PORT@", "@NAME@"}
    rest = {name: [word for word in words if not word.startswith("@")] for name, words in found.items()}
    assert {name: words for name, words in rest.items() if words} == {}
