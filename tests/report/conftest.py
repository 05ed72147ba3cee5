"""The runs that the report's tests share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from report_runs import make_runs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs; not to be changed."""
    return make_runs(tmp_path_factory.mktemp("report"))


@pytest.fixture
def runs(made_runs: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    shutil.copytree(made_runs, tmp_path / "runs")
    return tmp_path / "runs"
