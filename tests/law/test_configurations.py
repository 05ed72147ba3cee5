"""What is a seed of what: only runs that differ in nothing else are averaged; the control and changed runs stay out."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from law_tables import only, rows, write
from opsd_rs.cli import main
from opsd_rs.errors import BadInput
from opsd_rs.law import figure1, fit_tables, format_table, predict_table, save, synthetic_table
from opsd_rs.law.rows import APART, read_rows


def two_rates(**more) -> list[dict]:
    """Opposite results of two learning rates, under one config_id each."""
    slow = [row | {"lr": 1e-6, "run_id": f"slow-{i}", **more} for i, row in enumerate(rows())]
    fast = [
        row | {"lr": 1e-4, "improvement": -row["improvement"], "run_id": f"fast-{i}"}
        for i, row in enumerate(slow)
    ]
    return slow + fast


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_learning_rates_are_no_seeds_of_each_other(tmp_path, suffix) -> None:
    entry = only(fit_tables([write(tmp_path / f"r{suffix}", two_rates())]))
    assert (entry["n"], entry["num_runs"]) == (12, 12)
    assert [point["num_seeds"] for point in entry["configs"]] == [1] * 12
    assert {point["config_id"] for point in entry["configs"]} >= {"m/0 (lr 1e-06)", "m/0 (lr 0.0001)"}
    assert (
        "config_id m/0 and 5 more mix runs that are no seeds of each other, lr 1e-06, 0.0001: fitted as 2"
        " configurations each"
    ) in entry["notes"]
    assert "mixes lr 1e-06, 0.0001" in entry["notes"]
    assert any("lr 1e-06, 0.0001" in line for line in format_table({"families": {"m": entry}}))


@pytest.mark.parametrize("key", APART)
def test_each_setting_takes_runs_apart(tmp_path, key) -> None:
    records = [row | {key: value} for row in rows() for value in ("1", "2")]
    entry = only(fit_tables([write(tmp_path / "r.csv", records)]))
    assert entry["n"] == 12
    assert any(f"{key} 1, 2" in note for note in entry["notes"])


@pytest.mark.parametrize("key", ["seed", "k_gap", "k_val", "code_version", "gpu_hours"])
def test_what_seeds_may_differ_in(tmp_path, key) -> None:
    records = [row | {key: value} for row in rows() for value in ("1", "2")]
    entry = only(fit_tables([write(tmp_path / "r.csv", records)]))
    assert (entry["n"], entry["num_runs"]) == (6, 12)


def test_updates_that_a_seed_skipped_do_not_take_it_apart(tmp_path) -> None:
    records = [row | {"prompts_per_step": 8, "opt_updates": n} for row in rows() for n in (96, 95)]
    assert only(fit_tables([write(tmp_path / "r.csv", records)]))["n"] == 6


def test_equal_numbers_are_equal_however_they_are_written(tmp_path) -> None:
    records = [row | {"lr": text} for row in rows() for text in ("0.000001", "1e-6", "1E-06")]
    assert only(fit_tables([write(tmp_path / "r.csv", records)]))["n"] == 6


def test_the_control_is_drawn_and_not_fitted(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    records = [
        row | {"context": f"c{i}"}
        for i, row in enumerate(rows(gaps=[0.02, 0.05, 0.08], gains=[0.1, 0.1, 0.1]))
    ]
    control = {"family": "m", "config_id": "m/none", "context": "none", "gap": 0.0, "improvement": 0.0}
    table = write(tmp_path / "r.csv", [*records, control, control | {"gap": 0.01}])
    entry = only(fit_tables([table]))
    assert entry["slope"] == pytest.approx(0.0, abs=1e-12), "gains that do not follow the gap make no law"
    assert (entry["n"], entry["num_runs"], entry["gap_min"]) == (3, 3, 0.02)
    assert [point["fitted"] for point in entry["configs"]] == [True, True, True, False]
    assert entry["configs"][-1]["leverage"] is None
    assert any("none is drawn hollow and left out of the fit" in note for note in entry["notes"])
    assert any("--with-none fits it" in note for note in entry["notes"])

    whole = only(fit_tables([table], with_none=True))
    assert (whole["n"], whole["num_runs"]) == (4, 5)
    assert whole["slope"] > 0.5, "the origin alone draws a line"
    assert any("none is fitted as a point (--with-none)" in note for note in whole["notes"])

    picture = figure1([table], tmp_path / "f")[0].read_text()
    assert "Hollow, and left out of the fit" in picture
    assert "n = 3 from 3 runs" in picture


def test_too_few_beside_the_control_name_the_option(tmp_path) -> None:
    records = [row | {"context": name} for row, name in zip(rows()[:3], ("none", "a", "b"), strict=True)]
    table = write(tmp_path / "r.csv", records)
    with pytest.raises(
        BadInput, match=r"has 2 configuration\(s\) beside none, .* fit none too with --with-none"
    ):
        fit_tables([table])
    refused = CliRunner().invoke(main, ["law", "fit", str(table)])
    assert refused.exit_code == 2
    assert "--with-none" in refused.stderr
    done = CliRunner().invoke(main, ["law", "fit", str(table), "--with-none"], catch_exceptions=False)
    assert (done.exit_code, "n = 3 configurations" in done.stdout) == (0, True)
    with pytest.raises(BadInput) as caught:
        fit_tables([write(tmp_path / "two.csv", records[1:])])
    assert "--with-none" not in str(caught.value), "there is no control to put in"


def test_the_fit_says_in_its_file_whether_the_control_is_in(tmp_path) -> None:
    for with_none, n in ((False, 5), (True, 6)):
        save(fit_tables([synthetic_table()], with_none=with_none), tmp_path / "law.json")
        law = json.loads((tmp_path / "law.json").read_bytes())
        assert (law["with_none"], only(law)["n"]) == (with_none, n)


def test_a_run_whose_recipe_changed_on_the_way_is_left_out(tmp_path) -> None:
    records = [row | {"run_id": f"r{i}", "segments": 1} for i, row in enumerate(rows())]
    changed = records[2] | {"run_id": "moved", "segments": 2, "improvement": 0.9}
    entry = only(fit_tables([write(tmp_path / "r.parquet", [*records, changed])]))
    assert entry["num_runs"] == 6
    assert "left out, their recipe changed on the way: moved (2 recipes)" in entry["notes"]
    assert entry["slope"] == only(fit_tables([write(tmp_path / "s.csv", records)]))["slope"]
    with pytest.raises(BadInput, match=r"has 2 .*; left out, their recipe changed on the way: moved"):
        fit_tables([write(tmp_path / "t.csv", [*records[:2], changed])])


def test_forecasts_never_average_what_differs(tmp_path) -> None:
    """A gap.parquet keeps rows of other weights; seeds of one measurement are still averaged."""
    save(fit_tables([write(tmp_path / "r.csv", rows())]), tmp_path / "law.json")

    def gap(value: float, weights: str, seed: int) -> dict:
        identity = json.dumps({"weights": weights, "seed": seed})
        return {"family": "m", "config_id": "m/x", "gap": value, "identity": identity}

    table = write(tmp_path / "g.parquet", [gap(0.02, "old", 0), gap(0.1, "new", 0), gap(0.12, "new", 1)])
    assert [row["gap"] for row in predict_table(tmp_path / "law.json", table)] == [0.02, pytest.approx(0.11)]
    plain = [
        {"family": "m", "config_id": "m/x", "gap": value, "lr": lr}
        for value, lr in ((0.02, 1e-6), (0.1, 1e-5))
    ]
    assert len(predict_table(tmp_path / "law.json", write(tmp_path / "h.csv", plain))) == 2


def test_a_row_knows_its_settings(tmp_path) -> None:
    (row,) = read_rows(write(tmp_path / "r.csv", [rows()[0] | {"lr": "1e-6", "k_gap": "16", "remark": "x"}]))
    assert row.settings == {"lr": "1e-06"}
    assert row.domain == {"lr": "1e-06", "k_gap": "16"}
