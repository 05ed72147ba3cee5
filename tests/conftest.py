"""Fixtures that every room's tests share: the small real model, fetched once into the user's cache."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory; the first use on a machine takes about 30 s."""
    from opsd_rs import model

    return model.fetch("smollm2-135m", progress=lambda line: print(line, file=sys.stderr))
