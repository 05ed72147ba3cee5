"""The rollouts of a page: an index of all of them, and their texts in parts that a browser unpacks when it shows them.

In: the files below ``rollouts/`` of each run, and its ``tokens.parquet``. Out: strings for script elements. Texts are
lists of places in one dictionary of tokens, the commonest first; a part holds one file's rollouts as JSON, packed by
zlib and base64, so that 10,000 rollouts of 300 tokens take some megabytes and nothing is unpacked before it is looked
at.

The divergence of a token becomes one byte on a logarithmic scale: to 2 % from 0.05 nats up, to a thousandth below.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import read_table
from opsd_rs.report.sources import Run

MOST = 10_000
"""Rollouts of a page, unless more are asked for."""
HEAT_SCALE, HEAT_MOST = 1e-3, 20.0
"""Nats: below the first a byte's steps are even, from there on each is 4 % more; the second is the largest."""
UNKNOWN = "\ufffd".encode()


def heat(values: Sequence[float]) -> bytes:
    """A byte per divergence.

    >>> list(heat([0.0, 0.001, 1.0, 20.0, 400.0, -1.0]))
    [0, 18, 178, 255, 255, 0]
    """
    found = np.clip(np.asarray(values, np.float64), 0.0, HEAT_MOST)
    top = math.log1p(HEAT_MOST / HEAT_SCALE)
    return bytes(np.rint(255 * np.log1p(found / HEAT_SCALE) / top).astype(np.uint8))


def privileged_spans(
    prompt: Sequence[int], teacher: Sequence[int], sections: Sequence[Mapping[str, Any]]
) -> list[tuple[str, int, int]]:
    """What the teacher reads and the student does not, as (section, start, end) in tokens of the teacher's prompt.

    Words of the template between the sections are called ``template``.

    >>> spans = [{"section": "prompt", "start": 1, "end": 2}, {"section": "feedback", "start": 3, "end": 4}]
    >>> privileged_spans([1, 5, 9], [1, 5, 7, 8, 9], spans)
    [('template', 2, 3), ('feedback', 3, 4)]
    """
    shorter = min(len(prompt), len(teacher))
    # Privileged text may by chance begin or end like what stands around the statement: look no further than that.
    head, tail = _around_statement(prompt, teacher, sections) or (shorter, shorter)
    first = 0
    while first < min(head, shorter) and prompt[first] == teacher[first]:
        first += 1
    last = 0
    while last < min(tail, shorter - first) and prompt[-1 - last] == teacher[-1 - last]:
        last += 1
    known = sorted((int(s["start"]), int(s["end"]), str(s["section"])) for s in sections)
    found: list[tuple[str, int, int]] = []
    at, end = first, len(teacher) - last
    for start, stop, name in known:
        if stop <= at or start >= end:
            continue
        if start > at:
            found.append(("template", at, start))
        if name != "prompt":
            found.append((name, max(start, at), min(stop, end)))
        at = stop
    if at < end:
        found.append(("template", at, end))
    return found


def _around_statement(
    prompt: Sequence[int], teacher: Sequence[int], sections: Sequence[Mapping[str, Any]]
) -> tuple[int, int] | None:
    """Tokens before and after the statement in the student's prompt; None where it is not found there."""
    for section in sections:
        if section["section"] == "prompt":
            # Without its edges, where a token may hold characters of both sides.
            inner = list(teacher[section["start"] + 1 : section["end"] - 1])
            for at in range(1, len(prompt) - len(inner)):
                if inner and prompt[at] == inner[0] and list(prompt[at : at + len(inner)]) == inner:
                    same_end = prompt[at + len(inner)] == teacher[section["end"] - 1]
                    return at - 1, len(prompt) - at - len(inner) - same_end
    return None


