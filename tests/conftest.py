"""Fixtures that tests share: the small real model, fetched once into the user's cache; tiny ones; an end to what is
shared."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A developer's machine tries new examples each time; CI tries the same ones, so that a red run names its own change.
# Neither judges how long an example takes: that is the machine's load.
_UNTIMED: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("desk", **_UNTIMED)
settings.register_profile("ci", derandomize=True, **_UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first where several processes share the files, so that they end at about the same time."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SmolLM2-135M-Instruct as a Hugging Face directory; the first use on a machine takes about 30 s.

    With OPSD_RS_PERTURB_WEIGHTS it is a perturbed copy in a cache that the session and its processes use.
    """
    import perturbed
    from opsd_rs import model

    found = model.fetch("smollm2-135m", progress=lambda line: print(line, file=sys.stderr))
    if perturbed.seed() is None:
        yield found
        return
    cache = tmp_path_factory.mktemp("perturbed")
    with pytest.MonkeyPatch.context() as patch:
        copy = perturbed.perturbed_cache(found, cache)
        patch.setenv("OPSD_RS_CACHE", str(cache))
        yield copy
    shutil.rmtree(cache)  # half a gigabyte


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights."""
    from tiny_models import tiny

    return tiny(tmp_path_factory.mktemp("tiny"), "llama")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer with Qwen's chat template."""
    import context_models

    return context_models.save(tmp_path_factory.mktemp("qwen"), context_models.SHAPES["qwen3"])


@pytest.fixture(scope="session")
def reported_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs of a tiny model, for the report's tests; not to be changed."""
    from report_runs import make_runs

    return make_runs(tmp_path_factory.mktemp("report"))


@pytest.fixture
def copied_runs(reported_runs: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    shutil.copytree(reported_runs, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def ended_graders() -> Iterator[None]:
    """Afterwards ends the graders that the reward functions started and share."""
    from opsd_rs.compat import shared

    yield
    for grader in shared._graders.values():
        grader.close()
    shared._graders.clear()


@pytest.fixture
def released() -> Iterator[None]:
    """Lets go of a test's students after it, where one file makes many."""
    from engines import release

    yield
    release()


@pytest.fixture(scope="module")
def left_ranks() -> Iterator[None]:
    """Afterwards leaves the process group that the students of a file joined, and frees them: 100 MiB and more each."""
    from opsd_rs.policy import leave_ranks

    yield
    leave_ranks()
    gc.collect()
