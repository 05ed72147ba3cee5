"""A law by name or by file: the entries that come with the package, and those that ``law fit`` writes.

In: ``paper-2605.30070/qwen3-8b`` or ``law.json``. Out: its families, where it came from, and the hash of its bytes. An
entry without a residual deviation and without the spread of its gaps has no interval: it serves comparison, and no
forecast is made of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from opsd_rs.base import expand
from opsd_rs.errors import BadInput, near

ENTRIES = Path(str(files("opsd_rs") / "data" / "laws"))
SCHEMA = 1
"""Of the package's entries: ``{"schema": 1, "name", "evidence", "sources", "missing", "families": {...}}``."""
PREDICTS = ("slope", "intercept", "residual_sd", "n", "gap_mean", "gap_sxx", "gap_min", "gap_max")
"""What a family's entry must hold for a forecast."""


@dataclass(frozen=True)
class Law:
    """A fitted law, or a published one.

    >>> load_law("paper-2605.30070/qwen3-8b").evidence
    'second-hand'
    """

    name: str
    """As it was asked for."""
    sha256: str
    families: Mapping[str, Mapping[str, Any]]
    evidence: str = ""
    """``second-hand`` for numbers that somebody else wrote down; empty for a fit of one's own."""
    sources: Mapping[str, str] | None = None
    missing: Sequence[str] = ()
    """What the sources do not say."""
    by: str = "family"
    """What its entries are divided by, as ``law fit --by``: which one a row belongs to."""

    def entry(self, family: str) -> Mapping[str, Any]:
        """The family's entry, complete enough for a forecast.

        :raises BadInput: no such family, no slope, or an entry for comparison only
        """
        self.check_any()
        found = self.families.get(family)
        if found is None:
            raise BadInput(
                f"{self.name}: the law has no line for {self.by} {family} (it has {', '.join(self.families)}); fit runs"
                f" of {family}, or name another law"
            )
        self.check(family)
        if found.get("slope") is None:
            raise BadInput(f"{self.name}: family {family} has no slope: all its gaps are equal")
        return found

    def check_any(self) -> None:
        """Refuse a law of which no family can forecast, whatever is asked of it.

        :raises BadInput: naming what is missing
        """
        if self.families and all(lacks(entry) for entry in self.families.values()):
            self.check(next(iter(self.families)))

    def check(self, family: str) -> None:
        """Refuse an entry that can forecast nothing; one whose slope is undetermined passes.

        :raises BadInput: naming what is missing
        """
        found = self.families[family]
        lacking = lacks(found)
        if not lacking:
            return
        if self.evidence:
            raise BadInput(
                f"{self.name} serves comparison only: its family {family} has no {', '.join(lacking)}, so nobody can"
                " say how far a forecast would be off; fit runs of your own with `opsd-rs law fit`"
            )
        raise BadInput(f"{self.name}: family {family} lacks {', '.join(lacking)}; fit the law again")


def lacks(entry: Mapping[str, Any]) -> list[str]:
    """What an entry would need for a forecast; nothing for one that says it has no slope."""
    if "slope" in entry and entry["slope"] is None and entry.get("n"):
        return []
    return [key for key in PREDICTS if not isinstance(entry.get(key), (int, float))]


def load_law(name: str | Path) -> Law:
    """The law in a file, or the package's entry of that name.

    :raises BadInput: no such file or entry, or a file that holds no law
    """
    path = law_path(name)
    try:
        data = path.read_bytes()
        law = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{name}: not JSON: {error}") from None
    families = law.get("families") if isinstance(law, dict) else None
    if not isinstance(families, dict) or not all(isinstance(entry, dict) for entry in families.values()):
        raise BadInput(f"{name}: no `families` in it; write it with `opsd-rs law fit TABLE --out {name}`")
    if law.get("schema", SCHEMA) != SCHEMA:
        raise BadInput(
            f"{name}: entry of schema {law['schema']}, this version reads {SCHEMA}: update opsd-rs"
        )
    return Law(
        name=str(name),
        sha256=hashlib.sha256(data).hexdigest(),
        families=families,
        evidence=str(law.get("evidence") or ""),
        sources=law.get("sources"),
        missing=tuple(law.get("missing") or ()),
        by=str(law.get("by") or "family"),
    )


def law_path(name: str | Path) -> Path:
    """The file of a law; a file in the working folder goes before an entry of the same name.

    :raises BadInput: neither
    """
    path = expand(str(name))
    if path.is_file():
        return path
    known = law_names()
    if str(name) in known:
        return ENTRIES / f"{name}.json"
    if path.is_dir():
        raise BadInput(f"{name} is a folder; name the law.json that `opsd-rs law fit` wrote")
    hint = near(str(name), known) or f"; write it with `opsd-rs law fit TABLE --out {name}`"
    raise BadInput(f"{name}: no such file, and no law of that name (`opsd-rs law show` lists them){hint}")


def law_names() -> list[str]:
    """The entries that come with the package."""
    return sorted(path.relative_to(ENTRIES).with_suffix("").as_posix() for path in ENTRIES.rglob("*.json"))


def law_table() -> list[dict[str, Any]]:
    """A row per family of each entry of the package: what it says, and whether it can forecast."""
    return [
        {
            "name": name,
            "family": family,
            "slope": entry["slope"],
            "r2": entry["r2"],
            "n": entry["n"],
            "evidence": law.evidence or "own",
            "serves": "comparison only" if lacks(entry) else "forecasts",
        }
        for name, law in ((name, load_law(name)) for name in law_names())
        for family, entry in law.families.items()
    ]


def law_record(law: Law) -> dict[str, Any]:
    """A law as JSON shows it."""
    return {
        "name": law.name,
        "sha256": law.sha256,
        "evidence": law.evidence or "own",
        "sources": law.sources,
        "missing": list(law.missing),
        "families": law.families,
    }