@dataclass
class Dictionary:
    """Tokens of all runs by their bytes, numbered as they are met."""

    pieces: dict[bytes, int] = field(default_factory=dict)

    def table(self, path: Path) -> NDArray[np.int64] | None:
        """Place in the dictionary by token id; None without ``tokens.parquet``."""
        rows = read_table(path)
        if not rows:
            return None
        # A model's output layer may be wider than its tokenizer: ids from there on have no bytes.
        unknown = self.pieces.setdefault(UNKNOWN, len(self.pieces))
        found = np.full(max(row["token_id"] for row in rows) + 2, unknown, np.int64)
        for row in rows:
            found[row["token_id"]] = self.pieces.setdefault(row["bytes"], len(self.pieces))
        return found


@dataclass
class Part:
    """One file's rollouts, as places in the dictionary."""

    rows: list[dict[str, Any]]
    """Prompts, completions and what else is shown of each; ids as arrays."""
    index: list[list[Any]]
    """run, step, problem id, sample, verdict, passed, tokens, mean divergence."""


@dataclass(frozen=True)
class Packed:
    """What the page holds."""

    index: Mapping[str, Any]
    pieces: str
    parts: tuple[str, ...]
    notes: tuple[str, ...]
    """What the browser cannot show, and why."""


def pack(runs: Sequence[Run], most: int = MOST) -> Packed:
    """All rollouts of ``runs``, or whole steps at even distances where there are more than ``most``."""
    dictionary, parts, notes = Dictionary(), list[Part](), list[str]()
    files, left_out = _chosen(
        [(place, path) for place, run in enumerate(runs) for path in run.rollouts], most
    )
    if left_out:
        notes.append(
            f"{left_out} of the {left_out + len(files)} steps are left out of the browser, at even distances: it holds "
            f"{most:,} rollouts (--rollouts N)."
        )
    tables: dict[int, NDArray[np.int64] | None] = {}
    for place, path in files:
        if place not in tables:
            tables[place] = dictionary.table(runs[place].folder / "tokens.parquet")
        parts.append(_part(place, path, tables[place]))
    notes += _notes(runs, parts)
    order, pieces = _by_frequency(dictionary, parts)
    return Packed(
        index=_index(runs, parts),
        pieces=_packed_json([piece.decode("latin-1") for piece in pieces]),
        parts=tuple(_packed_json(_part_json(part, order)) for part in parts),
        notes=tuple(notes),
    )


