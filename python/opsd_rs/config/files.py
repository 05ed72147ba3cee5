"""From files and arguments to one ``Config``: find, merge, check, and report what set each key.

In: sources (built-in names or .toml paths) and overrides (``key.path=value``), merged left to right,
overrides last. Out: the frozen tree, or every fault at once, each with the file and line or the argument
that set it.

Four conventions beyond TOML: ``context = "feedback"`` stands for the ``[context]`` table of that context's
file, and any table that names a context replaces the one before it, so that two contexts never mix;
``objective = "opsd"`` likewise stands for an ``[objective]`` table with that name; the string ``"none"`` unsets a
key that may be unset (TOML has no null); relative paths of contexts start at the file that names them.
"""

from __future__ import annotations

import json
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from opsd_rs.base import expand
from opsd_rs.config import checks
from opsd_rs.config.keys import Key, keys
from opsd_rs.config.toml_lines import key_lines, line_of
from opsd_rs.config.tree import PLUGIN_TABLES, Config, ContextConfig
from opsd_rs.errors import BadInput, near

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
from opsd_rs.config.faults import (
    REPLACED,
    ConfigFaults,
    KeyPath,
    Leaf,
    Tree,
    describe_fault,
    dotted_key,
    known_keys,
    located,
    origins,
)

CONFIGS = Path(__file__).parents[1] / "configs"
"""The built-in files: ``demo``, ``paper/qwen3-8b``, ``contexts/feedback`` are names of files below it."""


class Resolved(NamedTuple):
    """A configuration, the origin of each key that was set, and what is unusual about it."""

    config: Config
    origins: Mapping[str, str]
    """Dotted key -> ``file:line`` or ``argument key=value``; keys left at their default are absent."""
    warnings: tuple[str, ...]


