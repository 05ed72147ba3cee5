"""What is wrong with a configuration, in words: the key, the file and line that set it, the nearest valid name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from opsd_rs.config.checks import Finding
from opsd_rs.config.keys import Key, keys, keys_of
from opsd_rs.config.plugin_list import table_of
from opsd_rs.config.plugins import options_class
from opsd_rs.config.tree import PLUGIN_TABLES
from opsd_rs.errors import BadInput, near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Leaf(NamedTuple):
    """A value and who set it.

    >>> Leaf(8, "demo.toml:3").origin
    'demo.toml:3'
    """

    value: Any
    origin: str


REPLACED = {
    "train.micro_batch_rows": "train.micro_batch_tokens replaces it, a budget of tokens instead of rows; left out, it"
    " is chosen from the GPU's free memory",
}
"""Keys of earlier versions, and what to write now."""

Tree: TypeAlias = dict[str, "Tree | Leaf"]

KeyPath: TypeAlias = tuple[str, ...]


class ConfigFaults(BadInput):
    """Everything wrong with a configuration; ``faults`` holds one line for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


# ---- saying what is wrong ------------------------------------------------------------------------


def describe_fault(tree: Tree, fault: Any) -> str:
    """One line for one pydantic fault: where it was set, which key, what is wrong, the likely fix."""
    path = key_path(fault["loc"])
    dotted = dotted_key(path)
    origin = origin_of(tree, path)
    if fault["type"] == "plugin":
        named = path if path[-1] == "to" else (*path, "name")
        return f"{origin_of(tree, named)}: {fault['msg']}"
    if fault["type"] == "extra_forbidden":
        if said := REPLACED.get(dotted):
            return f"{origin}: {dotted} is no longer a key: {said}"
        return f"{origin}: {dotted} is not a key{_did_you_mean(dotted, list(known_keys(tree)))}"
    if fault["type"] in ("model_type", "model_attributes_type", "dataclass_type"):
        return f"{origin}: {dotted} is a table; write [{dotted}] or {dotted}.key = value"
    message = fault["msg"].replace("Input should be", "must be", 1)
    return f"{origin}: {dotted} {message}, not {_shown(fault['input'])}"


def known_keys(tree: Tree) -> Mapping[str, Key]:
    """The keys of the configuration, and those of the plugins that ``tree`` names."""
    known = dict(keys())
    for table, section in PLUGIN_TABLES.items():
        below = tree.get(table)
        name = below.get("name") if isinstance(below, dict) else None
        if isinstance(name, Leaf) and isinstance(name.value, str):
            with suppress(BadInput):  # said when the tree is checked
                known |= keys_of(options_class(section.kind, name.value), f"{table}.")
    log = tree.get("log")
    names = log.get("to") if isinstance(log, dict) else None
    if isinstance(names, Leaf) and isinstance(names.value, list):
        for name in filter(lambda value: isinstance(value, str), names.value):
            with suppress(BadInput):
                known |= keys_of(options_class("logger", name, key="log.to"), f"log.{table_of(name)}.")
    return known


def _did_you_mean(dotted: str, known: Sequence[str]) -> str:
    last = dotted.rpartition(".")[2]
    if same := [key for key in known if key.rpartition(".")[2] == last]:
        return f"; did you mean {' or '.join(same[:3])}?"
    return near(dotted, known)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def key_path(location: Sequence[str | int]) -> KeyPath:
    """A pydantic location as a path of keys; places in lists are left out."""
    return tuple(part for part in location if isinstance(part, str))


def dotted_key(path: Sequence[str]) -> str:
    return ".".join(path)


def located(tree: Tree, finding: Finding) -> str:
    return f"{origin_of(tree, tuple(finding.key.split('.')))}: {finding.key} = {finding.text}"


def origin_of(tree: Tree, path: KeyPath) -> str:
    """Who set the key at ``path``, or the table above or below it."""
    node: Tree | Leaf | None = tree
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return "default"
        node = node[name]
        if isinstance(node, Leaf):
            return node.origin
    while isinstance(node, dict) and node:
        node = next(iter(node.values()))
    return node.origin if isinstance(node, Leaf) else "default"


def origins(tree: Tree, above: KeyPath = ()) -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        path = (*above, name)
        if isinstance(value, dict):
            yield from origins(value, path)
        else:
            yield dotted_key(path), value.origin
