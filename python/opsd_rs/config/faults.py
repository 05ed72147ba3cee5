"""What is wrong with a configuration, in words: the key, the file and line that set it, the nearest valid name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from opsd_rs.base import near
from opsd_rs.config.checks import Finding
from opsd_rs.config.tree import keys
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Leaf(NamedTuple):
    """A value and who set it.

    >>> Leaf(8, "demo.toml:3").origin
    'demo.toml:3'
    """

    value: Any
    origin: str


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
    if fault["type"] == "extra_forbidden":
        return f"{origin}: {dotted} is not a key{_did_you_mean(dotted)}"
    if fault["type"] in ("model_type", "model_attributes_type", "dataclass_type"):
        return f"{origin}: {dotted} is a table; write [{dotted}] or {dotted}.key = value"
    message = fault["msg"].replace("Input should be", "must be", 1)
    return f"{origin}: {dotted} {message}, not {_shown(fault['input'])}"


def _did_you_mean(dotted: str) -> str:
    known = list(keys())
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
