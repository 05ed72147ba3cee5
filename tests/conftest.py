"""Fixtures that tests share: the small real model, fetched once into the user's cache; an end to what is shared."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A desk tries new examples each time; CI tries the same ones, so that a red run names its own change.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory; the first use on a machine takes about 30 s."""
    from opsd_rs import model

    return model.fetch("smollm2-135m", progress=lambda line: print(line, file=sys.stderr))


@pytest.fixture(scope="module")
def ended_graders() -> Iterator[None]:
    """Afterwards ends the graders that the reward functions started and share."""
    from opsd_rs.compat import shared

    yield
    for grader in shared._graders.values():
        grader.close()
    shared._graders.clear()


@pytest.fixture(scope="module")
def left_ranks() -> Iterator[None]:
    """Afterwards leaves the process group that the students of a file joined."""
    from opsd_rs.student import leave_ranks

    yield
    leave_ranks()
