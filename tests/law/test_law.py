"""The law from tables on disk: known answers, what is refused, forecasts, and what is said of them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from law_tables import GAPS, only, rows, write
from opsd_rs.errors import BadInput
from opsd_rs.law import fit_tables, format_table, predict_table, save, synthetic_table

# --- fit --------------------------------------------------------------------------------------------------


def test_shipped_fixture_is_marked_and_gives_its_known_answer() -> None:
    fit = fit_tables([synthetic_table()], with_none=True)
    entry = only(fit)
    assert (fit["with_none"], fit["by"]) == (True, "family")
    assert entry["synthetic"] is True
    assert any("SYNTHETIC" in note for note in entry["notes"])
    assert synthetic_table().read_text().startswith("# SYNTHETIC")
    assert (entry["n"], entry["num_runs"], entry["df"]) == (6, 18, 4)
    known = {
        "slope": 1.492002,
        "slope_se": 0.172939,
        "intercept": -0.003,
        "r2": 0.949,
        "slope_p": 9.9245e-4,
        "residual_sd": 0.020916,
        "loo_r2": 0.887847,
        "loo_q2": 0.922116,
        "loo_rmse": 0.025325,
    }
    assert {key: entry[key] for key in known} == pytest.approx(known, abs=2e-6)
    json.dumps(fit, allow_nan=False)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_three_formats_and_row_order_give_the_same_fit(tmp_path, suffix) -> None:
    records = [record | {"note": "kept by others"} for record in rows()]
    fit = only(fit_tables([write(tmp_path / f"runs{suffix}", records)]))
    again = only(fit_tables([write(tmp_path / f"back{suffix}", records[::-1])]))
    expected = only(fit_tables([synthetic_table()], with_none=True))
    for key in ("slope", "slope_se", "intercept", "intercept_se", "r2", "residual_sd", "loo_r2", "loo_rmse"):
        assert fit[key] == pytest.approx(expected[key], rel=1e-9)
        assert again[key] == pytest.approx(fit[key], rel=1e-9)


def test_seeds_are_averaged_and_duplicates_do_not_shrink_the_error(tmp_path) -> None:
    once = only(fit_tables([write(tmp_path / "once.csv", rows())]))
    seeds = [
        record | {"improvement": record["improvement"] + shift, "seed": seed}
        for record in rows()
        for seed, shift in enumerate((-0.02, 0.0, 0.02))
    ]
    thrice = only(fit_tables([write(tmp_path / "thrice.csv", seeds)]))
    assert (thrice["n"], thrice["num_runs"]) == (6, 18)
    assert thrice["slope_se"] == pytest.approx(once["slope_se"])
    assert thrice["configs"][0]["improvement_sd"] == pytest.approx(0.02)
    assert once["configs"][0]["improvement_sd"] is None


def test_metamorphic_scale_and_shift(tmp_path) -> None:
    """Halving both columns leaves the slope; a constant added to every gap moves only the intercept."""
    base = only(fit_tables([write(tmp_path / "a.csv", rows())]))
    half = [r | {"gap": r["gap"] / 2, "improvement": r["improvement"] / 2} for r in rows()]
    halved = only(fit_tables([write(tmp_path / "b.csv", half)]))
    shifted = only(fit_tables([write(tmp_path / "c.csv", [r | {"gap": r["gap"] + 0.1} for r in rows()])]))
    for key in ("slope", "slope_se", "r2", "loo_r2", "loo_q2"):
        assert halved[key] == pytest.approx(base[key], rel=1e-9)
        assert shifted[key] == pytest.approx(base[key], rel=1e-9)
    assert halved["residual_sd"] == pytest.approx(base["residual_sd"] / 2)
    assert shifted["intercept"] == pytest.approx(base["intercept"] - 0.1 * base["slope"])


def test_families_keep_their_own_lines_and_say_when_they_differ(tmp_path) -> None:
    steep = [1.5 * x + e for x, e in zip(GAPS, (0.004, -0.005, 0.003, 0.002, -0.006, 0.002), strict=True)]
    gentle = [0.66 * x + e for x, e in zip(GAPS, (0.002, -0.001, -0.002, 0.001, 0.001, -0.001), strict=True)]
    one = write(tmp_path / "qwen.parquet", rows("qwen", gains=steep))
    two = write(tmp_path / "olmo.jsonl", rows("olmo", gains=gentle))
    fit = fit_tables([one, two])["families"]
    assert list(fit) == ["qwen", "olmo"]
    assert fit["qwen"]["slope"] == pytest.approx(1.5, abs=0.1)
    assert fit["olmo"]["slope"] == pytest.approx(0.66, abs=0.03)
    assert any("slope differs from olmo's" in note for note in fit["qwen"]["notes"])
    assert any("slope differs from qwen's" in note for note in fit["olmo"]["notes"])
    assert fit["olmo"]["inputs"][0]["path"] == str(two)


def test_a_run_in_two_tables_counts_once(tmp_path) -> None:
    records = [record | {"run_id": f"r{i}"} for i, record in enumerate(rows())]
    one, two = write(tmp_path / "a.csv", records), write(tmp_path / "b.parquet", records)
    assert only(fit_tables([one, two]))["num_runs"] == 6
    records[2]["improvement"] = 0.5
    write(two, records)
    with pytest.raises(BadInput, match=r"b\.parquet: run_id r2 is also in .*a\.csv"):
        fit_tables([one, two])


def test_what_the_data_do_not_determine_is_null_with_a_note(tmp_path) -> None:
    one_far = rows(gaps=[0.08] * 5 + [0.19], gains=[0.06, 0.05, 0.07, 0.08, 0.09, 0.12])
    entry = only(fit_tables([write(tmp_path / "iv.csv", one_far)]))
    assert (entry["loo_r2"], entry["loo_q2"], entry["loo_rmse"]) == (None, None, None)
    assert any("m/5 alone determines the slope" in note for note in entry["notes"])
    equal = fit_tables([write(tmp_path / "equal.csv", rows(gaps=[0.1] * 6))])
    assert only(equal)["slope"] is None
    assert any("all gaps are equal" in note for note in only(equal)["notes"])
    flat = fit_tables([write(tmp_path / "flat.csv", rows(gains=[0.02] * 6))])
    assert only(flat)["r2"] is None
    for fit in (equal, flat):
        json.dumps(fit, allow_nan=False)
        format_table(fit)
        save(fit, tmp_path / "law.json")
    (forecast, *_) = predict_table(tmp_path / "law.json", tmp_path / "flat.csv")
    assert forecast["forecast"] == pytest.approx(0.02)
    save(equal, tmp_path / "law.json")
    (refused, *_) = predict_table(tmp_path / "law.json", tmp_path / "flat.csv")
    assert refused["flags"] == ["slope_undefined"]
    assert refused["forecast"] is None


def test_few_configurations_are_a_note_and_fewer_are_refused(tmp_path) -> None:
    three = write(tmp_path / "three.csv", rows()[:3])
    assert any("only 3 configurations" in note for note in only(fit_tables([three]))["notes"])
    seeds = [record | {"seed": s} for record in rows()[:2] for s in range(4)]
    with pytest.raises(BadInput, match=r"two\.csv: column config_id: family m has 2 configuration"):
        fit_tables([write(tmp_path / "two.csv", seeds)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap": "much"}, r"row 3, column gap: 'much' is not a number"),
        ({"gap": "nan"}, r"row 3, column gap: 'nan' is not a finite number"),
        ({"improvement": "inf"}, r"row 3, column improvement: 'inf' is not a finite number"),
        ({"improvement": ""}, r"row 3, column improvement: empty"),
        ({"gap": 4.5}, r"row 3, column gap: 4\.5 is no difference of two accuracies; write fractions"),
        ({"family": ""}, r"row 3, column family: empty"),
        ({"config_id": " "}, r"row 3, column config_id: empty"),
        ({"gap_se_cond": "wide"}, r"row 3, column gap_se_cond: 'wide' is not a number"),
    ],
)
def test_bad_cells_name_file_row_and_column(tmp_path, change, message) -> None:
    records = rows(gap_se_cond=0.01)
    records[2] |= change
    with pytest.raises(BadInput, match=r"bad\.csv: " + message):
        fit_tables([write(tmp_path / "bad.csv", records)])


def test_bad_files_name_themselves(tmp_path) -> None:
    def refused(path: Path, match: str) -> None:
        with pytest.raises(BadInput, match=match) as caught:
            fit_tables([path])
        assert str(path) in str(caught.value)

    refused(
        write(tmp_path / "a.csv", [{"family": "m", "gap": 0.1}]), "column config_id, improvement is missing"
    )
    refused(tmp_path / "absent.csv", "no such file")
    refused(tmp_path, "no such file")
    (tmp_path / "empty.csv").write_text("# only a remark\n")
    refused(tmp_path / "empty.csv", "no rows")
    (tmp_path / "header.csv").write_text("family,config_id,gap,improvement\n")
    refused(tmp_path / "header.csv", "no rows")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    refused(tmp_path / "broken.parquet", "cannot be read as parquet")
    (tmp_path / "broken.jsonl").write_text('{"family": "m"}\n{"family": \n')
    refused(tmp_path / "broken.jsonl", "line 2 is not JSON")
    (tmp_path / "list.jsonl").write_text("[1, 2]\n")
    refused(tmp_path / "list.jsonl", "line 1 is not a JSON object")
    (tmp_path / "bytes.csv").write_bytes(b"family,config_id\n\xff\xfe,1\n")
    refused(tmp_path / "bytes.csv", "cannot be read as csv")
    (tmp_path / "t.xlsx").write_bytes(b"")
    refused(tmp_path / "t.xlsx", "a table is")
    ragged = "family,config_id,gap,improvement\nm,a,0,0,9,9\n"
    (tmp_path / "ragged.csv").write_text(ragged)
    refused(tmp_path / "ragged.csv", "cannot be read as csv")
    nan = [record | {"gap": math.nan} for record in rows()]
    refused(write(tmp_path / "nan.parquet", nan), "row 1, column gap: nan is not a finite number")


def test_synthetic_and_measured_rows_do_not_share_a_line(tmp_path) -> None:
    records = rows(synthetic=False)
    records[0]["synthetic"] = True
    with pytest.raises(BadInput, match="mixes synthetic and measured"):
        fit_tables([write(tmp_path / "mixed.csv", records)])


# --- forecasts --------------------------------------------------------------------------------------------


def test_forecasts_of_left_out_configurations_are_the_leave_one_out_ones(tmp_path) -> None:
    """Fitting five and forecasting the sixth is what loo_forecast says."""
    whole = only(fit_tables([write(tmp_path / "all.csv", rows())]))
    for left_out, point in enumerate(whole["configs"]):
        others = [record for i, record in enumerate(rows()) if i != left_out]
        save(fit_tables([write(tmp_path / "others.csv", others)]), tmp_path / "law.json")
        table = write(tmp_path / "one.csv", [rows()[left_out]])
        (forecast,) = predict_table(tmp_path / "law.json", table)
        assert forecast["forecast"] == pytest.approx(point["loo_forecast"], abs=1e-12)


def test_a_law_that_cannot_forecast_is_refused(tmp_path) -> None:
    table = write(tmp_path / "r.csv", rows())
    path = tmp_path / "law.json"
    with pytest.raises(BadInput, match=r"law\.json: no such file"):
        predict_table(path, table)
    path.write_text("{")
    with pytest.raises(BadInput, match=r"law\.json: not JSON"):
        predict_table(path, table)
    path.write_text("[]")
    with pytest.raises(BadInput, match=r"law\.json: no `families`"):
        predict_table(path, table)
    path.write_text(json.dumps({"families": {"m": {"slope": 1.5, "intercept": 0.0, "n": 6}}}))
    with pytest.raises(BadInput, match=r"law\.json: family m lacks residual_sd, gap_mean"):
        predict_table(path, table)


# --- text and the names of the package -----------------------------------------------------------------


def test_text_says_the_interval_before_r2() -> None:
    lines = format_table(fit_tables([synthetic_table()], with_none=True))
    text = "\n".join(lines)
    assert "improvement = -0.30 pp + 1.492 x gap   slope 95 % CI [1.01, 1.97]" in text
    assert text.index("prediction interval") < text.index("R2 0.949")
    assert "SYNTHETIC" in text


def test_fitting_loads_neither_torch_nor_matplotlib_nor_scipy_s_statistics() -> None:
    code = (
        "import sys; from opsd_rs import law; before = {'polars', 'scipy'} & set(sys.modules);"
        "law.format_table(law.fit_tables([law.synthetic_table()]));"
        "print(before, sorted({'torch', 'scipy.stats', 'matplotlib', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env())
    assert out.stdout.split("\n")[0] == "set() []"


def _env() -> dict[str, str]:
    import os

    import opsd_rs

    return os.environ | {"PYTHONPATH": str(Path(opsd_rs.__file__).parents[1])}
