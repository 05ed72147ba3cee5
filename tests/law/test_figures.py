"""The law's figures: the same bytes from the same rows, and every point says what it is."""

from __future__ import annotations

import sys

import pytest
from law_tables import rows, write
from opsd_rs.errors import BadInput
from opsd_rs.law import draw_figure1, figure1, figure2, fit_tables, synthetic_table
from opsd_rs.law.rows import read_rows


def test_figure1_is_deterministic_and_labels_synthetic_points(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    measured = write(tmp_path / "m.csv", rows("measured", context="feedback", improvement_se_cond=0.01))
    tables = [synthetic_table(), measured]
    svg, png = figure1(tables, tmp_path / "qwen3-0.6b")
    assert (svg.name, png.name) == ("qwen3-0.6b.svg", "qwen3-0.6b.png")
    again = figure1(fit_tables(tables), tmp_path / "again.svg")
    assert [path.name for path in again] == ["again.svg", "again.png"]
    assert svg.read_bytes() == again[0].read_bytes()
    assert png.read_bytes() == again[1].read_bytes()
    text = svg.read_text()  # glyphs are paths; matplotlib writes each string as a comment before them
    assert "synthetic (SYNTHETIC points)" in text
    assert "Hollow points are SYNTHETIC" in text
    assert "SD over seeds" in text
    assert "synthetic n = 5 from 15 runs, measured n = 6" in draw_figure1(fit_tables(tables)).caption
    assert "the control none" in text
    whole = figure1(fit_tables(tables, with_none=True), tmp_path / "whole")[0].read_text()
    assert "n = 6 from 18 runs" in whole
    assert "the control none" not in whole
    assert "standard error of the one run" in draw_figure1(fit_tables(tables)).caption
    alone = figure1([measured], tmp_path / "alone")[0].read_text()
    assert "SYNTHETIC" not in alone


def test_figure1_draws_a_family_without_a_line(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    table = write(tmp_path / "equal.csv", rows(gaps=[0.0] * 6))
    assert "all gaps are equal" in figure1([table], tmp_path / "f")[0].read_text()


def test_figure2_draws_each_run_and_the_teacher_measured_once(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    curve = [
        {"run": run, "step": step, "arm": "student", "accuracy": 0.2 + gain * step, "se": 0.02}
        for run, gain in (("peer", 0.01), ("none", 0.0))
        for step in (0, 5, 10)
    ]
    curve.append({"run": "peer", "step": 0, "arm": "teacher", "accuracy": 0.4, "se": None})
    one, two = figure2(curve, tmp_path / "f2"), figure2(curve[::-1][::-1], tmp_path / "g2")
    assert one[0].read_bytes() == two[0].read_bytes()
    assert "self-teacher" in one[0].read_text()
    assert "measured once" in one[0].read_text()
    with pytest.raises(BadInput, match="no rows"):
        figure2([], tmp_path / "none")


def test_figures_without_matplotlib_name_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BadInput, match=r"pip install opsd-rs\[plot\]"):
        figure1([synthetic_table()], tmp_path / "f")


def test_rows_keep_what_the_figure_needs() -> None:
    (first, *_) = read_rows(synthetic_table())
    assert (first.context, first.gap_se, first.run_id) == ("none", 0.0078, "synthetic-none-0")
