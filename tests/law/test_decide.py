"""Train, skip, measure more, needs anchors: by probability, by price, and what would settle an open question."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from law_tables import rows, write
from opsd_rs.errors import BadInput
from opsd_rs.law import PredictOptions, Terms, fit_tables, format_predictions, predict_table, save

sys.path.insert(0, str(Path(__file__).parents[2] / "benches"))
import law_decisions

DOMAIN = {"group_size": "8", "lr": "0.1"}


@pytest.fixture
def law(tmp_path: Path) -> Path:
    path = tmp_path / "law.json"
    save(fit_tables([write(tmp_path / "runs.csv", rows(**DOMAIN))]), path)
    return path


def predict(law: Path, *, terms: Terms | None = None, **columns: Any) -> dict[str, Any]:
    record = {
        "family": "m",
        "config_id": "new",
        "gap": 0.08,
        "gap_se": 0.01,
        "k_gap": 16,
        **DOMAIN,
        **columns,
    }
    [row] = predict_table(
        law, write(law.parent / "g.parquet", [record]), PredictOptions(terms=terms or Terms())
    )
    return row


def test_the_verdict_follows_the_probability(law: Path) -> None:
    for gap in (-0.1, -0.02, 0.0, 0.01, 0.02, 0.04, 0.1):
        row = predict(law, gap=gap)
        p = row["p_worthwhile"]
        expected = {"train"} if p >= 0.8 else {"skip"} if p <= 0.2 else {"measure more", "needs anchors"}
        assert row["decision"] in expected, gap
        assert row["reason"].startswith(f"P(gain >= 1 pp) = {p:.2f}")
    assert predict(law, gap=0.04)["decision"] == "train"
    assert predict(law, gap=0.04, terms=Terms(confidence=0.99))["decision"] == "needs anchors"
    assert predict(law, gap=0.04, terms=Terms(worthwhile=0.2))["decision"] == "skip"


def test_measure_more_names_a_number_of_samples_that_settles_it(law: Path) -> None:
    row = predict(law, gap=0.045, gap_se=0.06, gpu_minutes=30.0)
    assert row["decision"] == "measure more"
    assert "% of the forecast's squared error" in row["reason"]
    samples = row["settling_samples"]
    assert samples % 8 == 0, "whole groups"
    settled = predict(law, gap=0.045, gap_se=0.06 * (16 / samples) ** 0.5, k_gap=samples)
    assert settled["decision"] == "train"
    fewer = predict(law, gap=0.045, gap_se=0.06 * (16 / (samples - 8)) ** 0.5, k_gap=samples - 8)
    assert fewer["decision"] != "train"
    assert row["measuring_gpu_hours"] == pytest.approx(0.5 * samples / 16)
    assert f"{samples} samples per problem would settle it" in "\n".join(format_predictions([row]))
    # Without the number of today's samples it is a multiple.
    row = predict(law, gap=0.045, gap_se=0.06, k_gap=None)
    assert row["settling_samples"] is None
    assert row["settling_factor"] == pytest.approx(samples / 16, abs=0.5)


def test_needs_anchors_where_an_exact_gap_leaves_it_open(law: Path) -> None:
    row = predict(law, gap=0.012)
    assert row["decision"] == "needs anchors"
    assert row["settling_factor"] is None
    assert "an exact gap would not settle it" in row["reason"]
    row = predict(law, gap=0.012, gap_se=None)
    assert "came without an error" in row["reason"]


def test_with_a_price_the_expected_gain_decides(law: Path) -> None:
    terms = {"gpu_hours": 20.0, "price_per_hour": 3.0}
    row = predict(law, terms=Terms(**terms, value_per_point=100.0))
    assert row["decision"] == "train"
    assert row["expected_gain"] == pytest.approx(0.116, abs=0.01)
    assert f"worth {100 * 100 * row['expected_gain']:.2f}, a run costs 60.00" in row["reason"]
    assert row["run_gpu_hours"] == 20.0
    assert predict(law, terms=Terms(**terms, value_per_point=4.0))["decision"] == "skip"
    # A likely gain that is worth nothing, and a price that nobody has put a value beside.
    assert predict(law, terms=Terms(**terms))["decision"] == "train"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"worthwhile": 2.0}, r"--worthwhile 2: a fraction of 1"),
        ({"confidence": 1.0}, r"--confidence 1: a probability"),
        ({"confidence": 0.3}, r"--confidence 0\.3"),
        ({"gpu_hours": -1.0}, r"--gpu-hours -1: a number of at least 0"),
        ({"price_per_hour": float("nan")}, r"--price-per-hour nan"),
        ({"value_per_point": 3.0}, r"--value-per-point needs --price-per-hour"),
    ],
)
def test_terms_that_mean_nothing_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Terms(**options)


def test_a_value_needs_the_hours_of_a_run(law: Path) -> None:
    with pytest.raises(BadInput, match=r"give its hours with --gpu-hours"):
        predict(law, terms=Terms(price_per_hour=3.0, value_per_point=3.0))


def test_poor_runs_are_trained_no_more_often_than_the_confidence_says() -> None:
    """In simulated worlds, with and without a law: P(train and gain < worthwhile) <= 1 - confidence. The whole study is
    ``benches/law_decisions.py decide``."""
    cells = {
        name: world for name, world in law_decisions.DECIDE.items() if "n 6" in name and "scatter 3" in name
    }
    assert len(cells) == 6
    for confidence in (0.8, 0.9):
        found = list(law_decisions.decisions(300, 1, Terms(0.02, confidence), cells=cells))
        assert len(found) == 12
        for row in found:
            assert row["p_and_poor"] <= 1 - confidence + 0.04, row
            assert row["train_and_poor"] <= row["p_and_poor"]
            assert row["skip_and_good"] <= 1 - confidence + 0.04, row
    # It does decide: where the slope is 1, a third and more of the contexts are trained or skipped.
    good = list(law_decisions.decisions(300, 1, Terms(0.02), cells={
        name: world for name, world in law_decisions.DECIDE.items() if "slope 1, n 12, scatter 1 pp, gap SE 1" in name
    }))  # fmt: skip
    assert all(row["train"] > 0.3 and row["skip"] > 0.1 for row in good)
    assert all(row["poor_of_trained"] < 0.1 for row in good)
