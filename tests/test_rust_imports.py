"""No file of a Rust crate uses another in a circle, read from the sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from rust_imports import Crate, by_folder, circles

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("crate", ["sandbox", "grade", "assemble", "py"])
def test_no_file_and_no_folder_uses_another_in_a_circle(crate: str) -> None:
    edges = Crate(ROOT / "rust" / crate).edges()
    assert circles(edges) == []
    assert circles(by_folder(edges)) == []


def test_the_reader_sees_known_edges() -> None:
    assert ("strict", "attempt") in Crate(ROOT / "rust/grade").edges()[("strict", "judge")]
