"""What each stop rule would have done in runs that went on: steps and GPU hours saved, accuracy lost.

In: a law and run folders. Out: a row per run and rule. Each rule sees the forecast of the run's own gap and the
validations up to each step, as a run of today does, and the run's later validations say what the stop would have cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsd_rs.base import read_lines, read_table
from opsd_rs.errors import BadInput
from opsd_rs.law.curve import RULES, Look, Stop, StopTerms, find_stop, looks_of
from opsd_rs.law.laws import Law, load_law
from opsd_rs.law.predict import PredictOptions, forecast_record


def backtest_runs(
    law: str | Path, runs: Sequence[Path], terms: StopTerms, options: PredictOptions | None = None
) -> list[dict[str, Any]]:
    """A row per run and rule: what ``law.stop`` would have done there.

    Rows: run, run_id, config_id, rule, horizon_steps, stop_step (null where the rule lets it run), steps_saved,
    gpu_hours_saved (null without a GPU), acc_stop, acc_end, regret (acc_end - acc_stop, 0 where it ran on), regret_se,
    forecast, p_worthwhile, gain, in_fit (the law was fitted on this run), stopped_at (of a run that ended early
    itself), flags, reason.

    :param options: how the forecast is made: ``assume`` and ``force``
    :raises BadInput: a folder that is no finished run, or one that the law cannot forecast
    """
    found = load_law(law)
    rows: list[dict[str, Any]] = []
    for run in runs:
        rows += _run_rows(found, Path(run), terms, options or PredictOptions())
    return rows


def _run_rows(law: Law, run: Path, terms: StopTerms, options: PredictOptions) -> list[dict[str, Any]]:
    row, looks = _read(run)
    horizon = int(row["horizon_steps"])
    record = {**row, "acc_val0": looks[0].accuracy}
    entry, made = forecast_record(law, record, str(run), replace(options, num_seeds=1))
    assert made.run_spread is not None
    fitted = {seed.get("run_id") for point in entry.get("configs") or [] for seed in point.get("seeds") or []}
    shared = {
        "run": str(run),
        "run_id": row.get("run_id"),
        "config_id": made.config_id,
        "horizon_steps": horizon,
        "stopped_at": row.get("stopped_at"),
        "acc_val0": looks[0].accuracy,
        "acc_end": looks[-1].accuracy,
        "gain": looks[-1].accuracy - looks[0].accuracy,
        "forecast": made.clipped(made.run_spread.centre),
        "p_worthwhile": made.run_spread.above(terms.worthwhile),
        "in_fit": row.get("run_id") in fitted,
        "flags": list(made.flags),
    }
    return [
        {**shared, "rule": rule, **_outcome(find_stop(rule, looks, made.run_spread, horizon, terms), looks, row, run)}
        for rule in RULES
    ]  # fmt: skip


def _outcome(stop: Stop | None, looks: Sequence[Look], row: Mapping[str, Any], run: Path) -> dict[str, Any]:
    end = looks[-1]
    if stop is None:
        none = {"stop_step": None, "acc_stop": end.accuracy, "regret": 0.0, "regret_se": 0.0, "reason": ""}
        return {**none, "steps_saved": 0, "gpu_hours_saved": None if row.get("gpu_hours") is None else 0.0}
    here = next(look for look in looks if look.step == stop.step)
    return {
        "stop_step": stop.step,
        "acc_stop": here.accuracy,
        "regret": end.accuracy - here.accuracy,
        "regret_se": math.hypot(end.se, here.se),
        "steps_saved": end.step - stop.step,
        "gpu_hours_saved": _hours_after(stop.step, row, run),
        "reason": stop.reason,
    }


def _hours_after(step: int, row: Mapping[str, Any], run: Path) -> float | None:
    """The run's GPU hours, by the share of its seconds that the steps from ``step`` on took."""
    hours = row.get("gpu_hours")
    seconds = {int(line["step"]): sum(line["seconds"].values()) for line in read_lines(run / "metrics.jsonl")}
    total = sum(seconds.values())
    if hours is None or not total:
        return None
    after = sum(value for at, value in seconds.items() if at >= step)
    return float(hours * after / total)


def _read(run: Path) -> tuple[dict[str, Any], list[Look]]:
    if not run.is_dir():
        raise BadInput(f"{run}: no such folder; name folders that `opsd-rs train` wrote")
    rows = read_table(run / "runs.parquet")
    if not rows:
        raise BadInput(f"{run}: no finished run: it has no runs.parquet")
    looks = looks_of(read_table(run / "eval.parquet"))
    if not looks or looks[0].step != 0 or len(looks) < 2:
        raise BadInput(f"{run}: eval.parquet has no validation before training and one after it")
    return dict(rows[-1]), looks


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per rule: runs, stopped, mean and worst regret over all runs, steps and GPU hours saved in all."""
    found = []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        mine = [row for row in rows if row["rule"] == rule]
        regrets = [row["regret"] for row in mine]
        hours = [row["gpu_hours_saved"] for row in mine]
        steps = sum(row["horizon_steps"] for row in mine)
        found.append(
            {
                "rule": rule,
                "runs": len(mine),
                "stopped": sum(row["stop_step"] is not None for row in mine),
                "mean_regret": math.fsum(regrets) / len(regrets),
                "worst_regret": max(regrets),
                "steps_saved": sum(row["steps_saved"] for row in mine),
                "share_saved": sum(row["steps_saved"] for row in mine) / steps,
                "gpu_hours_saved": None if None in hours else math.fsum(hours),
            }
        )
    return found


def format_backtest(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows and their summary as lines for a terminal, in percentage points."""
    lines = []
    for row in rows:
        where = f"{row['run']}  {row['rule']}: "
        fit = "  ! the law was fitted on this run" if row["in_fit"] else ""
        flags = f"  ! {', '.join(row['flags'])}" if row["flags"] else ""
        if row["stop_step"] is None:
            lines.append(f"{where}runs to step {row['horizon_steps']}{fit}{flags}")
            continue
        hours = "" if row["gpu_hours_saved"] is None else f", {row['gpu_hours_saved']:.2f} GPU hours"
        lines.append(
            f"{where}stops at step {row['stop_step']} of {row['horizon_steps']}, saves {row['steps_saved']} steps"
            f"{hours}; regret {100 * row['regret']:+.1f} pp (SE {100 * row['regret_se']:.1f}){fit}{flags}"
        )
    for row in summary(rows):
        hours = "" if row["gpu_hours_saved"] is None else f" and {row['gpu_hours_saved']:.2f} GPU hours"
        lines.append(
            f"{row['rule']}: {row['stopped']} of {row['runs']} runs stopped, {100 * row['share_saved']:.0f} % of steps"
            f"{hours} saved; regret {100 * row['mean_regret']:+.2f} pp a run, at most {100 * row['worst_regret']:+.1f}"
        )
    return lines
