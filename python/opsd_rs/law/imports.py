"""Runs that other tools wrote down, as rows of ``runs.parquet``.

Three forms are read. A table of ours (parquet, csv, jsonl with columns of ``RUNS_SCHEMA``). The documented csv form: a
row per run with ``family`` and ``config_id``, and either ``gap`` and ``improvement`` or the accuracies of which they
are made. And histories that Weights & Biases exported of a verl or SDPO run: a row per step with ``critic/score/mean``,
``self-teacher-priv*/score/mean`` and ``val-core/*/mean@k``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base import read_records
from opsd_rs.errors import BadInput
from opsd_rs.law.rows import number_of, row_of
from opsd_rs.law.runs import RUNS_SCHEMA, append_run_row

MADE_OF = {"gap": ("acc_teacher", "acc_student_gap"), "improvement": ("acc_val1", "acc_val0")}
"""A difference, and the two accuracies it is made of where it is not given."""
STEP_COLUMNS = ("Step", "_step", "training/global_step", "step")
RUN_COLUMNS = ("Name", "run", "run_name", "run_id")
STUDENT = r"critic/score/mean"
TEACHER = r"self-teacher-priv[^/]*/score/mean"
VALIDATION = r"val-core/.+/mean@(\d+)"


def import_tables(paths: Sequence[Path], out: Path, defaults: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read ``paths``, add their runs to the table ``out``, and return the rows.

    :param defaults: columns for rows that lack them, such as ``family``
    :raises BadInput: naming file, row and column; nothing is written then
    """
    unknown = [name for name in defaults if name not in RUNS_SCHEMA]
    if unknown:
        raise BadInput(f"--set {unknown[0]}: runs.parquet has no such column")
    rows = [row for path in paths for row in _read(Path(path), defaults)]
    seen: dict[str, int] = {}
    for place, row in enumerate(rows, start=1):
        if row["run_id"] in seen:
            raise BadInput(
                f"run_id {row['run_id']} is of runs {seen[row['run_id']]} and {place}: give each run its own"
            )
        seen[row["run_id"]] = place
    for row in rows:
        append_run_row(out, row)
    return rows


def _read(path: Path, defaults: Mapping[str, str]) -> list[dict[str, Any]]:
    records = read_records(path)
    if not records:
        raise BadInput(f"{path}: the table has no rows")
    columns = list(dict.fromkeys(name for record in records for name in record))
    if any(re.search(VALIDATION, name) for name in columns):
        records = _of_histories(path, records, columns)
    return [_row(record, f"{path}: row {place}", defaults) for place, record in enumerate(records, start=1)]


def _row(record: Mapping[str, Any], where: str, defaults: Mapping[str, str]) -> dict[str, Any]:
    found = {name: record.get(name) for name in RUNS_SCHEMA}
    for name, value in defaults.items():
        if found[name] in (None, ""):
            found[name] = value
    for name, other in (("gap_se_cond", "gap_se"), ("improvement_se_cond", "improvement_se")):
        if found[name] in (None, ""):
            found[name] = record.get(other)
    made = {name: _typed(found, name, kind, where) for name, kind in RUNS_SCHEMA.items()}
    for name, (above, below) in MADE_OF.items():
        if made[name] is None and None not in (made[above], made[below]):
            made[name] = made[above] - made[below]
    missing = [name for name in MADE_OF if made[name] is None]
    if missing:
        raise BadInput(
            f"{where}, column {missing[0]}: empty, and {' and '.join(MADE_OF[missing[0]])} are not both given"
        )
    row_of(made, where, improvement=True)  # names, fractions of 1, finite numbers
    if str(record.get("synthetic")).strip().lower() in ("true", "1", "yes"):
        raise BadInput(
            f"{where}: a synthetic row is no run, and runs.parquet does not mark it; fit the table itself"
        )
    made["context"] = made["context"] or made["config_id"]
    made["run_id"] = made["run_id"] or _made_id(made)
    return made


