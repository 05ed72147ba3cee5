"""What a report is made from: run folders, a sweep's folder, tables of runs, a law; read once, as plain records.

In: paths of any of these, mixed. Out: ``Sources``: runs with what their folders hold, rows for the law, measured gaps,
a fit, and in words what is not there. Nothing is guessed: a part that a run was made without is named.

What it does not do: draw, or read rollouts (``rollouts`` does, a file at a time).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsd_rs.base import read_lines, read_records, read_table
from opsd_rs.errors import BadInput
from opsd_rs.law import fit_tables

TABLES = (".parquet", ".csv", ".jsonl", ".ndjson")
MAX_DEPTH = 3
"""Levels below a sweep's folder at which runs are looked for."""


@dataclass(frozen=True)
class Run:
    """One run folder.

    >>> Run(Path("runs/a"), "a", {"seed": 1, "context": {"name": "feedback"}}).context
    'feedback'
    """

    folder: Path
    name: str
    """Its folder's name, made unique among the report's runs."""
    config: Mapping[str, Any]
    info: Mapping[str, Any] = field(default_factory=dict)
    """``run.json``."""
    metrics: Sequence[Mapping[str, Any]] = ()
    evals: Sequence[Mapping[str, Any]] = ()
    gaps: Sequence[Mapping[str, Any]] = ()
    row: Mapping[str, Any] | None = None
    """Its row of ``runs.parquet``; None before the run's end."""
    forecast: Mapping[str, Any] | None = None
    """``forecast.json``: what a law said of the end before the start."""
    rollouts: Sequence[Path] = ()

    @property
    def context(self) -> str:
        """The name of its context."""
        return str(self.config.get("context", {}).get("name") or "unnamed")

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.config.get("seed") or 0)

    @property
    def steps(self) -> int:
        """Steps that it was to take."""
        return int(self.config.get("train", {}).get("num_steps") or 0)


