"""Runs of other tools as rows of ``runs.parquet``: our own tables, the csv form, exported histories."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest
from law_tables import only, rows, write
from opsd_rs.base import read_table
from opsd_rs.errors import BadInput
from opsd_rs.law import RUNS_SCHEMA, append_run_row, fit_tables, import_tables, synthetic_table

CHART = """\
"Step","a - critic/score/mean","a - critic/score/mean__MIN","a - self-teacher-privall/score/mean",\
"a - val-core/lcb/reward/mean@4","b - critic/score/mean","b - self-teacher-privall/score/mean",\
"b - val-core/lcb/reward/mean@4"
0,0.28,0.1,0.42,0.30,0.20,0.30,0.25
1,0.29,0.1,0.40,,0.21,0.30,
50,0.50,0.1,0.60,0.52,0.40,0.45,0.33
"""
HISTORY = """\
Name,training/global_step,critic/score/mean,self-teacher-privfeedback_only/score/mean,val-core/lcb/acc/mean@8,family
x,0,0.2,0.3,0.25,qwen
x,20,0.4,0.4,0.45,qwen
y,20,0.5,0.5,0.35,qwen
y,0,0.2,0.2,0.30,qwen
"""


def test_the_csv_form(tmp_path: Path) -> None:
    """A difference or the accuracies that it is made of; a row imported twice is one run."""
    records = [
        {"family": "m", "config_id": "a", "seed": "3", "gap": "0.1", "improvement": "0.2", "gap_se": "0.01"},
        {"family": "m", "config_id": "b", "seed": "0", "acc_teacher": "0.5", "acc_student_gap": "0.3",
         "acc_val0": "0.25", "acc_val1": "0.5"},
    ]  # fmt: skip
    text = [list(records[0] | records[1])]
    text += [[str(record.get(name, "")) for name in text[0]] for record in records]
    table = tmp_path / "runs.csv"
    table.write_text("# of our own runs\n" + "\n".join(",".join(line) for line in text) + "\n")
    out = tmp_path / "runs.parquet"
    for _ in range(2):
        import_tables([table], out, {"horizon_steps": "50"})
    a, b = read_table(out)
    assert set(a) == set(RUNS_SCHEMA)
    assert (a["gap"], a["improvement"], a["gap_se_cond"], a["seed"], a["context"]) == (0.1, 0.2, 0.01, 3, "a")
    assert (b["gap"], b["improvement"]) == (pytest.approx(0.2), 0.25)
    assert {a["horizon_steps"], b["horizon_steps"]} == {50}
    assert a["run_id"] != b["run_id"]
    assert polars.read_parquet_schema(out)["seed"] == polars.Int64


def test_a_table_of_ours_comes_through_unchanged(tmp_path: Path) -> None:
    ours = tmp_path / "ours.parquet"
    for place, record in enumerate(rows()):
        append_run_row(
            ours,
            {**record, "run_id": f"r{place}", "lr": 1e-5, "stopped_at": None, "gap_baseline_shared": True},
        )
    import_tables([ours], tmp_path / "out.parquet", {})
    assert read_table(tmp_path / "out.parquet") == [
        {**row, "context": row["config_id"]} for row in read_table(ours)
    ]
    assert only(fit_tables([tmp_path / "out.parquet"]))["slope"] == only(fit_tables([ours]))["slope"]


def test_histories_of_weights_and_biases(tmp_path: Path) -> None:
    """The gap of the first step, and the last validation against the first, whatever the order of the rows."""
    (tmp_path / "chart.csv").write_text(CHART)
    (tmp_path / "history.csv").write_text(HISTORY)
    out = tmp_path / "out.parquet"
    found = import_tables([tmp_path / "chart.csv", tmp_path / "history.csv"], out, {"family": "qwen"})
    rounded = [(r["run_id"], round(r["gap"], 6), round(r["improvement"], 6)) for r in found]
    assert [(*row, r["horizon_steps"], r["k_val"]) for row, r in zip(rounded, found, strict=True)] == [
        ("wandb-a", 0.14, 0.22, 50, 4), ("wandb-b", 0.1, 0.08, 50, 4),
        ("wandb-x", 0.1, 0.2, 20, 8), ("wandb-y", 0.0, 0.05, 20, 8),
    ]  # fmt: skip
    assert only(fit_tables([out]))["n"] == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CHART.replace("privall", "other"), r"run a: self-teacher-priv.*: no column matches"),
        (CHART.replace('"Step"', '"when"'), r"a history needs its steps"),
        (CHART.replace(",0.52,", ",,"), r"run a, column val-core/lcb/reward/mean@4: the improvement needs"),
        (CHART.replace("0,0.28,", "0,much,"), r"run a.*'much' is not a number"),
        (CHART, r"row 1, column family: empty"),
    ],
)
def test_histories_that_say_too_little(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "chart.csv").write_text(text)
    with pytest.raises(BadInput, match=said):
        import_tables([tmp_path / "chart.csv"], tmp_path / "out.parquet", {})
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gap": ""}, r"row 2, column gap: empty, and acc_teacher and acc_student_gap are not both given"),
        ({"gap": "12.5"}, r"row 2, column gap: 12\.5 is no difference of two accuracies"),
        ({"seed": "1.5"}, r"row 2, column seed: '1\.5' is no whole number"),
        ({"gap_baseline_shared": "perhaps"}, r"row 2, column gap_baseline_shared: 'perhaps' is neither"),
        ({"run_id": "r0"}, r"run_id r0 is of runs 1 and 2"),
        ({"synthetic": "true"}, r"row 2: a synthetic row is no run"),
    ],
)
def test_bad_cells_are_named_and_nothing_is_written(change: dict, said: str, tmp_path: Path) -> None:
    shared = {"seed": "0", "gap_baseline_shared": "", "synthetic": ""}
    records = [{**record, **shared, "run_id": f"r{i}"} for i, record in enumerate(rows())]
    records[1] |= change
    with pytest.raises(BadInput, match=said):
        import_tables([write(tmp_path / "t.csv", records)], tmp_path / "out.parquet", {})
    assert not (tmp_path / "out.parquet").exists()


def test_invented_rows_and_unknown_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="synthetic row is no run"):
        import_tables([synthetic_table()], tmp_path / "out.parquet", {})
    with pytest.raises(BadInput, match=r"--set horizon: runs\.parquet has no such column"):
        import_tables([synthetic_table()], tmp_path / "out.parquet", {"horizon": "5"})