def split_arguments(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Command line words into (sources, overrides): what contains ``=`` is an override, unless it is a file's path."""
    sources: list[str] = []
    overrides: list[str] = []
    for word in arguments:
        is_file = word.endswith((".toml", ".json")) and expand(word).is_file()
        (overrides if "=" in word and not is_file else sources).append(word)
    return sources, overrides


def load_config(sources: Sequence[str], overrides: Sequence[str] = ()) -> Config:
    """The merged, checked configuration; warnings go to stderr.

    Raises ``BadInput`` with all faults: unknown keys, wrong types, rules between keys, missing files.
    """
    resolved = resolve(sources, overrides)
    for warning in resolved.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return resolved.config


def resolve(sources: Sequence[str], overrides: Sequence[str] = ()) -> Resolved:
    """As ``load_config``, with the origins and the warnings as data."""
    tree: Tree = {}
    for source in sources:
        path = config_path(source)
        read = _read(path)
        if path.suffix == ".json":  # of a run, which may be older than this version
            _drop(read, REPLACED)
        _merge(tree, read, beside=path.parent)
    for override in overrides:
        _merge(tree, _override(override, known_keys(tree)), beside=Path())
    try:
        config = Config.model_validate(_plain(tree))
    except ValidationError as error:
        raise ConfigFaults([describe_fault(tree, fault) for fault in error.errors()]) from None
    where = dict(origins(tree))
    of_run = {key for key in checks.OF_A_START if where.get(key, "").endswith(".json")}
    if faults := [fault for fault in checks.faults(config) if fault.key not in of_run]:
        raise ConfigFaults([located(tree, fault) for fault in faults])
    warnings = tuple(located(tree, finding) for finding in checks.warnings(config))
    return Resolved(config, where, warnings)


def load_context(name: str, beside: Path | None = None) -> ContextConfig:
    """The context called ``name``, or the one in the .toml file ``name`` (relative to ``beside``)."""
    tree: Tree = {}
    _merge(tree, {"context": Leaf(name, f"context {name}")}, beside=beside or Path())
    try:
        return Config.model_validate(_plain(tree)).context
    except ValidationError as error:
        raise ConfigFaults([describe_fault(tree, fault) for fault in error.errors()]) from None


def resolved_json(config: Config) -> str:
    """The whole tree as JSON (unset keys as null), the text of a run folder's ``config.json``."""
    return config.model_dump_json(by_alias=True, indent=2) + "\n"


def config_names(folder: str = "") -> list[str]:
    """Built-in names, sorted: all, or those below ``folder``; grids of runs (``sweeps/``) are no configurations."""
    names = (
        file.relative_to(CONFIGS).with_suffix("").as_posix() for file in (CONFIGS / folder).rglob("*.toml")
    )
    return sorted(name for name in names if not name.startswith("sweeps/"))


def config_path(source: str) -> Path:
    """The file behind a source: a path when it ends in ``.toml`` (or is a run's ``.json``), else a built-in name."""
    is_path = source.endswith((".toml", ".json"))
    path = expand(source) if is_path else CONFIGS / f"{source}.toml"
    if path.is_file():
        return path
    if is_path:
        folder = path.parent
        there = [str(folder / file.name) for file in folder.glob("*.toml")] if folder.is_dir() else []
        built_in = [name for name in config_names() if name.rpartition("/")[2] == path.stem]
        same = f"; did you mean the built-in {built_in[0]}?" if built_in else ""
        raise BadInput(f"{source}: no such file{near(source, there) or same}")
    hint = (
        near(source, config_names()) or f"; built-in names: {', '.join(config_names())}; a path ends in .toml"
    )
    raise BadInput(f"{source}: no built-in configuration of this name{hint}")


def _drop(tree: Tree, dotted_names: Iterable[str]) -> None:
    for dotted in dotted_names:
        table, _, name = dotted.rpartition(".")
        below = tree.get(table)
        if isinstance(below, dict):
            below.pop(name, None)


# ---- reading -------------------------------------------------------------------------------------


def _read(path: Path) -> Tree:
    label = _label(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            table = json.loads(text, object_hook=_unset)
            if not isinstance(table, dict):
                raise BadInput(f"{label}: not a configuration: an object is expected")
            return _tree(_of_earlier_version(table), lambda _: label)
        table = tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{label}: not JSON: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{label}: not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{label}: cannot be read: {error}") from None
    lines = key_lines(text)
    return _tree(table, lambda at: f"{label}:{line_of(lines, at)}")


def _of_earlier_version(table: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration with what earlier versions did where a key of today is absent."""
    problems = table.get("problems")
    if isinstance(problems, dict) and isinstance(table.get("seed"), int):
        # The run's seed used to move the split too; a resumed run keeps its problems and tests.
        table = {**table, "problems": {"split_seed": table["seed"], **problems}}
    return table


def _unset(table: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with null written as TOML files have to write it."""
    return {name: "none" if value is None else value for name, value in table.items()}


def _label(path: Path) -> str:
    """How messages name a file: as the user wrote it, built-in ones from ``configs/`` on."""
    return f"configs/{path.relative_to(CONFIGS)}" if path.is_relative_to(CONFIGS) else str(path)


def _tree(table: Mapping[str, Any], origin: Any, above: KeyPath = ()) -> Tree:
    return {
        name: _tree(value, origin, (*above, name))
        if isinstance(value, dict)
        else Leaf(value, origin((*above, name)))
        for name, value in table.items()
    }


def _override(argument: str, known: Mapping[str, Key]) -> Tree:
    dotted, _, text = argument.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not all(path):
        raise BadInput(f"argument {argument}: write key.path=value")
    origin = f"argument {argument}"
    value = _value(known.get(dotted_key(path)), text)
    tree: Tree | Leaf = _tree(value, lambda _: origin) if isinstance(value, dict) else Leaf(value, origin)
    for name in reversed(path):
        tree = {name: tree}
    assert isinstance(tree, dict)
    return tree


def _value(kind: Key | None, text: str) -> Any:
    """An override's value: TOML where it is TOML, else the text itself; lists may be written ``a,b``."""
    if kind is not None and kind.is_text and not text.startswith(('"', "'")):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    if set(parsed) == {"value"}:
        return (
            parsed["value"]
            if kind is None or not kind.is_list or isinstance(parsed["value"], list)
            else [text]
        )
    return text.split(",") if kind is not None and kind.is_list else text


# ---- merging -------------------------------------------------------------------------------------


def _merge(tree: Tree, new: Tree, beside: Path) -> None:
    """Lay ``new`` over ``tree``, table by table; ``beside`` is where relative context files start."""
    for name in PLUGIN_TABLES:
        plugin = new.get(name)
        if isinstance(plugin, Leaf):  # a name stands for the table that holds it
            plugin = {"name": plugin}
            new = {**new, name: plugin}
        if plugin and "name" in plugin:
            tree.pop(name, None)
    context = new.get("context")
    if isinstance(context, Leaf) and isinstance(context.value, str):
        tree.pop("context", None)
        new = {**new, "context": _context_table(context, beside)}
    elif isinstance(context, dict) and "name" in context:
        tree.pop("context", None)
    _overlay(tree, new)


def _overlay(tree: Tree, new: Tree) -> None:
    for name, value in new.items():
        below = tree.get(name)
        if isinstance(value, dict):
            if not isinstance(below, dict):
                below = tree[name] = {}
            _overlay(below, value)
        else:
            tree[name] = value


def _context_table(leaf: Leaf, beside: Path) -> Tree:
    name: str = leaf.value
    try:
        path = config_path(str(beside / expand(name)) if name.endswith(".toml") else f"contexts/{name}")
    except BadInput as error:
        raise BadInput(f"{leaf.origin}: {error}") from None
    fragment = _read(path)
    context = fragment.pop("context", None)
    if not isinstance(context, dict) or fragment:
        raise BadInput(f"{_label(path)}: a context file holds one [context] table and nothing else")
    return context


def _plain(tree: Tree, above: KeyPath = ()) -> dict[str, Any]:
    """The tree as pydantic's strict mode wants it: tuples for lists, None for "none", ISO text for dates."""
    plain: dict[str, Any] = {}
    for name, value in tree.items():
        path = (*above, name)
        if isinstance(value, dict):
            plain[name] = _plain(value, path)
            continue
        kind = keys().get(dotted_key(path))
        plain[name] = _strict(value.value)
        if kind is not None and kind.may_be_unset and value.value == "none":
            plain[name] = None
        elif kind is not None and kind.is_text and isinstance(value.value, date):
            plain[name] = value.value.isoformat()
    return plain


def _strict(value: Any) -> Any:
    return tuple(_strict(item) for item in value) if isinstance(value, list) else value
