"""``GRID.toml``: what a sweep runs. One frozen tree, unknown keys refused with the nearest known one.

In: a file. Out: a ``Grid``, or every fault at once, each with its file and line. Lists of names and tables of names
mean the same: ``contexts = ["none"]`` is ``[contexts]`` with ``none = []``, and a table's values are ``key=value``
words that the runs of that name get.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from opsd_rs.base import expand, own_name
from opsd_rs.config import NaturalInt, PositiveInt, Section, expanded, key_lines, line_of
from opsd_rs.errors import BadInput, near

Words = tuple[str, ...]
"""``key=value`` words."""
Names = Mapping[str, Words]


NAMED = {"models": "model.path", "contexts": "context"}
"""Tables that may be written as a list, and the key that an entry of it sets."""


class SharedConfig(Section):
    """What is measured once for all runs that it is the same for, before the first of them."""

    gap: bool = True
    """The gaps of all contexts, in one measurement per model; the runs take theirs by ``gap.from``."""
    baseline: bool = True
    """The student's validation before training; the runs take it by ``eval.from``."""
    seed: NaturalInt = 1000
    """``gap.seed`` and ``eval.seed`` of all runs, unless their configuration names others."""
    anyway: bool = False
    """Go on where the gap of ``none`` is outside its gate, as ``opsd-rs gap --anyway`` does."""


class Grid(Section):
    """The whole grid."""

    out: str
    """Folder of the sweep: its ``runs.parquet``, the runs, what they share, their output."""
    base: tuple[str, ...] = ()
    """Configurations that every run begins with, as ``opsd-rs train`` takes them; paths start at the grid's folder."""
    set: Words = ()
    """``key=value`` for every run."""
    models: Names = Field(default_factory=dict)
    """Models: names and paths, or a table of names with ``key=value`` words; without ``model.path`` among these the
    name is the model's. Left out: the one that ``base`` names."""
    contexts: Names
    """Contexts, the same way; without ``context`` among the words the name is the context's."""
    seeds: tuple[NaturalInt, ...] = (0,)
    """Seeds, in the order of the runs: all contexts at the first, then all at the second."""
    recipes: Mapping[str, Words] = Field(default_factory=lambda: {"base": ()})
    """Recipes: a table of names with ``key=value`` words."""
    blocks: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Names of contexts that run one block after the other, all seeds of a block before the next; each context is in
    one. Left out: one block."""
    per_gpu: PositiveInt = 1
    """Runs at a time on each GPU; on a machine without one, on the machine."""
    keep: Literal["all", "model", "rows"] = "all"
    """What stays of a run that has ended: everything; all but the checkpoints; all but these and the weights."""
    skip_by_law: str | None = None
    """A law, as ``opsd-rs law predict`` takes it: a run whose gap's forecast says skip is listed and not run."""
    shared: SharedConfig = SharedConfig()

    _paths = field_validator("out", "skip_by_law")(expanded)


OURS = {
    "seed": "seeds = [...] of the grid sets it",
    "run.dir": "runs live below the grid's out",
    "run.config_id": "one name for all contexts would make them seeds of each other",
    "gap.contexts": "the grid's contexts are measured",
}
"""Keys that no words of a grid may set, and why."""


Fault = tuple[tuple[str, ...], str]
"""The path of a key, and what is wrong with it."""


SWEEPS = Path(__file__).parents[1] / "configs" / "sweeps"


def grid_path(name: Path) -> Path:
    """A grid's file: a path that ends in .toml, or the name of a built-in one.

    :raises BadInput: no built-in one of this name
    """
    if name.suffix == ".toml":
        return name
    known = sorted(file.stem for file in SWEEPS.glob("*.toml"))
    if str(name) not in known:
        hint = near(str(name), known) or f"; there is {', '.join(known)}; a path ends in .toml"
        raise BadInput(f"{name}: no built-in grid of this name{hint}")
    return SWEEPS / f"{name}.toml"


