"""Gaps computed again from a table of answers: ours, and those of others."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars
import pytest
from click.testing import CliRunner
from gap_samples import measurement
from opsd_rs.base import write_table
from opsd_rs.cli import main
from opsd_rs.errors import BadInput
from opsd_rs.measure import Identity, arrange, base_identity, gap_rows, read_samples, sample_row, show_gap

YES, NO = True, False
SAMPLES = measurement(
    [[YES, NO, NO, YES], [NO, NO, NO, YES]],
    [[YES, NO] * 8, [NO, NO, NO, YES] * 4],
    {"none": [[YES, NO, YES, NO], [NO, NO, YES, NO]], "peer": [[YES, YES, None, NO], [YES, NO, NO, YES]]},
    seconds=0.25,
    prompt_tokens=7,
    cut=True,
)


def table(**more: Any) -> list[dict[str, Any]]:
    return [
        {**sample_row(sample), "identity_id": sample.context, "measurement_id": "m", **more}
        for sample in SAMPLES
    ]


def test_the_rows_come_out_of_the_table_again(tmp_path: Path) -> None:
    write_table(tmp_path / "samples.parquet", table())
    found = show_gap(tmp_path)
    assert found.rows == [asdict(row) for row in gap_rows(arrange(SAMPLES))]
    assert found.rows[1]["seconds"] == 2.0
    assert (found.rows[1]["nulls"], found.rows[1]["context_cut"], found.rows[1]["tokens_teacher"]) == (
        1,
        8,
        7,
    )
    assert found.notes[-1].startswith("control: the gap of none")
    assert read_samples(table(), tmp_path) == SAMPLES


def test_the_command_prints_them_and_loads_no_model(tmp_path: Path) -> None:
    write_table(tmp_path / "samples.parquet", table())
    done = CliRunner().invoke(main, ["gap", "--show", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "peer" in done.stdout
    assert "smallest difference between two contexts" in done.stderr
    pooled = CliRunner().invoke(main, ["gap", "--show", str(tmp_path), "--pool", "keep_success"])
    assert "keep_success" in pooled.stdout
    assert "do not compare" in pooled.stderr


@pytest.mark.parametrize(
    "words", [["gap"], ["gap", "demo", "--show", "x"], ["gap", "demo", "--pool", "failed_only"]]
)
def test_words_that_do_not_go_together(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


def test_a_table_of_others_needs_few_columns(tmp_path: Path) -> None:
    """A csv without B and without anything but who answered what: A is the student's term."""
    kept = ("arm", "problem_id", "sample_idx", "group_id", "context_kind", "correct")
    rows = [{name: row[name] for name in kept} for row in table() if row["arm"] != "B"]
    path = tmp_path / "theirs.csv"
    polars.DataFrame(rows).write_csv(path)
    (none, peer) = show_gap(path).rows
    assert (none["baseline"], peer["acc_student_gap"]) == ("A", pytest.approx(3 / 8))
    assert (peer["seconds"], peer["nulls"]) == (None, 1)
    repooled = show_gap(path, pool="keep_success").rows
    # Attempts 0 and 3 of the first problem count as passed, of the others the teacher's answers: Y - N N, N is null.
    assert repooled[0]["gap"] == pytest.approx(((2 + 1) / 4 + (1 + 1) / 4) / 2 - 3 / 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"correct": "maybe"}, "row 1, correct: 'maybe' is not true or false"),
        ({"sample_idx": "two"}, "row 1, sample_idx: 'two' is not a number"),
        (None, "no column correct"),
        ({"arm": "V0"}, "no answers of the arms A and T"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, change: dict[str, Any] | None, said: str) -> None:
    rows = [{name: str(value) for name, value in row.items() if name != "measurement_id"} for row in table()]
    rows = [row | change if change else {k: v for k, v in row.items() if k != "correct"} for row in rows]
    path = tmp_path / "samples.csv"
    polars.DataFrame(rows).write_csv(path)
    with pytest.raises(BadInput, match=said):
        show_gap(path)


def test_a_folder_without_samples(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no samples.parquet"):
        show_gap(tmp_path)


def test_the_newest_measurement_is_shown(tmp_path: Path) -> None:
    older = [row | {"measurement_id": "old", "correct": NO} for row in table()]
    write_table(tmp_path / "samples.parquet", [*older, *table()])
    found = show_gap(tmp_path)
    assert found.rows[0]["acc_teacher"] == 3 / 8
    assert "holds 1 older measurement too" in found.notes[0]
    twice = [row | {"identity_id": "edited"} for row in table() if row["context_kind"] == "peer"]
    write_table(tmp_path / "samples.parquet", [*table(), *(row | {"correct": NO} for row in twice)])
    assert show_gap(tmp_path).rows[1]["acc_teacher"] == 0.0, (
        "the context was edited: its newest answers count"
    )


def test_samples_of_an_earlier_version_are_told_apart_by_their_gaps(tmp_path: Path) -> None:
    """No measurement_id, no full-test A, as many of B as of the others: the gap of that version."""
    identity = Identity(
        "5f1c", "9e0d", "bfloat16", "2 problems", "code", "strict", "T=1.0", n=4, seed=0, context="c"
    )
    names = ("correct_full", "n_prompt_tokens", "context_cut", "context_leak", "seconds", "gpu_seconds")
    base = base_identity(identity).short
    rows = []
    for row in table(identity_id=base):
        if row["arm"] == "B" and row["sample_idx"] >= 4:
            continue
        if row["arm"] == "T":
            row["identity_id"] = (
                identity.short if row["context_kind"] == "peer" else replace(identity, context="n").short
            )
        rows.append({k: v for k, v in row.items() if k not in (*names, "measurement_id")})
    write_table(tmp_path / "samples.parquet", rows)
    gaps = [replace(identity, context="n"), identity]
    named = [
        {"context": name, "identity": one.text(), "identity_id": one.short, "context_sha256": "abc"}
        for name, one in zip(("none", "peer"), gaps, strict=True)
    ]
    write_table(tmp_path / "gap.parquet", named)
    found = {row["context"]: row for row in show_gap(tmp_path).rows}
    assert (found["peer"]["baseline"], found["peer"]["k_baseline"]) == ("B", 4)
    assert found["peer"]["context_sha256"] == "abc"
    assert found["none"]["gap"] == pytest.approx((0.5 + 0.25) / 2 - 0.375)
    assert '"baseline_samples"' not in identity.text(), "the hash of an older identity stays"
