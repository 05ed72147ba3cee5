"""What is said on stderr about long tasks, on a terminal and in a log, and the clock behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opsd_rs.base import Clock, Progress, StopSignals, Ticker, every, progress
from opsd_rs.errors import Stopped


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two lines."""
    monkeypatch.setattr(progress, "TENTH_SECONDS", 0.0)


@pytest.mark.usefixtures("talkative")
def test_a_ticker_and_a_phase_count_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticker = Ticker("graded")
    ticker(1, 2)
    ticker(2, 2)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("graded 1/2, about ")
    assert second == "graded 2/2"
    clock = Clock()
    with Progress(tmp_path, clock).phase("rollout", 7) as tick:
        tick(1, 2)
    assert capsys.readouterr().err.startswith("step 7: rollout 1/2, about ")
    assert list(clock.take()) == ["rollout"]
    record = json.loads((tmp_path / "progress.json").read_bytes())
    assert (record["step"], record["phase"]) == (7, "rollout")


def test_a_phase_ends_without_a_line_and_a_ticker_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, Clock()).phase("grade", 0) as tick:
        tick(3, 3)
    assert capsys.readouterr().err == ""
    Ticker("graded")(3, 3)
    assert capsys.readouterr().err == "graded 3/3\n"


@pytest.mark.usefixtures("talkative")
def test_other_ranks_are_silent_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    quiet = Progress(tmp_path, clock, speak=False)
    with quiet.phase("update", 1) as tick:
        tick(1, 2)
    quiet.say("nothing")
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []
    assert list(clock.take()) == ["update"]


@pytest.mark.usefixtures("talkative")
def test_on_a_terminal_a_line_takes_the_place_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    clear = "\x1b[2K\r"
    Ticker.start(ticker := Ticker("graded"), 1, 4)
    monkeypatch.setattr(progress.time, "monotonic", lambda: ticker._start + 3.0)
    ticker(2, 4)
    assert capsys.readouterr().err == f"{clear}graded 1/4\r{clear}graded 2/4, about 6 s left\r"
    Progress(None, Clock()).say("done")
    assert capsys.readouterr().err == f"{clear}done\n"


def test_off_a_terminal_there_is_a_line_a_tenth_or_a_minute_and_none_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ticker = Ticker("graded", last_line=False)
    start = ticker._start

    def at(seconds: float, done: int) -> str:
        monkeypatch.setattr(progress.time, "monotonic", lambda: start + seconds)
        ticker(done, 64)
        return capsys.readouterr().err.partition(",")[0].strip()

    assert at(5.0, 10) == "", "a tenth, too soon"
    assert at(61.0, 0) == "", "nothing is done yet"
    assert at(62.0, 1) == "graded 1/64"
    assert at(75.0, 6) == "", "neither a minute nor a tenth"
    assert at(76.0, 7) == "graded 7/64"
    assert at(80.0, 20) == ""
    assert at(86.1, 20) == "graded 20/64"
    assert at(500.0, 20) == ""


def test_a_tick_of_a_phase_asks_for_signals_and_that_of_an_update_does_not() -> None:
    stop = StopSignals()
    progress_of_run = Progress(None, Clock(), stop=stop)
    stop.asked = "SIGTERM"
    with progress_of_run.phase("update", 0) as tick:
        tick(1, 2)
    with pytest.raises(Stopped, match="SIGTERM"), progress_of_run.phase("grade", 0) as tick:
        tick(1, 2)


def test_a_cadence() -> None:
    assert [step for step in range(7) if every(3, step)] == [3, 6]
    assert not any(every(0, step) for step in range(7))