def load_grid(path: Path) -> Grid:
    """The checked grid of a file.

    :raises BadInput: no such file, no TOML; unknown keys, wrong types, names that do not fit together, each in a line
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; docs/sweep.md shows a grid") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    lines = key_lines(text)
    twice = list(_twice(table))
    _name(table)

    def said(keys: tuple[str, ...], fault: str) -> str:
        return f"{path}:{line_of(lines, keys)}: {fault}"

    try:
        grid = Grid.model_validate(_strict(table))
    except ValidationError as error:
        raise GridFaults(
            said(keys, text) for keys, text in map(_fault, error.errors(include_url=False))
        ) from None
    if faults := [said(keys, fault) for keys, fault in (*twice, *_rules(grid))]:
        raise GridFaults(faults)
    return grid


class GridFaults(BadInput):
    """Everything wrong with a grid; ``faults`` holds one line for each."""

    def __init__(self, faults: Iterator[str] | Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def _named_lists(table: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name in NAMED:
        listed = table.get(name)
        if isinstance(listed, list) and all(isinstance(entry, str) for entry in listed):
            yield name, listed


def _name(table: dict[str, Any]) -> None:
    """Write lists of names as the tables that they stand for."""
    for name, listed in list(_named_lists(table)):
        table[name] = {_label(entry): [f"{NAMED[name]}={entry}"] for entry in listed}


def _twice(table: Mapping[str, Any]) -> Iterator[Fault]:
    for name, listed in _named_lists(table):
        for label, count in Counter(map(_label, listed)).items():
            if count > 1:
                yield (
                    (name,),
                    f"{name}: {count} are called {label}, by which runs are told apart: write a table",
                )


def _label(name: str) -> str:
    """What the runs of an entry of a list are called by: a path's last name, without its ending."""
    return own_name(name).removesuffix(".toml")


def _strict(value: Any) -> Any:
    """Tuples for lists, as strict types want them."""
    if isinstance(value, dict):
        return {name: _strict(below) for name, below in value.items()}
    return tuple(_strict(item) for item in value) if isinstance(value, list) else value


def _fault(fault: Any) -> Fault:
    """The path of the key, and what is wrong with it."""
    keys = tuple(part for part in fault["loc"] if isinstance(part, str) and part != "[key]")
    dotted = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        section: type[Section] = SharedConfig if keys[0] == "shared" else Grid
        known = [".".join([*keys[:-1], name]) for name in section.model_fields]
        return keys, f"{dotted} is not a key{near(dotted, known)}"
    if fault["type"] == "missing":
        return keys, f"{dotted} is missing"
    message = fault["msg"].replace("Input should be", "must be", 1).replace("tuple", "list")
    if keys[0] in ("models", "contexts") and len(keys) == 1:
        message = "must be a list of names, or a table of names with lists of key=value words"
    return keys, f"{dotted} {message}"


def _rules(grid: Grid) -> Iterator[Fault]:
    for name in ("models", "contexts", "recipes"):
        named: Names = getattr(grid, name)
        for label, words in named.items():
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", label):
                yield (
                    (name, label),
                    f'{name}: "{label}" names folders: letters, digits, ".", "_" and "-" alone',
                )
            yield from _words((name, label), words)
    yield from _words(("set",), grid.set)
    if not grid.contexts:
        yield ("contexts",), "contexts: there is none, so there is nothing to run"
    for key, values in (("seeds", grid.seeds), ("recipes", tuple(grid.recipes))):
        if not values:
            yield (key,), f"{key}: there is none; leave the key out for the default"
    for seed, count in Counter(grid.seeds).items():
        if count > 1:
            yield ("seeds",), f"seeds: {seed} is named {count} times"
    if grid.blocks:
        yield from _blocks(grid)


def _words(keys: tuple[str, ...], words: Words) -> Iterator[Fault]:
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals:
            yield keys, f'{".".join(keys)}: "{word}" is not key=value'
        elif key.strip() in OURS:
            yield keys, f'{".".join(keys)}: "{word}": {OURS[key.strip()]}'


def _blocks(grid: Grid) -> Iterator[Fault]:
    counted = Counter(context for block in grid.blocks.values() for context in block)
    for block, contexts in grid.blocks.items():
        for context in contexts:
            if context not in grid.contexts:
                yield (
                    ("blocks", block),
                    (f"blocks.{block}: {context} is not among contexts{near(context, list(grid.contexts))}"),
                )
    for context in grid.contexts:
        if counted[context] != 1:
            yield ("blocks",), f"blocks: {context} is in {counted[context]} blocks; every context is in one"


def path_beside(grid: Path, name: str) -> str:
    """A file that the grid names, from the working directory on; the name of a built-in one as it is."""
    return str(grid.parent / expand(name)) if name.endswith(".toml") else name
