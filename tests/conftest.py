"""Fixtures that every room's tests share: the small real model, fetched once into the user's cache."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
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
