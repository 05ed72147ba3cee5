"""``law predict``, ``show``, ``import`` and ``backtest``: options, one line per error, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from opsd_rs.base import read_table
from opsd_rs.cli import main

DOMAIN = "lr,horizon_steps"
POINTS = [(0.0, 0.01), (0.02, 0.04), (0.05, 0.06), (0.08, 0.11), (0.1, 0.16), (0.13, 0.18)]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["law", *words], catch_exceptions=False)


@pytest.fixture
def law(tmp_path: Path) -> Path:
    table, path = tmp_path / "runs.csv", tmp_path / "law.json"
    lines = [f"m,c{number},{gap},{gain},0.1,24" for number, (gap, gain) in enumerate(POINTS)]
    table.write_text("\n".join([f"family,config_id,gap,improvement,{DOMAIN}", *lines]) + "\n")
    assert run("fit", str(table), "--out", str(path)).exit_code == 0
    return path


def gaps(law: Path, header: str, *lines: str) -> str:
    path = law.parent / "gaps.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def test_predict_prints_forecast_decision_and_price(law: Path) -> None:
    table = gaps(law, f"family,config_id,gap,gap_se,acc_val0,{DOMAIN}", "m,new,0.1,0.01,0.3,0.1,24")
    words = ["predict", str(law), table, "--worthwhile", "0.05", "--gpu-hours", "20"]
    text = run(*words).stdout
    assert "m  new  gap +10.0 (SE 1.0) pp: forecast +1" in text
    assert "one new run: 80 %" in text
    assert "train: P(gain >= 5 pp) = " in text
    assert "a run 20.00 GPU hours" in text
    [row] = json.loads(run(*words, "--format", "json").stdout)
    assert (row["decision"], row["flags"]) == ("train", [])
    strict = json.loads(run(*words, "--confidence", "0.9999", "--format", "json").stdout)
    assert strict[0]["decision"] == "needs anchors"
    one = json.loads(run(*words, "--seeds", "1", "--format", "json").stdout)
    assert one[0]["pi95"] == one[0]["pi95_run"]
    full = json.loads(run(*words, "--px", "full", "--format", "json").stdout)
    assert full[0]["pi95"][0] < row["pi95"][0] < row["pi95"][1] < full[0]["pi95"][1]
    priced = ["--price-per-hour", "3", "--value-per-point", "0.5"]
    assert json.loads(run(*words, *priced, "--format", "json").stdout)[0]["decision"] == "skip"


def test_the_domain_by_flags(law: Path) -> None:
    table = gaps(law, "family,config_id,gap,gap_se,lr", "m,new,0.1,0.01,0.1")
    refused = run("predict", str(law), table)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: {table}: row 1: the law holds at horizon_steps = 24; the table does not say this: add the column"
        " horizon_steps, or --assume KEY=VALUE\n"
    )
    assert "assumed:horizon_steps" in run("predict", str(law), table, "--assume", "horizon_steps=24").stdout
    other = run("predict", str(law), table, "--assume", "horizon_steps=50")
    assert (other.exit_code, other.stderr.count("\n")) == (2, 1)
    forced = run("predict", str(law), table, "--assume", "horizon_steps=50", "--force")
    assert "assumed:horizon_steps, domain:horizon_steps" in forced.stdout


def test_a_family_without_a_line_is_refused_and_others_are_not_lost(law: Path) -> None:
    header = f"family,config_id,gap,gap_se,{DOMAIN}"
    alone = run("predict", str(law), gaps(law, header, "x,new,0.1,0.01,0.1,24"))
    assert alone.exit_code == 2
    assert "no line for family x; fit runs of it, or give --transfer" in alone.stderr
    both = run("predict", str(law), gaps(law, header, "x,new,0.1,0.01,0.1,24", "m,old,0.1,0.01,0.1,24"))
    assert both.exit_code == 0
    assert "x  new  gap +10.0 (SE 1.0) pp: no forecast  ! family_absent" in both.stdout
    assert "m  old" in both.stdout
    one = run("predict", str(law), gaps(law, header, "x,new,0.1,0.01,0.1,24"), "--transfer")
    assert (one.exit_code, "the law has one line" in one.stderr) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "paper-2605.30070/qwen3-8b", "GAPS"],
        ["predict", "nowhere.json", "GAPS"],
        ["predict", "LAW", "nowhere.csv"],
        ["predict", "LAW", "GAPS", "--worthwhile", "5"],
        ["predict", "LAW", "GAPS", "--assume", "lr"],
        ["predict", "LAW", "GAPS", "--seeds", "0"],
        ["show", "nowhere"],
        ["import", "nowhere.csv", "--out", "OUT"],
        ["import", "GAPS", "--out", "OUT"],
        ["import", "GAPS", "--out", "OUT", "--set", "lr"],
        ["backtest", "LAW", "nowhere"],
        ["backtest", "LAW", "nowhere", "--confidence", "2"],
    ],
    ids=" ".join,
)
def test_bad_input_is_exit_2_and_writes_nothing(law: Path, words: list[str]) -> None:
    out = law.parent / "out.parquet"
    table = gaps(law, f"family,config_id,gap,gap_se,{DOMAIN}", "m,new,0.1,0.01,0.1,24")
    places = {"LAW": str(law), "GAPS": table, "OUT": str(out)}
    done = run(*(places.get(word, word) for word in words))
    assert done.exit_code == 2
    assert "rror: " in done.stderr
    assert done.stdout == ""
    assert not out.exists()


def test_show_lists_and_prints(law: Path) -> None:
    listed = run("show").stdout
    assert "paper-2605.30070/qwen3-8b" in listed
    assert "comparison only" in listed
    [*_, last] = json.loads(run("show", "--format", "json").stdout)
    assert last["name"] == "paper-2605.30070/qwen3-sizes"
    assert "improvement = " in run("show", str(law)).stdout
    one = json.loads(run("show", "paper-2605.30070/qwen3-8b", "--format", "json").stdout)
    assert one["families"]["qwen3-8b"]["slope"] == 1.492
    assert one["evidence"] == "second-hand"


def test_import_and_fit(tmp_path: Path) -> None:
    table, out = tmp_path / "mine.csv", tmp_path / "runs.parquet"
    lines = [f"c{i},{0.3 + gap},0.3,0.25,{0.25 + gain}" for i, (gap, gain) in enumerate(POINTS)]
    table.write_text("\n".join(["config_id,acc_teacher,acc_student_gap,acc_val0,acc_val1", *lines]) + "\n")
    done = run("import", str(table), "--out", str(out), "--set", "family=m", "--set", "lr=1e-6")
    assert (done.exit_code, done.stdout) == (0, f"6 runs of m in {out}\n")
    assert {row["lr"] for row in read_table(out)} == {1e-6}
    assert "n = 6 configurations" in run("fit", str(out)).stdout
