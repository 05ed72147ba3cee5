"""Simulation studies, short: each holds its bound here, and the full ones' results stand in docs/law.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars
import pytest
from click.testing import CliRunner
from law_tables import only, write
from opsd_rs.cli import main
from opsd_rs.errors import BadInput
from opsd_rs.law import add_bootstrap, fit_tables, run_study
from opsd_rs.law.answers import Answers, counts_of, point_answers
from opsd_rs.law.bootstrap import bootstrap
from opsd_rs.law.power import (
    gap_table,
    icc_of,
    improvement_table,
    needed_contexts,
    slope_table,
    t_power,
    within_variance,
)
from opsd_rs.law.simulate import Setting, simulate_runs
from statsmodels.stats.power import TTestIndPower


@pytest.mark.parametrize(("number", "worlds"), [("2", 2000), ("3", 20_000), ("5", 1000), ("9", 2)])
def test_a_short_study_holds_its_bounds(number, worlds) -> None:
    found = run_study(number, worlds)
    assert found["ok"], found["rows"]
    assert all("ok" in row for row in found["rows"])


def test_the_coverage_study_names_the_worst_cells() -> None:
    found = run_study("1", 300)
    assert [row["interval"] for row in found["rows"]] == [
        "slope", "slope_corrected", "intercept", "mean", "prediction_seeds", "prediction_one",
    ]  # fmt: skip
    for row in found["rows"]:
        assert row["cells"] == 256
        assert 0.85 < row["lowest"] < row["mean"] < row["highest"] <= 1
        assert 0.93 < row["mean"] < 0.965


def test_other_intervals_and_the_bootstrap_run() -> None:
    found = run_study("1b", 3)
    assert {row["interval"] for row in found["rows"]} == {
        "York, t", "Deming, jackknife", "Theil-Sen", "weights of seeds' SD", "seeds as points", "Fieller",
    }  # fmt: skip
    (still, scattered) = run_study("6", 3)["rows"]
    assert still["threads_equal"]
    for row in (still, scattered):
        assert row["fixed_se"] == pytest.approx(row["closed_form_se"], rel=0.15)
    with pytest.raises(BadInput, match="--study 4: one of 1, 1b, 2"):
        run_study("4", 10)


# --- drawn runs -------------------------------------------------------------------------------------------------


def test_drawn_runs_have_their_truth() -> None:
    setting = Setting(
        slope=1.5, gap_high=0.15, problems=400, gap_samples=64, val_samples=64, tau=0.0, training_sd=0.0
    )
    runs, samples = simulate_runs(setting)
    assert len(runs) == 18
    for row in runs:
        place = int(row["context"].split("-")[1])
        assert row["gap"] == pytest.approx(0.03 * place, abs=5 * row["gap_se_cond"])
        assert row["improvement"] == pytest.approx(0.045 * place, abs=5 * row["improvement_se_cond"])
        assert row["synthetic"]
    assert len({row["acc_val0"] for row in runs}) == 3
    assert len(samples) == 18 * 400 * (64 * 4)
    split, _ = simulate_runs(Setting(shared_baseline=False, problems=400))
    assert len({row["acc_val0"] for row in split}) > 12
    with pytest.raises(BadInput, match=r"has no improvement of 0\.9"):
        simulate_runs(Setting(slope=6.0))


def test_the_command_draws_fits_and_prints_truth_beside_finding(tmp_path) -> None:
    out, samples = tmp_path / "runs.parquet", tmp_path / "samples.parquet"
    done = CliRunner().invoke(
        main, ["law", "simulate", "--out", str(out), "--samples", str(samples), "--problems", "40"]
    )
    assert done.exit_code == 0, done.output
    assert "slope: true 1.5, found" in done.stdout
    fitted = CliRunner().invoke(main, ["law", "fit", str(out), "--format", "json", "--draws", "200"])
    entry = only(json.loads(fitted.stdout))
    assert entry["bootstrap"]["draws"] == 200
    assert any("SYNTHETIC" in note for note in entry["notes"])
    assert entry["audits"]["shared_baseline"]["ok"] is True
    refused = CliRunner().invoke(main, ["law", "simulate", "--out", str(tmp_path / "runs.csv")])
    assert refused.exit_code == 2
    study = CliRunner().invoke(main, ["law", "simulate", "--study", "3", "--worlds", "4000"])
    assert study.stdout.splitlines()[-1] == "all bounds held"


# --- the bootstrap ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    runs, samples = simulate_runs(Setting(tau=0.0, problems=60, seed=4))
    write(folder / "runs.parquet", runs)
    write(folder / "samples.parquet", samples)
    return folder


def test_samples_are_found_beside_the_table_or_by_name(drawn, tmp_path) -> None:
    table = drawn / "runs.parquet"

    def fit(named: list[Path]) -> dict:
        fitted = fit_tables([table])
        add_bootstrap(fitted, named, [table], draws=300)
        return only(fitted)

    beside = fit([])["bootstrap"]
    assert fit([drawn])["bootstrap"] == beside == fit([drawn / "samples.parquet"])["bootstrap"]
    assert beside["said"] is None
    low, high = beside["fixed"]["slope_bca95"]
    assert low < only(fit_tables([table]))["slope"] < high
    with pytest.raises(BadInput, match=r"--samples .*no such file"):
        fit([tmp_path / "absent"])
    other = [
        row | {"run_id": "other", "context_kind": "x"}
        for row in polars.read_parquet(drawn / "samples.parquet").head(50).to_dicts()
    ]
    note = fit([write(tmp_path / "other.csv", other)])
    assert note["bootstrap"] is None
    assert "no bootstrap: the samples hold no answers of these runs" in note["notes"]
    with pytest.raises(BadInput, match="column correct is missing"):
        fit([write(tmp_path / "bad.csv", [{"run_id": "a", "arm": "B", "problem_id": "p"}])])


def test_threads_and_row_order_change_no_digit(drawn, tmp_path) -> None:
    entry = only(fit_tables([drawn / "runs.parquet"]))
    records = polars.read_parquet(drawn / "samples.parquet").sample(fraction=1.0, shuffle=True, seed=1)
    records.write_parquet(tmp_path / "samples.parquet")

    def errors(folder: Path, threads: int) -> dict:
        answers = point_answers(entry["configs"], [folder / "samples.parquet"])
        return bootstrap(entry["configs"], answers, seed_sd=entry["seed_sd"], draws=400, threads=threads)

    assert errors(drawn, 1) == errors(drawn, 4) == errors(tmp_path, 1)


def test_arms_move_by_their_own_error() -> None:
    draw = np.random.default_rng(0)
    graded = {f"p{i}": [(int(draw.binomial(6, 0.4)), 6)] for i in range(50)}
    arm = Answers.of(graded, sorted(graded))
    moved = arm.redraw(np.random.default_rng(1), 4000)
    assert moved.mean() == pytest.approx(0, abs=0.002)
    assert moved.std() == pytest.approx(arm.variance() ** 0.5, rel=0.05)
    shares = arm.shares
    assert arm.variance() == pytest.approx((shares * (1 - shares) / 5).sum() / 50**2)
    chosen = arm.choose(draw.integers(0, 50, (4000, 50)))
    assert chosen.std() == pytest.approx(shares.std(ddof=1) / 50**0.5, rel=0.05)
    groups = Answers.of(
        {f"p{i}": [(int(draw.binomial(8, 0.5)), 8) for _ in range(3)] for i in range(40)},
        [f"p{i}" for i in range(40)],
    )
    assert groups.redraw(np.random.default_rng(2), 4000).std() == pytest.approx(
        groups.variance() ** 0.5, rel=0.05
    )
    with pytest.raises(ValueError, match="different problems"):
        arm.choose(draw.integers(0, 40, (5, 40)))


def test_points_without_answers_move_by_their_stated_errors(drawn, tmp_path) -> None:
    entry = only(fit_tables([drawn / "runs.parquet"]))
    some = polars.read_parquet(drawn / "samples.parquet").filter(
        ~polars.col("run_id").str.contains("context-3")
    )
    some.write_parquet(tmp_path / "samples.parquet")
    answers = point_answers(entry["configs"], [tmp_path / "samples.parquet"])
    found = bootstrap(entry["configs"], answers, seed_sd=entry["seed_sd"], draws=300)
    assert found["said"] == "without answers, by their stated errors: simulated/context-3"


# --- power --------------------------------------------------------------------------------------------------------


def test_smallest_differences_are_the_known_ones() -> None:
    within = within_variance(0.28, 0.68)
    table = {row["problems"]: row for row in gap_table(within)}
    known = {131: (4.4, 3.1, 2.2, 1.6, 1.1), 300: (2.9, 2.1, 1.5, 1.0, 0.7), 1000: (1.6, 1.1, 0.8, 0.6, 0.4)}
    for problems, expected in known.items():
        found = [100 * table[problems][f"k={k}"] for k in (4, 8, 16, 32, 64)]
        assert found == pytest.approx(expected, abs=0.05)
    doubled = {row["problems"]: row for row in gap_table(within, slope=2)}
    assert doubled[131]["k=8"] == pytest.approx(2 * table[131]["k=8"])
    gains = improvement_table(within, 0.01, problems=131, k=4)
    assert [100 * row["normal"] for row in gains[1:]] == pytest.approx([4.2, 3.4, 2.7], abs=0.06)
    # With t, as statsmodels: effect size is the difference over one run's SD.
    sd = (0.01**2 + within / (131 * 4)) ** 0.5
    for row in gains[1:]:
        power = TTestIndPower().power(row["t"] / sd, row["seeds"], 0.05)
        assert power == pytest.approx(0.8, abs=1e-4)


def test_power_of_a_slope_is_what_drawn_lines_show() -> None:
    (row,) = slope_table(0.5, (0.0, 0.2), tau=0.03, seed_sd=0.03, gap_se=0.0, contexts=(6,))
    draw, x = np.random.default_rng(0), np.linspace(0, 0.2, 6)
    from opsd_rs.law.worlds import fit_lines
    from scipy import stats

    y = 0.5 * x + draw.normal(0, (0.03**2 + 0.03**2 / 3) ** 0.5, (20_000, 6))
    lines = fit_lines(np.broadcast_to(x, y.shape), y)
    share = (np.abs(lines.slope / lines.slope_se) > stats.t.ppf(0.975, 4)).mean()
    assert row["power S=3"] == pytest.approx(share, abs=0.01)
    assert t_power(2.0, 4) == pytest.approx(
        1 - stats.nct.cdf(2.776445, 4, 2) + stats.nct.cdf(-2.776445, 4, 2), abs=1e-6
    )
    setting = {"tau": 0.03, "seed_sd": 0.03, "gap_se": 0.01}
    needed = needed_contexts(0.5, (0.0, 0.2), seeds=3, **setting)
    table = slope_table(0.5, (0.0, 0.2), contexts=(needed - 1, needed), **setting)
    assert table[0]["power S=3"] < 0.8 <= table[1]["power S=3"]
    assert needed_contexts(0.001, (0.0, 0.2), seeds=3, **setting) is None


def test_power_takes_accuracy_and_correlation_from_answers(drawn) -> None:
    accuracy, within, icc = icc_of(*counts_of([drawn / "samples.parquet"]))
    assert 0.15 < accuracy < 0.45
    assert icc == pytest.approx(1 - within / (accuracy * (1 - accuracy)))
    done = CliRunner().invoke(main, ["law", "power", str(drawn), "--problems", "60"])
    assert done.exit_code == 0, done.output
    assert (
        f"accuracy {100 * accuracy:.1f} %, correlation within a problem {icc:.2f} (60 problems of"
        in done.stdout
    )
    assert "smallest visible difference of two contexts' gaps" in done.stdout
    json.loads(CliRunner().invoke(main, ["law", "power", "--format", "json"]).stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--accuracy", "28"], "accuracy 28 lies between 0 and 1"),
        (["--tau", "-1"], "--tau -1: an SD is not negative"),
        (["--gaps", "0.1", "0.1"], "equal gaps have no slope"),
    ],
)
def test_power_refuses_what_no_study_has(words, message) -> None:
    done = CliRunner().invoke(main, ["law", "power", *words])
    assert done.exit_code == 2
    assert message in done.stderr


def test_what_covers_too_little_is_called_indicative(drawn) -> None:
    """The bootstrap's lowest simulated coverage is below 0.90; York's, Deming's and Theil-Sen's are not."""
    done = CliRunner().invoke(main, ["law", "fit", str(drawn / "runs.parquet"), "--draws", "200"])
    lines = done.stdout.splitlines()
    (resampled, held) = (
        next(line for line in lines if what in line) for what in ("problems drawn too", "these problems")
    )
    assert "indicative: contexts are held" in resampled
    assert "indicative: contexts are held" in held
    (others,) = (line for line in lines if "slopes by other means" in line)
    assert "York" in others
    assert "indicative" not in others
