"""The laws that come with the package, and laws by name: what they say, and what they do not serve for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from law_tables import rows, write
from opsd_rs.errors import BadInput
from opsd_rs.law import fit_tables, format_law, law_names, law_table, load_law, predict_table, save
from opsd_rs.law.laws import ENTRIES, PREDICTS, lacks
from scipy import stats

PAPER = ["paper-2605.30070/olmo-3-7b-instruct", "paper-2605.30070/qwen3-8b", "paper-2605.30070/qwen3-sizes"]


def test_the_paper_s_three_fits_are_there_and_second_hand() -> None:
    assert law_names() == PAPER
    by_name = {name: load_law(name) for name in PAPER}
    assert {law.evidence for law in by_name.values()} == {"second-hand"}
    slopes = [next(iter(by_name[name].families.values()))["slope"] for name in PAPER]
    assert slopes == [0.663, 1.492, 1.508]
    for name, law in by_name.items():
        record = json.loads((ENTRIES / f"{name}.json").read_text())
        assert (record["schema"], record["name"]) == (1, name)
        (entry,) = law.families.values()
        # Every number that is there has a source, and what is missing is named.
        given = {
            key
            for key in ("slope", "r2", "n", "intercept", "slope_se", "slope_ci95", "slope_p")
            if entry[key]
        }
        assert given <= set(law.sources or {})
        assert all(said[:3] in ("[P]", "[R]", "[D]") for said in (law.sources or {}).values())
        assert set(lacks(entry)) <= set(law.missing)
        assert {"residual_sd", "gap_sxx"} <= set(lacks(entry))
        assert any("second-hand" in note for note in entry["notes"])


@pytest.mark.parametrize("name", PAPER)
def test_derived_numbers_follow_from_the_others(name: str) -> None:
    """t = sqrt(R2 df / (1 - R2)), SE = slope / t, the interval and p from Student's t."""
    (entry,) = load_law(name).families.values()
    t = math.sqrt(entry["r2"] * entry["df"] / (1 - entry["r2"]))
    assert entry["slope_se"] == pytest.approx(entry["slope"] / t, rel=5e-3)
    half = stats.t.ppf(0.975, entry["df"]) * entry["slope"] / t
    assert entry["slope_ci95"] == pytest.approx([entry["slope"] - half, entry["slope"] + half], abs=5e-3)
    assert entry["slope_p"] == pytest.approx(2 * stats.t.sf(t, entry["df"]), rel=1e-2)


@pytest.mark.parametrize("name", PAPER)
def test_no_forecast_is_made_of_an_entry_for_comparison(name: str, tmp_path: Path) -> None:
    table = write(tmp_path / "g.csv", [{"family": "any", "config_id": "x", "gap": 0.1}])
    with pytest.raises(BadInput, match=rf"{name} serves comparison only: .* has no .*residual_sd, .*gap_sxx"):
        predict_table(name, table)


def test_a_law_of_one_s_own_that_lost_a_field_says_so(tmp_path: Path) -> None:
    path = tmp_path / "law.json"
    save(fit_tables([write(tmp_path / "r.csv", rows())]), path)
    whole = json.loads(path.read_text())
    for key in PREDICTS:
        cut = json.loads(json.dumps(whole))
        del cut["families"]["m"][key]
        path.write_text(json.dumps(cut))
        with pytest.raises(BadInput, match=rf"law\.json: family m lacks {key}; fit the law again"):
            predict_table(path, tmp_path / "r.csv")


def test_names_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"no law of that name .*did you mean paper-2605\.30070/qwen3-8b\?"):
        load_law("paper-2605.30070/qwen3-8")
    with pytest.raises(BadInput, match=r"x\.json: no such file.*law fit TABLE --out"):
        load_law(tmp_path / "x.json")
    with pytest.raises(BadInput, match="is a folder"):
        load_law(tmp_path)
    with pytest.raises(BadInput, match=r"no law of that name"):
        load_law("../data/laws/paper-2605.30070/qwen3-8b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper-2605.30070").mkdir()
    (tmp_path / PAPER[0]).write_text('{"families": {}}')
    assert load_law(PAPER[0]).families == {}, "a file goes before a name"
    (tmp_path / "new.json").write_text('{"schema": 2, "families": {}}')
    with pytest.raises(BadInput, match="entry of schema 2, this version reads 1"):
        load_law("new.json")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not JSON"):
        load_law("bad.json")


def test_what_show_prints(tmp_path: Path) -> None:
    assert [(row["name"], row["serves"]) for row in law_table()] == [
        (name, "comparison only") for name in PAPER
    ]
    text = "\n".join(format_law(load_law(PAPER[0])))
    assert "improvement = unknown intercept + 0.663 x gap   slope 95 % CI [0.60, 0.72]" in text
    assert "missing: intercept, residual_sd" in text
    assert "source of slope: [R]" in text
    save(fit_tables([write(tmp_path / "r.csv", rows(lr="0.1"))]), tmp_path / "law.json")
    text = "\n".join(format_law(load_law(tmp_path / "law.json")))
    assert "holds at lr = 0.1" in text
    assert "own fit" in text
    assert "comparison" not in text
