"""``samples.parquet``: graded answers as rows of a table, and the gap computed again from them.

In: a run's folder, or a table of somebody else with these columns. Out: the rows of ``gap.parquet``. No model is
loaded and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from opsd_rs.base import read_records, read_table
from opsd_rs.errors import BadInput
from opsd_rs.measure.baseline import control
from opsd_rs.measure.identity import Identity, read_identity
from opsd_rs.measure.measurement import Measurement, arrange
from opsd_rs.measure.rows import gap_rows, repooled
from opsd_rs.measure.samples import Sample

SAMPLE_COLUMNS = {
    "arm": "arm",
    "step": "step",
    "group_id": "group",
    "problem_id": "problem_id",
    "sample_idx": "sample",
    "parent_sample": "parent_sample",
    "context_kind": "context",
    "context_status": "status",
    "correct": "passed",
    "n_tokens": "num_tokens",
    "truncated": "truncated",
    "tests_id": "tests",
    "prompt_sha256": "prompt_sha256",
    "correct_full": "passed_full",
    "n_prompt_tokens": "prompt_tokens",
    "context_cut": "cut",
    "context_leak": "leak",
    "seconds": "seconds",
    "gpu_seconds": "gpu_seconds",
}
"""Column of the table -> field of ``Sample``."""
NEEDED = ("arm", "problem_id", "sample_idx", "context_kind", "correct")
"""What a table of somebody else must have; the rest has defaults."""
DEFAULTS: dict[str, Any] = {
    "step": 0,
    "num_tokens": 0,
    "truncated": False,
    "tests": "full",
    "prompt_sha256": "",
}
NUMBERS = {"step": int, "group": int, "sample": int, "parent_sample": int, "num_tokens": int, "prompt_tokens": int,
    "seconds": float, "gpu_seconds": float}  # fmt: skip
FLAGS = ("passed", "passed_full", "truncated", "cut", "leak")


def sample_row(sample: Sample) -> dict[str, Any]:
    """A sample as a row."""
    found = {column: getattr(sample, name) for column, name in SAMPLE_COLUMNS.items()}
    return found | {"reward": None if sample.passed is None else float(sample.passed)}


def read_samples(rows: Sequence[Mapping[str, Any]], source: Path) -> list[Sample]:
    """Rows of arms A, B and T as samples; text of a csv is read as what the column holds.

    :raises BadInput: a column that is missing, or a value that is none of its kind
    """
    missing = [name for name in NEEDED if rows and name not in rows[0]]
    if missing:
        raise BadInput(
            f"{source}: no column {', '.join(missing)}; a table of samples needs {', '.join(NEEDED)}"
        )
    defaults: dict[str, Any] = {field.name: DEFAULTS.get(field.name) for field in fields(Sample)}
    found = []
    for place, row in enumerate(rows, start=1):
        if row["arm"] not in ("A", "B", "T"):
            continue
        values: dict[str, Any] = dict(defaults)
        for column, name in SAMPLE_COLUMNS.items():
            if row.get(column) not in (None, ""):
                values[name] = _value(row[column], name, f"{source}: row {place}, {column}")
        values["context"] = values["context"] or ""
        for name in ("cut", "leak", "truncated"):
            values[name] = bool(values[name])
        found.append(Sample(**values))
    return found


def _value(value: Any, name: str, where: str) -> Any:
    if name in FLAGS:
        known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
        text = str(value).lower()
        if text not in known:
            raise BadInput(f"{where}: {value!r} is not true or false")
        return known[text]
    if name in NUMBERS:
        try:
            return NUMBERS[name](value)
        except ValueError:
            raise BadInput(f"{where}: {value!r} is not a number") from None
    return str(value)


@dataclass(frozen=True)
class Shown:
    """What ``gap --show`` prints."""

    rows: list[dict[str, Any]]
    notes: list[str]


def show_gap(source: Path, *, pool: str | None = None) -> Shown:
    """The gaps of a run folder, or of a table of samples, from the single answers.

    :param pool: one of ``POOLS``, for another definition of the self-teacher's accuracy
    :raises BadInput: no samples, or none of a teacher
    """
    path = source / "samples.parquet" if source.is_dir() else source
    if source.is_dir() and not path.is_file():
        raise BadInput(f"{source}: no samples.parquet: nothing was measured here by this version")
    rows = read_records(path)
    measured, notes = measurement_of(rows, path)
    if pool is not None:
        return Shown(
            repooled(measured, pool), [*notes, f"pooled as {pool}; rows of other poolings do not compare"]
        )
    hashes = {row["context"]: row.get("context_sha256") or "" for row in _gap_table(path.parent)}
    said = control(measured)
    notes.append(said.said() if said is not None else "none is not among the contexts: there is no control")
    return Shown([asdict(row) for row in gap_rows(measured, context_sha256=hashes)], notes)


def measurement_of(
    rows: Sequence[Mapping[str, Any]], source: Path, measurement_id: str | None = None
) -> tuple[Measurement, list[str]]:
    """The measurement that a table holds, the newest of several, with what is to be said of the others.

    :param measurement_id: which one; unset, the newest
    """
    ids = [_measurement_id(row, known) for known in [_bases(source.parent)] for row in rows]
    arms = [place for place, row in enumerate(rows) if row.get("arm") in ("A", "B", "T")]
    newest = measurement_id or next((ids[place] for place in reversed(arms)), None)
    mine = [rows[place] for place in arms if ids[place] == newest]
    last = {row.get("context_kind"): row.get("identity_id") for row in mine}
    mine = [row for row in mine if last[row.get("context_kind")] == row.get("identity_id")]
    measured = arrange(read_samples(mine, source))
    if measured is None:
        raise BadInput(f"{source}: no answers of the arms A and T: it holds no gap")
    others = len({ids[place] for place in arms} - {newest})
    notes = [f"{source} holds {others} older measurement{'s' if others > 1 else ''} too; this is the newest"]
    return measured, notes if others else []


def base_identity(identity: Identity) -> Identity:
    """The identity that all contexts of a measurement share, and the student's arms have."""
    return replace(identity, context=None, max_context_tokens=None)


def _measurement_id(row: Mapping[str, Any], bases: Mapping[str, str]) -> str | None:
    """Of a row; earlier versions did not write it: then the row of ``gap.parquet`` tells."""
    own: str | None = row.get("measurement_id") or row.get("identity_id")
    return bases.get(own, own) if own and not row.get("measurement_id") else own


def _bases(folder: Path) -> dict[str, str]:
    names = {field.name for field in fields(Identity)}
    found = {}
    for row in _gap_table(folder):
        known = read_identity(row.get("identity"))
        if known is not None:
            known = {name: value for name, value in known.items() if name in names}
            found[str(row["identity_id"])] = base_identity(Identity(**known)).short
    return found


def _gap_table(folder: Path) -> list[dict[str, Any]]:
    return read_table(folder / "gap.parquet")
