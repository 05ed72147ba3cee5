"""The loggers of a run: those that are named, on the first rank, closed whatever happens."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opsd_rs.base import Ranks, read_lines
from opsd_rs.config import load_config
from opsd_rs.training.loggers.base import open_loggers
from opsd_rs.training.record import gpu_hours
from opsd_rs.training.state import LoopState


def session(run_dir: Path, *overrides: str, ranks: Ranks | None = None) -> Any:
    """As much of a session as loggers are given."""
    config = load_config([], ["control.mask=one", *overrides])
    return SimpleNamespace(config=config, run_dir=run_dir, ranks=ranks or Ranks())


def test_metrics_are_lines_and_a_resumed_run_drops_what_it_does_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with open_loggers(session(tmp_path)) as (logger,):
        logger.rewind(0)
        for step in range(3):
            logger.log({"step": step, "loss": None})
    assert path.read_text().splitlines()[0] == '{"step": 0, "loss": null}'
    with open_loggers(session(tmp_path)) as (logger,):
        logger.rewind(1)
        logger.log({"step": 1, "loss": 0.5})
    assert read_lines(path) == [{"step": 0, "loss": None}, {"step": 1, "loss": 0.5}]


def test_the_named_loggers_in_order_and_none_without_a_name(tmp_path: Path) -> None:
    with open_loggers(session(tmp_path, 'log.to=["riddles:Recorder", "jsonl"]')) as loggers:
        assert [type(logger).__name__ for logger in loggers] == ["Recorder", "JsonlLogger"]
    for other in (session(tmp_path, "log.to=[]"), session(tmp_path, ranks=Ranks(1, 2))):
        with open_loggers(other) as loggers:
            assert loggers == []


def test_loggers_are_closed_when_the_run_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        open_loggers(session(tmp_path, "log.to=riddles:Recorder", "log.Recorder.name=x.jsonl")),
    ):
        raise ZeroDivisionError
    assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()] == [["close"]]


def test_gpu_hours_come_from_the_phases_and_the_ranks(tmp_path: Path) -> None:
    with open_loggers(session(tmp_path)) as (logger,):
        logger.log({"step": 0, "seconds": {"rollout": 1000.0, "update": 500.0}})
        logger.log({"step": 1, "seconds": {"rollout": 1500.0}})
    assert gpu_hours(tmp_path, {"sync": 600.0}, 2) == 2.0
    assert gpu_hours(tmp_path, {"sync": 600.0}, 0) is None
    assert gpu_hours(tmp_path / "nowhere", {"sync": 600.0}, 2) is None


def test_a_step_that_fails_leaves_no_boundary() -> None:
    state = LoopState(step=3)
    with pytest.raises(ZeroDivisionError), state.update():
        raise ZeroDivisionError
    assert state == LoopState(step=3, at_boundary=False)