@dataclass(frozen=True)
class Sources:
    """All that the report may show."""

    inputs: tuple[Path, ...]
    runs: tuple[Run, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    """Of the law's table, one per finished run."""
    gaps: tuple[Mapping[str, Any], ...] = ()
    """Measured gaps, the newest of each context, model and seed."""
    law: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    """What is not there, and why."""


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read everything that ``paths`` name.

    :raises BadInput: a path that is none of run, sweep, table and law; files in it that cannot be read
    """
    folders: list[Path] = []
    tables: list[Path] = []
    laws: list[Path] = []
    gap_tables: list[Path] = []
    for path in paths:
        if path.is_dir():
            before = len(folders) + len(tables) + len(laws) + len(gap_tables)
            folders += _run_folders(path)
            if not is_run(path):
                tables += [path / "runs.parquet"] if (path / "runs.parquet").is_file() else []
                laws += [path / "law.json"] if (path / "law.json").is_file() else []
                gap_tables += sorted(_gap_tables(path))
            if len(folders) + len(tables) + len(laws) + len(gap_tables) == before:
                raise BadInput(
                    f"{path}: holds no run (config.json), no runs.parquet, no gap.parquet and no law.json"
                )
        elif not path.is_file():
            raise BadInput(
                f"{path}: no such file or folder; give run folders, a sweep's folder, a table or law.json"
            )
        elif path.suffix == ".json":
            laws.append(path)
        elif path.suffix.lower() in TABLES:
            (gap_tables if path.name == "gap.parquet" else tables).append(path)
        else:
            raise BadInput(
                f"{path}: give run folders, a sweep's folder, a table ({', '.join(TABLES[:3])}) or law.json"
            )
    folders = list(dict.fromkeys(folders))
    names = _names(folders)
    runs = tuple(_read_run(folder, names[folder]) for folder in folders)
    tables += [run.folder / "runs.parquet" for run in runs if (run.folder / "runs.parquet").is_file()]
    law, notes = _law(laws, tables)
    rows = _unique([_numbers(row) for table in dict.fromkeys(tables) for row in read_records(table)])
    gaps = [row for table in gap_tables for row in read_table(table)] + [g for run in runs for g in run.gaps]
    return Sources(
        inputs=tuple(paths),
        runs=runs,
        rows=tuple(rows),
        gaps=tuple(_newest(gaps or rows)),
        law=law,
        notes=(*notes, *_absent(runs)),
    )


def is_run(folder: Path) -> bool:
    """Whether it is a run's folder; a model's has a config.json, too."""
    try:
        return "rollout" in json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def _run_folders(path: Path, depth: int = 0) -> Iterator[Path]:
    if is_run(path):
        yield path
    elif depth < MAX_DEPTH:
        for inner in sorted(path.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _run_folders(inner, depth + 1)


def _gap_tables(path: Path, depth: int = 0) -> Iterator[Path]:
    """Gaps that were measured without a run."""
    if is_run(path):
        return
    if (path / "gap.parquet").is_file():
        yield path / "gap.parquet"
    if depth < MAX_DEPTH:
        for inner in sorted(path.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _gap_tables(inner, depth + 1)


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """The folder's own name, or with its parents' where two have the same."""
    for length in range(1, 8):
        names = {folder: "/".join(folder.resolve().parts[-length:]) for folder in folders}
        if len(set(names.values())) == len(folders):
            return names
    return {folder: str(folder) for folder in folders}


def _read_run(folder: Path, name: str) -> Run:
    rows = read_table(folder / "runs.parquet")
    info = _json(folder / "run.json") or {}
    own = [row for row in rows if row.get("run_id") == info.get("run_id")] or rows
    return Run(
        folder=folder,
        name=name,
        config=_json(folder / "config.json") or {},
        info=info,
        metrics=read_lines(folder / "metrics.jsonl"),
        evals=_of_the_newest(read_table(folder / "eval.parquet")),
        gaps=read_table(folder / "gap.parquet"),
        row=own[-1] if own else None,
        forecast=_json(folder / "forecast.json"),
        rollouts=tuple(sorted(folder.glob("rollouts/step-*.parquet"))),
    )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: is no JSON object")
    return found


def _of_the_newest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A folder may hold validations of other settings from before it was changed."""
    named = [row["identity_id"] for row in rows if row.get("identity_id")]
    return [row for row in rows if row.get("identity_id") in (None, *named[-1:])]


def _law(laws: Sequence[Path], tables: Sequence[Path]) -> tuple[Mapping[str, Any] | None, list[str]]:
    if laws:
        return {"families": _families(laws)}, []
    if not tables:
        return None, ["No law: none was given, and there is no finished run to fit one to."]
    families: dict[str, Any] = {}
    notes = []
    for group in _that_share_a_family(list(dict.fromkeys(tables))):
        try:
            families |= fit_tables(group)["families"]
        except BadInput as error:
            notes.append(f"No line: {error}.")
    return ({"families": families} if families else None), notes


def _families(laws: Sequence[Path]) -> dict[str, Any]:
    """The families of all laws; a name that two of them have gets its file's."""
    found: dict[str, Any] = {}
    for path in laws:
        families = (_json(path) or {}).get("families")
        if not isinstance(families, dict):
            raise BadInput(f"{path}: is no law: it has no families; write one with `opsd-rs law fit --out`")
        for name, entry in families.items():
            found[name if name not in found else f"{name} ({path.stem})"] = entry
    return found


def _that_share_a_family(tables: Sequence[Path]) -> list[list[Path]]:
    """Tables in groups: too few runs of one model are no reason to leave out another's line."""
    groups: list[tuple[set[str], list[Path]]] = []
    for table in tables:
        names = {str(row.get("family")) for row in read_records(table)}
        same = [group for group in groups if group[0] & names]
        groups = [group for group in groups if group not in same]
        groups.append((names.union(*(g[0] for g in same)), [*(t for g in same for t in g[1]), table]))
    return [members for _, members in groups]


def _unique(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A run that a sweep's table and its own folder both hold counts once."""
    found: dict[Any, Mapping[str, Any]] = {}
    for place, row in enumerate(rows):
        found[row.get("run_id") or place] = row
    return list(found.values())


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a .csv are text."""
    return {key: _number(value) if isinstance(value, str) else value for key, value in row.items()}


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None


def _newest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for row in rows:
        if row.get("gap") is not None:
            found[(row.get("base_model") or row.get("family"), row.get("context"), row.get("seed"))] = row
    return list(found.values())


def _absent(runs: Sequence[Run]) -> Iterator[str]:
    """What runs were made without."""
    parts: list[tuple[str, list[bool]]] = [
        ("no metrics.jsonl: no training curves and no timeline", [not run.metrics for run in runs]),
        ("no validation (eval.parquet)", [not run.evals for run in runs]),
        ("no row in runs.parquet: not ended", [run.row is None for run in runs]),
        ("no gap of its own (gap.parquet)", [not run.gaps for run in runs]),
        (
            "no forecast.json: it was started without a law, so no predicted end is drawn",
            [run.forecast is None for run in runs],
        ),
        ("no rollouts/", [not run.rollouts for run in runs]),
        (
            "no tokens.parquet, as before that file existed: completions are shown as text, prompts not at all",
            [bool(run.rollouts) and not (run.folder / "tokens.parquet").is_file() for run in runs],
        ),
    ]
    for said, absent in parts:
        names = [run.name for run, is_absent in zip(runs, absent, strict=True) if is_absent]
        if names:
            yield f"{_listed(names, len(runs))}: {said}."


def _listed(names: Sequence[str], total: int) -> str:
    return f"Each of the {total} runs" if len(names) == total > 1 else ", ".join(names)
