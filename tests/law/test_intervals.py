"""Errors of forecasts: a mean of seeds and one run apart, the gap's own error, baselines that runs share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from law_tables import GAINS, GAPS, only, rows, write
from opsd_rs.law import fit_tables
from opsd_rs.law.coverage import Cell, coverage, draw_worlds, grid, half_widths
from opsd_rs.law.intervals import add_variances, forecast_interval, forecast_se
from opsd_rs.law.worlds import fit_lines
from scipy import stats

ENTRY = {"n": 6, "slope": 1.5, "intercept": 0.01, "residual_sd": 0.02, "gap_mean": 0.06, "gap_sxx": 0.02}
SEEDS = ENTRY | {
    "seed_sd": 0.03,
    "seed_df": 12,
    "seeds_per_config": 3.0,
    "gap_se2_mean": 0.01**2,
    "offset_se2": 4e-5,
}


def test_a_mean_of_seeds_is_the_line_s_own_prediction() -> None:
    se, df = forecast_se(SEEDS, 0.1, None)
    assert (se, df) == (pytest.approx(0.02 * math.sqrt(1 + 1 / 6 + 0.04**2 / 0.02)), pytest.approx(4))
    low, high = forecast_interval(SEEDS, 0.1, None, 0.95)
    assert (high + low) / 2 == pytest.approx(0.16)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 4) * se)
    assert forecast_se(SEEDS, 0.1, None, num_seeds=3) == pytest.approx((se, df))
    assert forecast_se(SEEDS, 0.1, None, num_seeds=9) == pytest.approx((se, df))


def test_one_run_adds_what_its_seeds_average_out() -> None:
    one, df = forecast_se(SEEDS, 0.1, None, num_seeds=1)
    line, _ = forecast_se(SEEDS, 0.1, None)
    assert one**2 == pytest.approx(line**2 + 0.03**2 * (1 - 1 / 3))
    assert df == pytest.approx(one**4 / (line**4 / 4 + (0.03**2 * 2 / 3) ** 2 / 12))
    # A law of the first version does not know its seeds.
    assert forecast_se(ENTRY, 0.1, None, num_seeds=1) == pytest.approx(forecast_se(ENTRY, 0.1, None))


@pytest.mark.parametrize("n", [3, 4, 6])
@pytest.mark.parametrize("seed_sd", [0.001, 0.01, 0.03])
def test_one_run_s_interval_is_not_narrower(n, seed_sd) -> None:
    entry = SEEDS | {"n": n, "seed_sd": seed_sd}
    wide, narrow = (
        np.diff(forecast_interval(entry, 0.1, None, 0.95, num_seeds=seeds))[0] for seeds in (1, None)
    )
    assert wide >= 0.97 * narrow * (1 - 1e-12)


def test_the_gap_s_error_counts_beyond_the_fitted_gaps_own() -> None:
    plain, _ = forecast_se(SEEDS, 0.1, None)
    assert forecast_se(SEEDS, 0.1, 0.01)[0] == pytest.approx(plain)
    assert forecast_se(SEEDS, 0.1, 0.02)[0] ** 2 == pytest.approx(plain**2 + 1.5**2 * (0.02**2 - 0.01**2))
    assert forecast_se(SEEDS, 0.1, 0.02, excess=False)[0] ** 2 == pytest.approx(plain**2 + 1.5**2 * 0.02**2)
    # Unknown errors of the fitted gaps explain nothing.
    assert forecast_se(ENTRY, 0.1, 0.02) == forecast_se(ENTRY, 0.1, 0.02, excess=False)


def test_a_baseline_of_its_own_adds_both_offsets() -> None:
    plain, _ = forecast_se(SEEDS, 0.1, None)
    assert forecast_se(SEEDS, 0.1, None, own_baseline=True)[0] ** 2 == pytest.approx(plain**2 + 2 * 4e-5)
    assert add_variances([(0.0, 4.0)]) == (0.0, 4.0)


# --- what law fit writes -------------------------------------------------------------------------------------


def world_rows(cell: Cell, worlds: int, world: int) -> tuple[list[dict], dict]:
    """One drawn study as a table, with the errors that a measurement would state, and its half widths."""
    from opsd_rs.law.coverage import RANGES

    drawn, place = draw_worlds(cell, worlds), RANGES[cell.range]
    n = cell.contexts
    lines = fit_lines(drawn.gaps[:, :n], drawn.improvements[:, :n].mean(axis=2))
    half = {name: float(values[world]) for name, values in half_widths(lines, drawn, cell).items()}
    table = []
    for i in range(n):
        for seed in range(cell.seeds):
            own = (0, seed) if cell.shared else (i, seed)
            table.append(
                {
                    "family": "m", "config_id": f"m/{i}", "seed": seed, "gap": drawn.gaps[world, i],
                    "gap_se": place.gap_se, "improvement": drawn.improvements[world, i, seed],
                    "improvement_se": place.accuracy_se * math.sqrt(2), "acc_val0": 0.28 + 0.001 * (own[0] + 9 * seed),
                    "acc_val0_se": place.accuracy_se, "acc_student_gap": 0.28 if cell.shared else 0.28 + 0.001 * i,
                    "acc_student_gap_se": place.gap_se / math.sqrt(2), "x0": drawn.gaps[world, n],
                }
            )  # fmt: skip
    return table, half


@pytest.mark.parametrize(
    "cell", [Cell("paper", 4, 0.02, 3, True), Cell("smollm2", 6, 0.01, 2, False)], ids=str
)
def test_the_simulated_intervals_are_those_that_law_fit_writes(tmp_path, cell) -> None:
    for world in range(3):
        table, half = world_rows(cell, 3, world)
        entry = only(fit_tables([write(tmp_path / "runs.csv", table)]))
        x0 = table[0]["x0"]

        def width(interval) -> float:
            return (interval[1] - interval[0]) / 2

        assert width(entry["slope_ci95"]) == pytest.approx(half["slope"], rel=1e-6)
        assert width(entry["slope_corrected_ci95"]) == pytest.approx(half["slope_corrected"], rel=1e-6)
        assert width(entry["intercept_ci95"]) == pytest.approx(half["intercept"], rel=1e-5)
        predicted = forecast_interval(entry, x0, entry["configs"][0]["gap_se"], 0.95)
        assert width(predicted) == pytest.approx(half["prediction_seeds"], rel=1e-6)
        one = forecast_interval(entry, x0, None, 0.95, num_seeds=1)
        assert width(one) == pytest.approx(half["prediction_one"], rel=1e-5)


def test_coverage_of_a_hard_and_an_easy_cell() -> None:
    assert len(grid()) == 256
    for cell in (Cell("paper", 4, 0.05, 3, True), Cell("smollm2", 12, 0.0, 5, False)):
        held = coverage(cell, 6000)
        for name in ("slope_corrected", "intercept", "mean", "prediction_seeds", "prediction_one"):
            assert 0.92 <= held[name] <= 0.97, (cell.name, name)


def test_seed_figures_are_pooled(tmp_path) -> None:
    table = [
        record
        | {
            "improvement": record["improvement"] + shift,
            "seed": seed,
            "gap_se": 0.01,
            "run_id": f"{i}-{seed}",
        }
        for i, record in enumerate(rows())
        for seed, shift in enumerate((-0.02, 0.0, 0.02))
    ][:-1]
    entry = only(fit_tables([write(tmp_path / "seeds.csv", table)]))
    assert entry["seed_df"] == 11
    assert entry["seed_sd"] == pytest.approx(math.sqrt((10 * 0.02**2 + 0.01**2 * 2) / 11))
    assert entry["seeds_per_config"] == pytest.approx(6 / (5 / 3 + 1 / 2))
    assert entry["gap_se2_mean"] == pytest.approx(1e-4)
    assert entry["entry_version"] == 2
    assert entry["configs"][0]["seeds"][1] == {
        "seed": "1", "gap": GAPS[0], "improvement": GAINS[0], "run_id": "0-1",
    }  # fmt: skip
    once = only(fit_tables([write(tmp_path / "once.csv", rows())]))
    assert (once["seed_sd"], once["seed_df"], once["seeds_per_config"], once["tau"]) == (None, 0, 1.0, None)
