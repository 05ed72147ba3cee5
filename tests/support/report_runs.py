"""Runs for the report's tests: two real runs of a tiny model with their gap, copies of them, and a browser."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import polars
import pytest
import tiny_models
from opsd_rs.config import load_config
from opsd_rs.policy import leave_ranks
from opsd_rs.training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SETTINGS = {
    "model.dtype": "float32",
    "problems.limit": "3",
    "rollout.engine": "hf",
    "rollout.n": "2",
    "rollout.max_tokens": "24",
    "eval.n": "1",
    "eval.every": "1",
    "eval.teacher": "true",
    "gap.n": "4",
    "train.num_steps": "2",
    "train.prompts_per_step": "2",
    "train.mini_batch_prompts": "1",
    "train.checkpoint_every": "0",
    "optim.eps": "1e-3",
}


def make_runs(folder: Path) -> Path:
    """A folder of two runs, ``feedback`` and ``preamble``, of one model."""
    model = tiny_models.sharpened(tiny_models.tiny(folder / "model", "llama"))
    for name, context in (("feedback", "contexts/feedback"), ("preamble", "contexts/expert_preamble")):
        words = {"model.path": str(model), "run.dir": str(folder / "runs" / name), **SETTINGS}
        train(load_config([context], [f"{key}={value}" for key, value in words.items()]))
        leave_ranks()
        shutil.rmtree(folder / "runs" / name / "checkpoints", ignore_errors=True)
        shutil.rmtree(folder / "runs" / name / "model", ignore_errors=True)
    return folder / "runs"


def changed(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Rewrite a parquet file."""
    polars.DataFrame(change(polars.read_parquet(path).to_dicts()), infer_schema_length=None).write_parquet(
        path
    )


class Seen(NamedTuple):
    """A page in a browser, and what it did that it must not."""

    page: Any
    requests: list[str]
    complaints: list[str]
    """Console messages and uncaught errors."""


@contextmanager
def started() -> Iterator[Any]:
    """A headless browser; skips where there is none. While it runs, the thread has an event loop of its own."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Seen]:
    """The page at ``path``, from the disk."""
    context = browser.new_context(**options)
    page = context.new_page()
    seen = Seen(page, [], [])
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.goto(path.as_uri())
    yield seen
    context.close()
