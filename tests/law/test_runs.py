"""``runs.parquet``: a row per run, replaced when the run is measured again, kept whole when many write."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import polars
import pytest
from law_tables import only, rows
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.law import RUNS_SCHEMA, append_run_row, fit_tables


def run_row(run_id: str, **more) -> dict:
    return {
        "run_id": run_id,
        "config_id": f"m/{run_id}",
        "family": "m",
        "gap": 0.1,
        "improvement": 0.12,
        **more,
    }


def test_run_rows_append_replace_and_keep_other_columns(tmp_path) -> None:
    path = tmp_path / "out" / "runs.parquet"
    for record in rows():
        append_run_row(
            path, run_row(record["config_id"][2:], gap=record["gap"], improvement=record["improvement"])
        )
    append_run_row(path, run_row("3", gap=0.07, improvement=0.9, kl_final=math.nan, lr=1, seed=4))
    table = polars.read_parquet(path)
    assert table.columns == list(RUNS_SCHEMA)
    assert table.height == 6
    last = table.row(-1, named=True)
    assert (last["run_id"], last["improvement"], last["kl_final"], last["lr"]) == ("3", 0.9, None, 1.0)
    assert last["gap_baseline_shared"] is None
    assert only(fit_tables([path]))["n"] == 6
    table.with_columns(remark=polars.lit("mine")).write_parquet(path)
    append_run_row(path, run_row("new"))
    assert polars.read_parquet(path)["remark"].to_list() == ["mine"] * 6 + [None]
    assert polars.read_parquet(path)["improvement"][2] == 0.087814


def test_run_rows_that_are_no_runs_are_our_fault(tmp_path) -> None:
    path = tmp_path / "runs.parquet"
    for row, message in (
        (run_row("a", gapp=1), "no column gapp"),
        (run_row("a", seed="one"), "column seed: 'one' is not int"),
        ({"run_id": "a", "family": "m"}, "needs config_id"),
    ):
        with pytest.raises(OpsdError, match=message):
            append_run_row(path, row)
    assert not path.exists()
    path.write_bytes(b"not parquet")
    with pytest.raises(BadInput, match="not a parquet table"):
        append_run_row(path, run_row("a"))
    assert path.read_bytes() == b"not parquet"


def _append(job: tuple[Path, int]) -> None:
    append_run_row(job[0], run_row(f"r{job[1]}"))


def test_runs_that_finish_together_all_get_their_row(tmp_path) -> None:
    import multiprocessing

    path = tmp_path / "runs.parquet"
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_append, [(path, i) for i in range(12)]))
    assert sorted(polars.read_parquet(path)["run_id"]) == sorted(f"r{i}" for i in range(12))
