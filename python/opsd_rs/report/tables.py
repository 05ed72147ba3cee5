"""The tables of a page: fitted lines, their points, measured gaps, runs. Cells are text.

In: ``Sources``. Out: ``Table`` records; one without rows is left out of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsd_rs.report.of_gaps import conditional_gain
from opsd_rs.report.sources import Sources

NONE = "–"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header.

    >>> Table("runs", "Runs", ("run", "seed"), (("a", "0"),)).rows
    (('a', '0'),)
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: int = 1
    """Leading columns of words, set to the left."""


def tables(sources: Sources) -> dict[str, Table]:
    """All tables that have rows, by name."""
    made = (
        _lines(sources),
        _audits(sources),
        _rivals(sources),
        _points(sources),
        _gaps(sources),
        _runs(sources),
    )
    return {table.name: table for table in made if table.rows}


def _families(sources: Sources) -> Mapping[str, Any]:
    return sources.law["families"] if sources.law else {}


def _lines(sources: Sources) -> Table:
    rows = []
    for name, entry in _families(sources).items():
        low, high = entry["slope_ci95"] or (None, None)
        rows.append(
            (
                f"{name} (SYNTHETIC)" if entry["synthetic"] else name,
                str(entry["n"]),
                str(entry["num_runs"]),
                _number(entry["slope"]),
                NONE if low is None else f"[{low:.2f}, {high:.2f}]",
                _pp(entry["intercept"]),
                _pp(entry["residual_sd"], sign=""),
                _number(entry["r2"], 3),
                _number(entry["loo_r2"]),
                _number(entry["loo_q2"]),
                _pp(entry["loo_rmse"], sign=""),
                _pp(entry.get("seed_sd"), sign=""),
                _pp(entry.get("tau"), sign=""),
            )
        )
    columns = (
        "family", "n", "runs", "slope", "95 % interval", "intercept (pp)", "residual SD (pp)", "R²", "LOO R²", "LOO Q²",
        "LOO RMSE (pp)", "seed SD (pp)", "scatter beyond noise (pp)",
    )  # fmt: skip
    return _without_empty(
        Table(
            "lines", "Fitted lines", columns, tuple(rows),
            "n counts configurations. The interval is the t interval of least squares on configuration means.",
        )
    )  # fmt: skip


def _audits(sources: Sources) -> Table:
    words = {True: "holds", False: "fails", None: "not determined"}
    rows = [
        (name, audit, words.get(found.get("ok"), "?"), str(found.get("said") or ""))
        for name, entry in _families(sources).items()
        for audit, found in (entry.get("audits") or {}).items()
    ]
    return Table(
        "audits", "Audits of the fit", ("family", "audit", "result", "what it found"), tuple(rows), words=4
    )


def _rivals(sources: Sources) -> Table:
    rows = [
        (
            name,
            str(rival.get("predictor")),
            str(rival.get("n", NONE)),
            _number(rival.get("slope")),
            _number(rival.get("r2"), 3),
            _number(rival.get("loo_q2")),
            _pp(rival.get("loo_rmse"), sign=""),
        )
        for name, entry in _families(sources).items()
        for rival in entry.get("rivals") or ()
    ]
    columns = ("family", "predictor", "n", "slope", "R²", "LOO Q²", "LOO RMSE (pp)")
    return Table(
        "rivals",
        "Predictors beside the gap",
        columns,
        tuple(rows),
        "Each fitted alone on the same configurations.",
        2,
    )


def _points(sources: Sources) -> Table:
    rows = [
        (
            name,
            point["config_id"],
            point["context"],
            str(point["num_seeds"]),
            _with_error(point["gap"], point["gap_se"]),
            _with_error(point["improvement"], point["improvement_sd"]),
            _pp(point["loo_forecast"]),
            _pp(point["residual"]),
            _number(point["leverage"]),
            _number(point.get("cook")),
        )
        for name, entry in _families(sources).items()
        for point in entry["configs"]
    ]
    columns = (
        "family", "configuration", "context", "seeds", "gap ± SE (pp)", "improvement ± SD of seeds (pp)",
        "forecast without it (pp)", "residual (pp)", "leverage", "Cook's distance",
    )  # fmt: skip
    return _without_empty(Table("points", "Configurations", columns, tuple(rows), words=3))


def _gaps(sources: Sources) -> Table:
    rows = [
        (
            str(row.get("context")),
            str(row.get("base_model") or row.get("family")),
            _whole(row.get("seed")),
            _whole(row.get("n_problems_gap") or row.get("n_problems")),
            _whole(row.get("k_gap")),
            _with_error(row.get("acc_student_gap"), row.get("acc_student_gap_se"), sign=""),
            _with_error(row.get("acc_teacher"), row.get("acc_teacher_se"), sign=""),
            _with_error(row["gap"], row.get("gap_se_cond")),
            _pp(row.get("gap_se_super"), sign=""),
            _number(row.get("coverage")),
            _pp(conditional_gain(row)),
            _pp(row.get("gap_failed")),
            _pp(row.get("gap_passed")),
        )
        for row in sources.gaps
    ]
    columns = (
        "context", "model", "seed", "problems", "answers each", "student ± SE (%)", "self-teacher ± SE (%)",
        "gap ± SE (pp)", "clustered SE (pp)", "coverage", "gain with context (pp)", "gap, failed answers (pp)",
        "gap, passed answers (pp)",
    )  # fmt: skip
    caption = "± is the conditional standard error: these problems, other draws."
    return _without_empty(Table("gaps", "Gaps before training", columns, tuple(rows), caption, 2))


def _runs(sources: Sources) -> Table:
    ended = {row.get("run_id"): row for row in sources.rows}
    rows: list[tuple[str, ...]] = []
    for run in sources.runs:
        row = run.row or {}
        ended.pop(row.get("run_id"), None)
        rows.append(
            _run_line(
                run.name, row or {"context": run.context, "seed": run.seed}, len(run.metrics), run.steps
            )
        )
    for row in ended.values():
        rows.append(
            _run_line(str(row.get("run_id") or row.get("config_id")), row, None, row.get("horizon_steps"))
        )
    columns = (
        "run", "context", "seed", "steps", "before (%)", "after (%)", "improvement ± SE (pp)", "gap (pp)",
        "KL at the end", "KL at the start", "overlap at the start", "GPU hours", "stopped at",
    )  # fmt: skip
    caption = "Validation decoding, all tests. ± is the conditional standard error of the difference."
    return _without_empty(Table("runs", "Runs", columns, tuple(rows), caption, 2))


def _run_line(name: str, row: Mapping[str, Any], done: int | None, steps: Any) -> tuple[str, ...]:
    total = _whole(steps)
    return (
        name,
        str(row.get("context") or NONE),
        _whole(row.get("seed")),
        total if done is None or str(done) == total else f"{done} of {total}",
        _pp(row.get("acc_val0"), sign=""),
        _pp(row.get("acc_val1"), sign=""),
        _with_error(row.get("improvement"), row.get("improvement_se_cond")),
        _pp(row.get("gap")),
        _number(row.get("kl_final"), 4),
        _number(row.get("token_kl0"), 4),
        _number(row.get("topk_overlap0")),
        _number(row.get("gpu_hours")),
        _whole(row.get("stopped_at")),
    )


def _without_empty(table: Table) -> Table:
    """Columns that no row fills are left out: an older run does not have them."""
    kept = [
        place
        for place in range(len(table.columns))
        if place < table.words or any(row[place] != NONE for row in table.rows)
    ]
    columns = tuple(table.columns[place] for place in kept)
    rows = tuple(tuple(row[place] for place in kept) for row in table.rows)
    return Table(table.name, table.title, columns, rows, table.caption, table.words)


def _number(value: Any, digits: int = 2) -> str:
    return NONE if value is None else f"{float(value):.{digits}f}"


def _whole(value: Any) -> str:
    return NONE if value is None else str(int(value))


def _pp(value: Any, sign: str = "+") -> str:
    return NONE if value is None else f"{100 * float(value):{sign}.1f}"


def _with_error(value: Any, error: Any, sign: str = "+") -> str:
    return (
        _pp(value, sign)
        if value is None or error is None
        else f"{_pp(value, sign)} ± {100 * float(error):.1f}"
    )


def facts(sources: Sources) -> Iterator[tuple[str, str]]:
    """What the report is about, in a few words each."""
    runs = sources.runs
    if runs:
        yield "runs", str(len(runs))
    elif sources.rows:
        yield "runs in the table", str(len(sources.rows))
    models = _some(str(row.get("base_model") or row.get("family")) for row in [*sources.gaps, *sources.rows])
    if models:
        yield "models", models
    contexts = _some([run.context for run in runs] or [str(row.get("context")) for row in sources.gaps])
    if contexts:
        yield "contexts", contexts
    problems = _some(
        str(row.get("dataset_id")) for row in [*sources.gaps, *sources.rows] if row.get("dataset_id")
    )
    if problems:
        yield "problems", problems
    steps = _some(str(run.steps) for run in runs)
    if steps:
        yield "steps", steps
    segments = [run.info["segments"][-1] for run in runs if run.info.get("segments")]
    versions = _some(str(segment.get("versions", {}).get("opsd_rs")) for segment in segments)
    if versions:
        yield "opsd-rs", versions
    devices = _some(str(segment.get("device")) for segment in segments)
    if devices:
        yield "device", devices


def _some(values: Sequence[str] | Iterator[str], most: int = 4) -> str:
    found = list(dict.fromkeys(values))
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
