"""``runs.parquet``: one row per finished run, the only thing that training hands to the law.

In: a mapping of column to value. Out: the file, rewritten whole under a lock.
"""

from __future__ import annotations

import fcntl
import io
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opsd_rs.base import write_whole
from opsd_rs.errors import BadInput, OpsdError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import polars

RUNS_SCHEMA: dict[str, type] = {
    "run_id": str,
    "config_id": str,
    "family": str,
    "size_b": float,
    "base_model": str,
    "model_sha": str,
    "context": str,
    "context_sha256": str,
    "preamble": str,
    "control_mask": str,
    "recipe_id": str,
    "segments": int,
    "horizon_steps": int,
    "stopped_at": int,
    "opt_updates": int,
    "lr": float,
    "prompts_per_step": int,
    "mini_batch_prompts": int,
    "max_tokens": int,
    "aggregate": str,
    "ema": float,
    "group_size": int,
    "seed": int,
    "dataset_id": str,
    "problems_sha": str,
    "problem_filter": str,
    "tests_split": str,
    "split": str,
    "n_problems": int,
    "k_gap": int,
    "gap_groups": int,
    "k_val": int,
    "decoding_gap": str,
    "decoding_val": str,
    "acc_student_gap": float,
    "acc_teacher": float,
    "gap": float,
    "gap_se_cond": float,
    "gap_se_super": float,
    "coverage": float,
    "gap_failed": float,
    "gap_passed": float,
    "acc_val0": float,
    "acc_val1": float,
    "improvement": float,
    "improvement_se_cond": float,
    "improvement_se_super": float,
    "baseline_id": str,
    "gap_baseline_shared": bool,
    "ckpt_rule": str,
    "token_kl0": float,
    "topk_overlap0": float,
    "kl_final": float,
    "gpu_hours": float,
    "code_version": str,
}
"""Columns of ``runs.parquet``, one row per configuration and seed; accuracies and gaps are fractions. ``split``
is transductive (validation shares the problems of training), held_out or ood; ``tests_split`` says how each problem's
tests were divided. ``segments`` counts the recipes that the run was trained by, one after another. ``stopped_at`` is
the step at which ``law.stop`` ended a run before its horizon, null for one that reached it. ``token_kl0`` and
``topk_overlap0`` are means over the tokens of the first step: of the divergence between student and self-teacher, and
of the share of the student's likeliest tokens that are the teacher's too."""
RUNS_VERSION = "1"


def append_run_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one finished run to ``runs.parquet``; a row of the same ``run_id`` (a run resumed) is replaced.

    Columns of ``RUNS_SCHEMA``; those not given are null, nan becomes null. The file is rewritten whole under a
    lock, so that runs may share it and a crash leaves the old file. Columns of others are kept.
    """
    import polars

    record = _checked(row)
    with _locked(path):
        new = polars.DataFrame([record], schema=_schema())
        if path.exists():
            old = _read_runs(path)
            kept = old.filter(polars.col("run_id").ne_missing(polars.lit(record["run_id"])))
            # New rows last; columns in the schema's order, then those of others.
            new = polars.concat([new.clear(), kept, new], how="diagonal_relaxed")
        buffer = io.BytesIO()
        new.write_parquet(buffer, metadata={"opsd_rs.runs": RUNS_VERSION})
        write_whole(path, buffer.getvalue())


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(row) - set(RUNS_SCHEMA))
    if unknown:
        raise OpsdError(f"runs.parquet has no column {', '.join(unknown)}")
    record: dict[str, Any] = {}
    for name, kind in RUNS_SCHEMA.items():
        value = row.get(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            record[name] = None
        elif isinstance(value, kind) or (kind is float and isinstance(value, int)):
            record[name] = kind(value)
        else:
            raise OpsdError(f"runs.parquet, column {name}: {value!r} is not {kind.__name__}")
    for name in ("run_id", "config_id", "family"):
        if not record[name]:
            raise OpsdError(f"runs.parquet: a run's row needs {name}")
    return record


def _read_runs(path: Path) -> polars.DataFrame:
    import polars

    try:
        return polars.read_parquet(io.BytesIO(path.read_bytes()))
    except polars.exceptions.PolarsError as error:
        raise BadInput(f"{path}: not a parquet table: {str(error).splitlines()[0]}") from error


def _schema() -> dict[str, Any]:
    import polars

    kinds = {str: polars.String, int: polars.Int64, float: polars.Float64, bool: polars.Boolean}
    return {name: kinds[kind] for name, kind in RUNS_SCHEMA.items()}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
