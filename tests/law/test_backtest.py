"""What the stop rules would have done in runs that are over, from the folders that they left."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from law_tables import rows, write
from opsd_rs.base import write_table
from opsd_rs.errors import BadInput
from opsd_rs.law import (
    PredictOptions,
    StopTerms,
    append_run_row,
    backtest_runs,
    fit_tables,
    format_backtest,
    save,
)

STEPS, PROBLEMS, SAMPLES = 50, 100, 40


def folder(
    path: Path, gap: float, curve: dict[int, float], *, gpu_hours: float | None = 10.0, **columns: object
) -> Path:
    """A run's tables, as training writes them: ``curve`` is accuracy by step."""
    path.mkdir()
    write_table(
        path / "eval.parquet",
        [
            {"step": step, "arm": "student", "problem_id": str(p), "n": SAMPLES, "identity_id": "i",
             "passed": round(SAMPLES * accuracy)}
            for step, accuracy in curve.items()
            for p in range(PROBLEMS)
        ],
    )  # fmt: skip
    seconds = [3.0 if step < 25 else 1.0 for step in range(STEPS)]
    lines = [json.dumps({"step": step, "seconds": {"update": spent}}) for step, spent in enumerate(seconds)]
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    row = {
        "run_id": path.name, "family": "m", "config_id": path.name, "gap": gap, "gap_se_cond": 0.005,
        "horizon_steps": STEPS, "lr": 0.1, "gpu_hours": gpu_hours, "acc_val0": curve[0], "acc_val1": curve[STEPS],
        "improvement": curve[STEPS] - curve[0],
    }  # fmt: skip
    append_run_row(path / "runs.parquet", {**row, **columns})
    return path


def falling(step: int) -> float:
    return round(0.5 - 0.1 * (1 - math.exp(-step / 10)), 3)


def early(step: int) -> float:
    return round(0.3 + 0.1 * (1 - math.exp(-step / 3)), 3)


@pytest.fixture
def law(tmp_path: Path) -> Path:
    path = tmp_path / "law.json"
    save(fit_tables([write(tmp_path / "runs.csv", rows(lr="0.1"))]), path)
    return path


def test_a_run_that_fell_and_one_that_had_gained_all_early(law: Path, tmp_path: Path) -> None:
    fell = folder(tmp_path / "fell", 0.05, {step: falling(step) for step in range(0, STEPS + 1, 5)})
    gained = folder(tmp_path / "gained", 0.07, {step: early(step) for step in range(0, STEPS + 1, 5)})
    found = {(row["run_id"], row["rule"]): row for row in backtest_runs(law, [fell, gained], StopTerms())}
    assert list(found) == [
        ("fell", "ceiling"),
        ("fell", "futility"),
        ("gained", "ceiling"),
        ("gained", "futility"),
    ]
    futile = found["fell", "futility"]
    step = futile["stop_step"]
    assert 0 < step < 25
    assert futile["regret"] == pytest.approx(futile["acc_end"] - falling(step), abs=0.013)
    assert futile["regret"] < 0, "it would have kept accuracy"
    assert futile["steps_saved"] == STEPS - step
    assert futile["gpu_hours_saved"] == pytest.approx(10 * (3 * (25 - step) + 25) / 100)
    assert futile["reason"].startswith("below forecast, diagnose")
    ceiling = found["gained", "ceiling"]
    assert ceiling["stop_step"] is not None
    assert abs(ceiling["regret"]) < 0.01
    assert 0.0 < ceiling["regret_se"] < 0.03
    kept = found["gained", "futility"]
    assert (kept["stop_step"], kept["steps_saved"], kept["regret"], kept["gpu_hours_saved"]) == (
        None,
        0,
        0.0,
        0.0,
    )
    text = format_backtest(list(found.values()))
    assert any(line.endswith(f"stops at step {step} of 50, saves {50 - step} steps, "
                             f"{futile['gpu_hours_saved']:.2f} GPU hours; regret {100 * futile['regret']:+.1f} pp "
                             f"(SE {100 * futile['regret_se']:.1f})") for line in text)  # fmt: skip
    assert text[-1].startswith("futility: 1 of 2 runs stopped, ")


def test_without_a_gpu_and_at_its_end(law: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", 0.05, {0: 0.5, 25: 0.38, STEPS: 0.38}, gpu_hours=None)
    found = {row["rule"]: row for row in backtest_runs(law, [run], StopTerms())}
    assert found["futility"]["gpu_hours_saved"] is None
    assert found["ceiling"]["stop_step"] is None, "two validations, the second of which is the end"


def test_runs_of_the_fit_are_told_apart(tmp_path: Path) -> None:
    runs = [folder(tmp_path / f"r{i}", r["gap"], {0: 0.3, 25: 0.3, STEPS: round(0.3 + r["improvement"], 3)})
            for i, r in enumerate(rows())]  # fmt: skip
    law = tmp_path / "law.json"
    save(fit_tables([run / "runs.parquet" for run in runs[:5]]), law)
    found = backtest_runs(law, runs, StopTerms())
    assert [row["in_fit"] for row in found[::2]] == [True] * 5 + [False]
    assert any("the law was fitted on this run" in line for line in format_backtest(found))


def test_what_is_no_run_or_of_another_domain(law: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        backtest_runs(law, [tmp_path / "nowhere"], StopTerms())
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="empty: no finished run"):
        backtest_runs(law, [tmp_path / "empty"], StopTerms())
    one = folder(tmp_path / "one", 0.05, {STEPS: 0.4, 0: 0.3})
    (one / "eval.parquet").unlink()
    with pytest.raises(BadInput, match=r"eval\.parquet has no validation before training"):
        backtest_runs(law, [one], StopTerms())
    other = folder(tmp_path / "other", 0.05, {0: 0.3, STEPS: 0.4}, lr=0.2)
    with pytest.raises(BadInput, match=r"other: outside of the law's domain: lr = 0\.2"):
        backtest_runs(law, [other], StopTerms())
    [row, _] = backtest_runs(law, [other], StopTerms(), PredictOptions(force=True))
    assert row["flags"] == ["domain:lr"]
    foreign = folder(tmp_path / "foreign", 0.05, {0: 0.3, STEPS: 0.4}, family="x")
    with pytest.raises(BadInput, match="no line for family x"):
        backtest_runs(law, [foreign], StopTerms())