def _typed(record: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = record.get(name)
    if value is None or value == "":
        return None
    if kind is str:
        return str(value)
    if kind is bool:
        word = str(value).strip().lower()
        if word not in ("true", "false", "1", "0"):
            raise BadInput(f"{where}, column {name}: {value!r} is neither true nor false")
        return word in ("true", "1")
    number = number_of(record, name, where)
    assert number is not None
    if kind is int and not number.is_integer():
        raise BadInput(f"{where}, column {name}: {value!r} is no whole number")
    return kind(number)


def _made_id(row: Mapping[str, Any]) -> str:
    """From the row's content, so that the same row imported twice is one run."""
    text = json.dumps({name: row[name] for name in RUNS_SCHEMA if name != "run_id"}, sort_keys=True)
    return f"import-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


# ---- histories of Weights & Biases -----------------------------------------------------------------------


def _of_histories(
    path: Path, records: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """One record per run: the gap of its first step, the gain of its last validation over its first.

    A run is a value of a column that names runs, or the part before `` - `` of a column, as charts export it.
    """
    step = next((name for name in STEP_COLUMNS if name in columns), None)
    if step is None:
        raise BadInput(f"{path}: a history needs its steps: one of the columns {', '.join(STEP_COLUMNS)}")
    named = next((name for name in RUN_COLUMNS if name in columns), None)
    charts: dict[str, dict[str, str]] = {}
    for column in columns:
        run, dash, key = column.rpartition(" - ")
        if dash and not key.endswith(("__MIN", "__MAX")):
            charts.setdefault(run, {})[column] = key
    if charts:
        return [
            _of_history(
                path,
                run,
                [{step: r[step], **{key: r.get(column) for column, key in keys.items()}} for r in records],
                step,
            )
            for run, keys in charts.items()
        ]
    runs = dict.fromkeys(str(record[named]) if named else path.stem for record in records)
    return [
        _of_history(path, run, [r for r in records if named is None or str(r[named]) == run], step)
        for run in runs
    ]


def _of_history(path: Path, run: str, records: Sequence[Mapping[str, Any]], step: str) -> dict[str, Any]:
    ordered = sorted(records, key=lambda record: number_of(record, step, f"{path}: run {run}") or 0.0)

    def series(pattern: str) -> tuple[str, list[tuple[float, float]]]:
        keys = list(dict.fromkeys(name for r in ordered for name in r if re.fullmatch(pattern, name)))
        if len(keys) != 1:
            what = f"several columns match: {', '.join(keys)}" if keys else "no column matches"
            raise BadInput(f"{path}: run {run}: {pattern}: {what}; export the one that the law is about")
        found = [
            (float(number_of(r, step, str(path)) or 0.0), value)
            for r in ordered
            if (value := number_of(r, keys[0], f"{path}: run {run}, step {r[step]}")) is not None
        ]
        if not found:
            raise BadInput(f"{path}: run {run}, column {keys[0]}: empty")
        return keys[0], found

    (_, student), (_, teacher), (key, validation) = series(STUDENT), series(TEACHER), series(VALIDATION)
    if len(validation) < 2 or validation[0][0] >= student[0][0] + 1:
        raise BadInput(
            f"{path}: run {run}, column {key}: the improvement needs a validation before training and one at the end"
        )
    match = re.fullmatch(VALIDATION, key)
    assert match is not None
    family = next((r["family"] for r in ordered if r.get("family")), None)
    config_id = next((r["config_id"] for r in ordered if r.get("config_id")), None)
    return {
        "run_id": f"wandb-{run}",
        "family": family,
        "config_id": config_id or run,
        "acc_student_gap": student[0][1],
        "acc_teacher": teacher[0][1],
        "acc_val0": validation[0][1],
        "acc_val1": validation[-1][1],
        "horizon_steps": int(validation[-1][0]),
        "k_val": int(match.group(1)),
        "ckpt_rule": "last",
    }
