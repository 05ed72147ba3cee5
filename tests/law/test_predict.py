"""Forecasts: known answers, one run and the mean of several, what accuracy allows, the law's domain, other families."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from law_tables import only, rows, write
from opsd_rs.errors import BadInput
from opsd_rs.law import (
    PredictOptions,
    Terms,
    fit_tables,
    format_predictions,
    predict_table,
    save,
    synthetic_table,
)
from opsd_rs.law.forecasts import Spread
from scipy import stats

DOMAIN = {"group_size": "8", "horizon_steps": "24", "lr": "1e-05", "split": "transductive"}
TWO_SEEDS = [
    {**record, "seed": seed, "improvement": record["improvement"] + shift}
    for record in rows()
    for seed, shift in enumerate((-0.01, 0.01))
]


@pytest.fixture
def law(tmp_path: Path) -> Path:
    """Six configurations with a domain, one run each."""
    path = tmp_path / "law.json"
    save(fit_tables([write(tmp_path / "runs.csv", rows(**DOMAIN))]), path)
    return path


def predict(law: Path, *records: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    shared = {"family": "m", "config_id": "new", "gap": 0.08, "gap_se": 0.01}
    table = write(law.parent / "gaps.jsonl", [{**shared, **record} for record in records])
    return predict_table(law, table, PredictOptions(**options))


def test_forecasts_of_the_fixture_are_the_known_intervals(tmp_path: Path) -> None:
    save(fit_tables([synthetic_table()], with_none=True), tmp_path / "law.json")
    wanted = [
        {"family": "synthetic", "config_id": "a", "gap": 0.08, "gap_se": 0.0},
        {"family": "synthetic", "config_id": "b", "gap": 0.08, "gap_se": 0.0078},
        {"family": "synthetic", "config_id": "c", "gap": 0.20},
        {"family": "llama", "config_id": "d", "gap": 0.05},
    ]
    gaps = write(tmp_path / "gaps.jsonl", wanted)
    a, b, c, d = predict_table(tmp_path / "law.json", gaps, PredictOptions(excess=False))
    assert a["forecast"] == pytest.approx(-0.003 + 1.492002 * 0.08, abs=1e-6)
    assert a["pi95"] == pytest.approx([0.0532, 0.1795], abs=5e-5)
    assert a["pi95"][0] < a["pi80"][0] < a["forecast"] < a["pi80"][1] < a["pi95"][1]
    assert a["flags"] == ["synthetic", "domain_unknown"]
    assert b["pi95"] == pytest.approx([0.0454, 0.1873], abs=5e-5)
    assert c["flags"] == ["synthetic", "extrapolation", "gap_error_unknown", "domain_unknown"]
    assert c["forecast"] is not None
    assert (d["forecast"], d["pi95"], d["flags"]) == (None, None, ["family_absent"])
    assert {row["decision"] for row in (a, b, c, d)} == {"needs anchors"}
    text = "\n".join(format_predictions([a, b, c, d]))
    assert "95 % [+5.3, +18.0]" in text
    assert "no forecast  ! family_absent" in text
    # The error that the fitted gaps have too is in the residuals already.
    [_, excess, *_] = predict_table(tmp_path / "law.json", gaps)
    assert excess["pi95"] == pytest.approx(a["pi95"], abs=5e-5)


def test_one_run_may_lie_further_off_than_the_mean_of_several(tmp_path: Path) -> None:
    save(fit_tables([write(tmp_path / "runs.csv", TWO_SEEDS)]), tmp_path / "law.json")
    entry = only(json.loads((tmp_path / "law.json").read_text()))
    [row] = predict(tmp_path / "law.json", {"gap_se": 0.0}, excess=False)
    variance = entry["residual_sd"] ** 2 * (1 + 1 / 6 + (0.08 - entry["gap_mean"]) ** 2 / entry["gap_sxx"])
    half = stats.t.ppf(0.975, 4) * math.sqrt(variance)
    assert row["pi95"] == pytest.approx([row["forecast"] - half, row["forecast"] + half])
    extra = entry["seed_sd"] ** 2 / 2  # one run where a point is the mean of two
    assert row["pi95_run"][1] - row["forecast"] >= stats.t.ppf(0.975, 4) * math.sqrt(variance)
    assert row["p_worthwhile"] == pytest.approx(
        stats.t.sf((0.01 - row["forecast"]) / math.sqrt(variance + extra), 4), abs=2e-3
    )
    [asked] = predict(tmp_path / "law.json", {"gap_se": 0.0}, num_seeds=1, excess=False)
    assert asked["pi95"] == row["pi95_run"]


def test_a_forecast_is_clipped_to_what_accuracy_allows(law: Path) -> None:
    low, high, unknown = predict(
        law,
        {**DOMAIN, "config_id": "low", "gap": -0.5, "acc_val0": 0.3},
        {**DOMAIN, "config_id": "high", "gap": 0.14, "acc_val0": 0.95},
        {**DOMAIN, "config_id": "unknown", "gap": 0.14},
    )
    assert low["forecast"] == -0.3
    assert low["forecast_unclipped"] < -0.6
    assert low["forecast_final"] == 0.0
    assert {"below_zero", "extrapolation"} <= set(low["flags"])
    assert (high["forecast"], high["forecast_final"]) == (pytest.approx(0.05), 1.0)
    assert high["pi95"][1] == high["pi95_run"][1] == high["forecast"]
    assert high["pi95_unclipped"][1] > 0.2
    assert "ceiling" in high["flags"]
    assert unknown["forecast"] == unknown["forecast_unclipped"] == high["forecast_unclipped"]
    assert unknown["forecast_final"] is None
    assert "unclipped +" in "\n".join(format_predictions([high]))


def test_the_ceiling_is_the_gap_s_own_student_where_validation_is_not_known(law: Path) -> None:
    forecasts = predict(law, *[
        {**DOMAIN, "gap": 0.1, "config_id": name, **known}
        for name, known in {
            "low": {"acc_student_gap": 0.2}, "high": {"acc_student_gap": 0.95},
            "both": {"acc_student_gap": 0.95, "acc_val0": 0.3}, "measured": {"acc_student_gap": 0.2, "acc_val0": 0.95},
            "unknown": {},
        }.items()
    ])  # fmt: skip
    assert {row["config_id"]: row["flags"] for row in forecasts} == {
        "low": [], "high": ["ceiling:acc_student_gap"], "both": [], "measured": ["ceiling"], "unknown": [],
    }  # fmt: skip


def test_a_setting_that_the_table_does_not_have_is_an_error_until_it_is_assumed(law: Path) -> None:
    known = {key: value for key, value in DOMAIN.items() if key not in ("lr", "horizon_steps")}
    with pytest.raises(BadInput) as caught:
        predict(law, DOMAIN, {**known, "config_id": "other"})
    said = str(caught.value)
    assert "gaps.jsonl: row 2: the law holds at horizon_steps = 24, lr = 1e-05" in said
    assert "columns horizon_steps, lr, or --assume KEY=VALUE" in said
    with pytest.raises(BadInput, match=r"the law holds at lr = 1e-05; .* column lr,"):
        predict(law, known, assume=["horizon_steps=24"])
    [row] = predict(law, known, assume=["horizon_steps=24", "lr=0.00001"])
    assert row["flags"] == ["assumed:horizon_steps", "assumed:lr"]
    with pytest.raises(BadInput, match=r"outside of the law's domain: lr = 0\.1, the law's is 1e-05"):
        predict(law, known, assume=["horizon_steps=24", "lr=0.1"])
    with pytest.raises(BadInput, match=r"--assume horizon=24: horizon is no key of a domain"):
        predict(law, known, assume=["horizon=24"])
    with pytest.raises(BadInput, match=r"write KEY=VALUE"):
        predict(law, known, assume=["lr"])


@pytest.mark.parametrize("key", list(DOMAIN))
def test_a_setting_that_differs_is_an_error_until_it_is_forced(law: Path, key: str) -> None:
    other = {**DOMAIN, key: "99"}
    with pytest.raises(BadInput, match=rf"{key} = 99, the law's is {DOMAIN[key]}; .*--force"):
        predict(law, other)
    [row] = predict(law, other, force=True)
    assert row["flags"] == [f"domain:{key}"]


def test_more_samples_of_the_gap_are_no_other_domain(tmp_path: Path) -> None:
    save(fit_tables([write(tmp_path / "runs.csv", rows(k_gap=8, lr="0.1"))]), tmp_path / "law.json")
    [row] = predict(tmp_path / "law.json", {"k_gap": 64.0, "lr": 0.1})
    assert row["flags"] == ["domain:k_gap"]
    with pytest.raises(BadInput, match=r"lr = 0\.2, .*; k_gap = 64"):
        predict(tmp_path / "law.json", {"k_gap": 64.0, "lr": 0.2})


def test_a_law_without_a_domain_never_says_train(tmp_path: Path, law: Path) -> None:
    bare = tmp_path / "bare.json"
    save(fit_tables([write(tmp_path / "bare.csv", rows())]), bare)
    point = {**DOMAIN, "gap": 0.14}
    [unknown], [known] = predict(bare, point), predict(law, point)
    assert (known["decision"], known["flags"]) == ("train", [])
    assert unknown["flags"] == ["domain_unknown"]
    assert unknown["p_worthwhile"] == known["p_worthwhile"] > 0.9
    assert unknown["decision"] == "needs anchors"
    assert "never train on domain_unknown" in unknown["reason"]


def test_a_slope_that_may_be_zero_never_says_train(tmp_path: Path) -> None:
    gains = [0.10, 0.14, 0.09, 0.12, 0.13, 0.11]
    save(fit_tables([write(tmp_path / "runs.csv", rows(gains=gains, **DOMAIN))]), tmp_path / "law.json")
    [row] = predict(tmp_path / "law.json", DOMAIN)
    assert row["p_worthwhile"] > 0.95
    assert row["flags"] == ["slope_uncertain"]
    assert row["decision"] == "needs anchors"
    # That no line is there does not make a loss likely to be a gain.
    [row] = predict(tmp_path / "law.json", DOMAIN, terms=Terms(worthwhile=0.5))
    assert row["decision"] == "skip"


def test_a_gap_without_an_error_is_flagged(law: Path) -> None:
    [row] = predict(law, {**DOMAIN, "gap_se": None})
    assert row["flags"] == ["gap_error_unknown"]
    assert row["gap_se"] is None


def test_another_family_is_refused_or_gets_the_range_of_the_lines(tmp_path: Path) -> None:
    steep, flat = (
        rows("steep", **DOMAIN),
        [{**r, "improvement": 0.5 * r["improvement"]} for r in rows("flat", **DOMAIN)],
    )
    tables = [write(tmp_path / "steep.csv", steep), write(tmp_path / "flat.csv", flat)]
    law = tmp_path / "law.json"
    save(fit_tables(tables), law)
    point = {**DOMAIN, "family": "new", "gap": 0.12}
    [refused] = predict(law, point)
    assert (refused["forecast"], refused["flags"], refused["decision"]) == (
        None,
        ["family_absent"],
        "needs anchors",
    )
    [row] = predict(law, point, transfer=True)
    own = [predict(law, {**point, "family": name})[0] for name in ("steep", "flat")]
    assert row["pi95"] == [own[1]["pi95"][0], own[0]["pi95"][1]]
    assert row["forecast"] == pytest.approx((own[0]["forecast"] + own[1]["forecast"]) / 2)
    assert "transfer" in row["flags"]
    assert row["decision"] == "needs anchors", "however likely"
    with pytest.raises(BadInput, match="split = other"):
        predict(law, {**point, "split": "other"}, transfer=True)
    save(fit_tables(tables[:1]), law)
    with pytest.raises(BadInput, match="the law has one line"):
        predict(law, point, transfer=True)


@pytest.mark.parametrize("df", [1.0, 2.5, 4.0, 30.0])
def test_a_spread_is_student_s_t(df: float) -> None:
    spread, known = Spread(0.03, 0.02, df), stats.t(df, 0.03, 0.02)
    assert spread.above(0.05) == pytest.approx(known.sf(0.05), rel=1e-9)
    assert spread.interval(0.8) == pytest.approx(known.interval(0.8), rel=1e-9)
    wide = (-1.0, 1.0)
    grid = known.ppf([(place + 0.5) / 200_000 for place in range(200_000)]).clip(0, 1)
    assert spread.expected_gain(wide) == pytest.approx(grid.mean(), rel=5e-3)
    assert Spread(0.03, 0.0, df).above(0.03) == 1.0


def test_a_law_by_size_forecasts_by_size(tmp_path: Path) -> None:
    """``law fit --by size``: a row is forecast by the entry that its own size belongs to."""
    small = rows(size_b="0.6", **DOMAIN)
    large = [
        {**record, "config_id": f"l{i}", "improvement": record["improvement"] / 2, "size_b": "8"}
        for i, record in enumerate(small)
    ]
    law = tmp_path / "law.json"
    save(fit_tables([write(tmp_path / "runs.csv", [*small, *large])], by="size"), law)
    one, eight, other = predict(law, *({**DOMAIN, "config_id": s, "size_b": s} for s in ("0.6", "8", "70")))
    assert one["forecast"] == pytest.approx(2 * eight["forecast"])
    assert other["flags"] == ["family_absent"]
