"""Rows of a run's tables: gaps of earlier versions, the baseline's identity, the row for the law."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from opsd_rs.base import append_line, read_table, write_table
from opsd_rs.errors import BadInput
from opsd_rs.law import RUNS_SCHEMA, append_run_row
from opsd_rs.measure import EvalRow, GapRow, Identity, eval_table
from opsd_rs.training.lines import accuracy_table, eval_line, gap_line, improvement_line
from opsd_rs.training.measured import (
    baseline_from,
    gap_row,
    gap_row_from,
    is_measured,
    known_baseline,
    matching,
    own_gap,
    read_gap_rows,
    stale,
)
from opsd_rs.training.tables import baseline_id, eval_rows_of, read_eval_rows, run_row

if TYPE_CHECKING:
    from pathlib import Path

GAP = GapRow("feedback", 2, 8, 0.3, 0.02, 0.4, 0.02, 0.1, 0.03, 0.03, 0.7, None, 0, 3, 41.0)
COLUMNS: dict[str, Any] = {
    "family": "m", "config_id": "m/primer/feedback", "context": "feedback", "horizon_steps": 4, "k_gap": 2,
    "decoding_gap": "T=1.0,top_p=1.0", "n_problems": 2,
}  # fmt: skip


def row(step: int, problem_id: str, passed: int, arm: str = "student", context: str = "none") -> EvalRow:
    return EvalRow(step, arm, context, problem_id, n=4, passed=passed, nulls=0, truncated=1, tokens=9.5)


def identity(**changes: Any) -> Identity:
    plain = Identity(
        "5f1c", "9e0d", "bfloat16", "2 problems, 77aa", "code", "strict", "T=1.0", n=8, seed=0, context="c1"
    )
    return replace(plain, **changes)


def test_a_gap_row_holds_the_run_s_columns_and_null_for_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "gap.parquet"
    write_table(path, [gap_row(GAP, COLUMNS, identity(), None)])
    (found,) = read_gap_rows(path)
    named = {"identity": identity().text(), "identity_id": identity().short}
    assert found == {**COLUMNS, **asdict(GAP), "acc_val0": None, **named}
    assert found["acc_with_context"] is None
    assert found["k_gap"] == 8, "what was measured comes before what the configuration says"


def test_gap_tables_of_earlier_versions_are_read_under_today_s_names(tmp_path: Path) -> None:
    path = tmp_path / "gap.parquet"
    old = {"context": "none", "num_problems": 40, "acc_student": 0.3, "acc_student_se": 0.02, "gap": 0.1}
    write_table(path, [{**old, "acc_with_context": math.nan}])
    (found,) = read_gap_rows(path)
    assert found == {
        "context": "none", "n_problems_gap": 40, "acc_student_gap": 0.3, "acc_student_gap_se": 0.02,
        "gap": 0.1, "acc_with_context": None,
    }  # fmt: skip
    with pytest.raises(BadInput, match=r"gap\.from = .*, context none: .* earlier version and does not say"):
        gap_row_from(path, "none", identity())
    with pytest.raises(BadInput, match="no gap of context feedback"):
        gap_row_from(path, "feedback", identity())
    with pytest.raises(BadInput, match="no such file"):
        gap_row_from(tmp_path / "nowhere.parquet", "none", identity())
    assert own_gap([found], "none", identity()) == found, "a finished run's own"
    assert matching([found], "none", identity()) is None
    assert "does not say what it was measured with; that row stays" in stale([found], "none", identity())


CHANGED = {
    "weights": "0000", "chat": "0000", "dtype": "float32", "problems": "3 problems, 88bb", "environment": "mine",
    "grader": "loose", "decoding": "T=0.7", "n": 16, "seed": 1, "group_size": 4, "baseline": "paper",
    "split": "none", "context": "c2", "max_context_tokens": 512,
    "baseline_samples": 3,
}  # fmt: skip


def test_the_identity_s_fields_are_all_tried_here() -> None:
    assert list(CHANGED) == [field.name for field in fields(Identity)]


@pytest.mark.parametrize("field", CHANGED)
def test_a_gap_of_another_identity_is_refused_with_the_field_and_both_values(
    tmp_path: Path, field: str
) -> None:
    path, here = tmp_path / "gap.parquet", identity()
    other = replace(here, **{field: CHANGED[field]})
    write_table(path, [gap_row(GAP, COLUMNS, other, None)])
    (row,) = read_gap_rows(path)
    said = f"measured with another {field} ({CHANGED[field]}, here {getattr(here, field)})"
    with pytest.raises(BadInput, match=re.escape(said)):
        gap_row_from(path, "feedback", here)
    assert stale([row], "feedback", here) == (
        f"gap feedback: {said}; that row stays, the gap is measured again"
    )
    assert matching([row], "feedback", here) is own_gap([row], "feedback", here) is None
    assert gap_row_from(path, "feedback", other) == row
    write_table(path, [row, gap_row(replace(GAP, gap=0.2), COLUMNS, here, None), row])
    assert gap_row_from(path, "feedback", here)["gap"] == 0.2, "each finds its own among several"


def test_a_baseline_is_known_by_what_was_counted() -> None:
    rows = [row(0, "a", 1), row(0, "b", 2)]
    name = baseline_id(rows)
    assert name is not None
    assert len(name) == 16
    elsewhere = [replace(one, context="feedback") for one in reversed(rows)]
    assert baseline_id(elsewhere) == name, "a copy in another run, in any order"
    assert baseline_id([row(0, "a", 1), row(0, "b", 3)]) != name
    assert baseline_id([]) is None


def named(rows: list[EvalRow], of: Identity | None) -> list[dict[str, Any]]:
    more = {} if of is None else {"identity": of.text(), "identity_id": of.short}
    return [{**row, **more} for row in eval_table(rows)]


def test_a_baseline_comes_from_this_run_or_from_the_one_it_names(tmp_path: Path) -> None:
    other, here = tmp_path / "other.parquet", identity()
    write_table(other, named([row(0, "a", 3), row(0, "a", 4, arm="teacher"), row(4, "a", 4)], here))
    assert eval_rows_of(baseline_from(other, here)) == [row(0, "a", 3)]
    run_dir = tmp_path / "run"
    assert known_baseline(run_dir, here) == []
    write_table(run_dir / "eval.parquet", named([row(0, "a", 1)], here))
    assert eval_rows_of(known_baseline(run_dir, here)) == [row(0, "a", 1)]
    assert known_baseline(run_dir, identity(weights="0000")) == [], "a folder's old model"


def test_a_folder_s_old_validations_are_not_the_run_s(tmp_path: Path) -> None:
    here, other = identity(), identity(weights="0000")
    old = named([row(0, "a", 1)], other)
    assert not is_measured(old, 0, here)
    assert is_measured(old, 0, other)
    assert is_measured(named([row(0, "a", 1)], None), 0, here), "of an earlier version, by this run"
    write_table(tmp_path / "eval.parquet", [*old, *named([row(0, "a", 3)], here)])
    assert read_eval_rows(tmp_path) == [row(0, "a", 3)]
    resumed = [*named([row(0, "a", 2)], None), *named([row(4, "a", 3)], here)]
    write_table(tmp_path / "eval.parquet", resumed)
    assert read_eval_rows(tmp_path) == [row(0, "a", 2), row(4, "a", 3)]


@pytest.mark.parametrize("field", ["problems", "n", "weights", "decoding", "seed"])
def test_a_baseline_of_something_else_is_refused(tmp_path: Path, field: str) -> None:
    path, here = tmp_path / "eval.parquet", identity()
    write_table(path, named([row(0, "a", 3)], replace(here, **{field: CHANGED[field]})))
    with pytest.raises(BadInput, match=rf"eval\.from = .*: measured with another {field} \({CHANGED[field]}"):
        baseline_from(path, here)
    write_table(path, named([row(0, "a", 3)], None))
    with pytest.raises(BadInput, match="earlier version and does not say"):
        baseline_from(path, here)
    write_table(path, named([row(1, "a", 3)], here))
    with pytest.raises(BadInput, match="no student rows of step 0"):
        baseline_from(path, here)
    with pytest.raises(BadInput, match="no such file"):
        baseline_from(tmp_path / "nowhere.parquet", here)


def test_a_run_s_row_has_a_value_in_every_column_that_the_law_reads(tmp_path: Path) -> None:
    before, after = [row(0, "a", 1), row(0, "b", 2)], [row(4, "a", 3), row(4, "b", 4)]
    write_table(tmp_path / "eval.parquet", eval_table([*before, *after]))
    measured = {**COLUMNS, "decoding_gap": "T=0.7,top_p=1.0"}
    write_table(tmp_path / "gap.parquet", [gap_row(GAP, measured, identity(), None)])
    append_line(tmp_path / "metrics.jsonl", {"step": 3, "kl": 0.25})
    found = run_row(
        COLUMNS,
        tmp_path,
        run_id="r-0",
        identity=identity(),
        segments=1,
        opt_updates=4,
        gpu_hours=0.5,
        last_step=COLUMNS["horizon_steps"],
    )
    expected = {
        "run_id": "r-0", "improvement": 0.5, "acc_val0": 0.375, "acc_val1": 0.875, "gap": 0.1, "k_gap": 8,
        "acc_student_gap": 0.3, "decoding_gap": "T=0.7,top_p=1.0", "kl_final": 0.25, "gpu_hours": 0.5,
        "opt_updates": 4, "baseline_id": baseline_id(before), "n_problems": 2, "segments": 1, "gap_groups": 1,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert set(found) <= set(RUNS_SCHEMA)
    append_run_row(tmp_path / "runs.parquet", found)
    (kept,) = read_table(tmp_path / "runs.parquet")
    assert {name: kept[name] for name in expected} == expected


def test_a_run_without_gap_validation_or_metrics_has_nulls(tmp_path: Path) -> None:
    found = run_row(
        COLUMNS,
        tmp_path,
        run_id="r-0",
        identity=identity(),
        segments=1,
        opt_updates=0,
        gpu_hours=None,
        last_step=COLUMNS["horizon_steps"],
    )
    assert [found[name] for name in ("improvement", "acc_val0", "baseline_id", "kl_final")] == [None] * 4
    assert "gap" not in found
    assert improvement_line(found) == (
        "improvement ? (SE ?, not distinguishable from 0) with context feedback"
    )


def test_lines_say_what_is_known() -> None:
    assert gap_line(GAP) == (
        "gap feedback: student 0.300, self-teacher 0.400, gap +0.100 (SE 0.030), coverage 0.70"
    )
    unknown = replace(GAP, acc_teacher=None, gap=None, gap_se_cond=None)
    assert gap_line(unknown).endswith("self-teacher ?, gap ? (SE ?), coverage 0.70")
    rows = [replace(row(0, "a", 1), nulls=2), row(0, "b", 3)]
    assert eval_line(rows, 0, 4) == (
        "validation at step 0: student mean@4 0.500 (SE 0.177, 2 infrastructure errors left out)"
    )
    (shown,) = accuracy_table(rows, 4)
    assert shown == {"mean@4": 0.5, "se_cond": 0.03125**0.5, "se_super": 0.25, "problems": 2, "nulls": 2}