def _chosen(files: list[tuple[int, Path]], most: int) -> tuple[list[tuple[int, Path]], int]:
    """Files that hold about ``most`` rollouts, and how many are left out."""
    sizes = [num_rows(path) for _, path in files]
    total = sum(sizes)
    if total <= most:
        return files, 0
    if most <= 0:
        return [], len(files)
    wanted = max(1, len(files) * most // total)
    # The first and the last step of all, and even distances between.
    places = sorted({round(i * (len(files) - 1) / max(1, wanted - 1)) for i in range(wanted)})
    return [files[place] for place in places], len(files) - len(places)


def num_rows(path: Path) -> int:
    """Rollouts of a file."""
    return len(read_table(path, columns=["step"]))


def _part(place: int, path: Path, table: NDArray[np.int64] | None) -> Part:
    rows: list[dict[str, Any]] = []
    index: list[list[Any]] = []
    for row in read_table(path):
        kl = row.get("token_kl")
        shown: dict[str, Any] = {
            "status": row.get("context_status") or "",
            "flags": list(row.get("context_flags") or []),
            "truncated": bool(row.get("truncated")),
            "feedback": row.get("feedback") or "",
            "heat": None if kl is None else base64.b64encode(heat(kl)).decode(),
        }
        if table is None:
            shown["text"] = row.get("text") or ""
        else:
            prompt, teacher = row["prompt_ids"], row["teacher_prompt_ids"]
            shown |= {
                "prompt": _places(table, prompt),
                "teacher": _places(table, teacher),
                "completion": _places(table, row["completion_ids"]),
                "spans": privileged_spans(prompt, teacher, row.get("teacher_spans") or []),
            }
        rows.append(shown)
        passed = row.get("passed")
        index.append(
            [
                place,
                int(row["step"]),
                str(row["problem_id"]),
                int(row["sample"]),
                str(row.get("verdict") or "unknown"),
                None if passed is None else int(passed),
                len(row["completion_ids"]),
                None if not kl else round(float(np.mean(kl)), 4),
            ]
        )
    return Part(rows, index)


def _places(table: NDArray[np.int64], ids: Sequence[int]) -> NDArray[np.int64]:
    return table[np.minimum(np.asarray(ids, np.int64), len(table) - 1)]


def _notes(runs: Sequence[Run], parts: Sequence[Part]) -> Iterator[str]:
    """Why there is no heat where there is none."""
    with_heat = {part.index[0][0] for part in parts for row in part.rows if row["heat"] is not None}
    shown = {part.index[0][0] for part in parts if part.index}
    off: list[str] = []
    before: list[str] = []
    for place in sorted(shown - with_heat):
        log = runs[place].config.get("log", {})
        (before if "token_kl" not in log else off).append(runs[place].name)
    if before:
        yield f"{', '.join(before)}: made before log.token_kl, so completions have no heat."
    if off:
        yield f"{', '.join(off)}: no token's divergence was kept (log.token_kl off, or nothing trained)."


def _by_frequency(dictionary: Dictionary, parts: Sequence[Part]) -> tuple[NDArray[np.int64], list[bytes]]:
    """New place of each token, the commonest first, and the tokens that occur in that order."""
    counts = np.zeros(len(dictionary.pieces), np.int64)
    for part in parts:
        for row in part.rows:
            for name in ("prompt", "teacher", "completion"):
                if name in row:
                    found, times = np.unique(row[name], return_counts=True)
                    counts[found] += times
    pieces = list(dictionary.pieces)
    # Equal counts by the bytes: the page does not depend on the order of the tokenizer's ids.
    used = sorted((-int(counts[i]), pieces[i], int(i)) for i in np.flatnonzero(counts))
    order = np.zeros(len(counts), np.int64)
    for place, (_, _, i) in enumerate(used):
        order[i] = place
    return order, [piece for _, piece, _ in used]


def _part_json(part: Part, order: NDArray[np.int64]) -> dict[str, Any]:
    """Prompts of one problem are the same: each stands once."""
    prompts: dict[bytes, int] = {}
    texts: list[list[int]] = []
    rows = []
    for row in part.rows:
        shown = {key: value for key, value in row.items() if key not in ("prompt", "teacher", "completion")}
        if "prompt" in row:
            for name in ("prompt", "teacher"):
                ids = order[row[name]]
                key = ids.tobytes()
                if key not in prompts:
                    prompts[key] = len(texts)
                    texts.append(ids.tolist())
                shown[name] = prompts[key]
            shown["completion"] = order[row["completion"]].tolist()
        rows.append(shown)
    return {"prompts": texts, "rows": rows}


def _index(runs: Sequence[Run], parts: Sequence[Part]) -> dict[str, Any]:
    """By column; names stand once, rows hold their places."""
    lines = [line for part in parts for line in part.index]
    problems = sorted({line[2] for line in lines})
    verdicts = sorted({line[4] for line in lines})
    place_of = {name: i for i, name in enumerate(problems)}
    verdict_of = {name: i for i, name in enumerate(verdicts)}
    return {
        "contexts": [run.context for run in runs],
        "heat": {"scale": HEAT_SCALE, "most": HEAT_MOST},
        "kl": [line[7] for line in lines],
        "parts": [len(part.index) for part in parts],
        "passed": [line[5] for line in lines],
        "problem": [place_of[line[2]] for line in lines],
        "problems": problems,
        "run": [line[0] for line in lines],
        "runs": [run.name for run in runs],
        "sample": [line[3] for line in lines],
        "step": [line[1] for line in lines],
        "tokens": [line[6] for line in lines],
        "verdict": [verdict_of[line[4]] for line in lines],
        "verdicts": verdicts,
    }


def _packed_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
