"""The configuration as text for people: resolved TOML with origins, what set one key, the list of all keys.

In: a ``Resolved`` tree, or the tree's own definition. Out: text. The meaning of each key is written once: it is the
description of its field, or else the string below it in ``config/tree.py`` or ``config/context.py``, read here from the
source; ``config/objectives.py`` likewise.
"""

from __future__ import annotations

import ast
import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from opsd_rs.config import context as context_module
from opsd_rs.config import objectives as objectives_module
from opsd_rs.config import tree as tree_module
from opsd_rs.config.files import Resolved
from opsd_rs.config.keys import keys
from opsd_rs.config.tree import Config, Section
from opsd_rs.errors import BadInput, near

_INTRODUCTION = """\
# Configuration

One tree of tables. Files are TOML; they merge from left to right, and `key.path=value` arguments come last:

    opsd-rs train paper/qwen3-8b contexts/feedback optim.lr=2e-6

A source is a built-in name (a file of `python/opsd_rs/configs/` without its ending) or a path ending in
`.toml`. `context = "feedback"` stands for the `[context]` table of `contexts/feedback.toml`. A context that
has a name replaces the one before it; a `[context]` table without a name changes single keys. `objective = "opsd"`
is short for `[objective]` with that name, and an objective of your own (`module:attribute`) brings further keys of
that table. The string `"none"` unsets a key that may be unset. Paths of problems, models and runs start at the working
directory.

`opsd-rs config show SOURCES...` prints the resolved tree with the origin of each key. The tables below are
written by `opsd-rs config keys --format markdown`; a test keeps this page equal to its output.
"""


def dotted_values(tree: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value, in the order of the tree; of a configuration, or of one that was read from JSON."""
    table = tree if isinstance(tree, Mapping) else tree.model_dump(mode="json", by_alias=True)
    return dict(_flat(table, ""))


def to_toml(resolved: Resolved) -> str:
    """The resolved tree as TOML that loads to the same tree; comments say what set each key."""
    parts: list[str] = []
    table = ""
    for dotted, value in dotted_values(resolved.config).items():
        above, _, name = dotted.rpartition(".")
        if above != table:
            parts.append(f"\n[{above}]")
            table = above
        origin = resolved.origins.get(dotted)
        parts.append(f"{name} = {_toml(value)}" + (f" # {origin}" if origin else ""))
    return "\n".join(parts) + "\n"


def explain_key(resolved: Resolved, dotted: str) -> str:
    """One key: its value, and the file and line or argument that set it."""
    found = {
        key: value
        for key, value in dotted_values(resolved.config).items()
        if f"{key}.".startswith(f"{dotted}.")
    }
    if not found:
        raise BadInput(f"--why {dotted}: not a key{near(dotted, list(keys()))}")
    return "\n".join(
        f"{key} = {_toml(value)} # {resolved.origins.get(key, 'default')}" for key, value in found.items()
    )


def key_rows() -> list[dict[str, Any]]:
    """Every key with type, default and meaning, one mapping each."""
    meanings = _meanings()
    defaults = dotted_values(Config())
    return [
        {
            "key": dotted,
            "type": _type(key.annotation),
            "default": _toml(defaults[dotted]),
            "meaning": meanings.get(dotted, ""),
        }
        for dotted, key in keys().items()
    ]


def key_reference() -> str:
    """``docs/config.md``."""
    parts = [_INTRODUCTION]
    table: str | None = None
    titles = _titles()
    for row in key_rows():
        above, _, name = row["key"].rpartition(".")
        if above != table:
            heading = f"## `[{above}]`\n\n{_escape(titles[above])}" if above else "## Top level"
            parts.append(f"\n{heading}\n\n| key | type | default | meaning |\n|---|---|---|---|")
            table = above
        cells = [f"`{name}`", *(_escape(row[column]) for column in ("type", "default", "meaning"))]
        parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


def _flat(tree: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():  # single values first: TOML cannot leave a table again
        if not isinstance(value, Mapping):
            yield above + name, value
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")


def _toml(value: Any) -> str:
    """A TOML value. JSON's strings, numbers and booleans are TOML's too; null is the string "none"."""
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    text = json.dumps("none" if value is None else value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text


def _type(annotation: Any) -> str:
    """How a reader would say the type: the schema pydantic makes of it, in words."""
    from pydantic import TypeAdapter

    return _words(TypeAdapter(annotation).json_schema())


def _words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_words(part) for part in schema["anyOf"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return ", ".join(json.dumps(choice) for choice in schema["enum"])
    if schema["type"] == "array":
        items = schema.get("prefixItems", ())
        return f"list of {len(items)} numbers" if items else f"list of {_words(schema['items'])}"
    kind = {"null": "unset", "string": "text", "boolean": "true or false"}.get(schema["type"], schema["type"])
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return " ".join([kind, ", ".join(bounds)]).strip()


@cache
def _classes() -> dict[str, ast.ClassDef]:
    files = [
        Path(str(module.__file__)).read_text(encoding="utf-8")
        for module in (tree_module, context_module, objectives_module)
    ]
    nodes = [node for text in files for node in ast.parse(text).body]
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def _meanings() -> dict[str, str]:
    """Dotted key -> the string below its field."""
    found: dict[str, str] = {}
    for above, section in _sections(Config, ""):
        found |= {
            above + (info.alias or name): info.description
            for name, info in section.model_fields.items()
            if info.description is not None
        }
        for field, below in itertools.pairwise(_classes()[section.__name__].body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = _string(below)
                if text:
                    info = section.model_fields[field.target.id]
                    found[above + (info.alias or field.target.id)] = text
    return found


def _titles() -> dict[str, str]:
    """Dotted table -> the first line of its class."""
    return {
        above.rstrip("."): " ".join((ast.get_docstring(_classes()[section.__name__]) or "").split())
        for above, section in _sections(Config, "")
    }


def _string(node: ast.stmt) -> str:
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return " ".join(node.value.value.split())
    return ""


def _sections(section: type[Section], above: str) -> Iterator[tuple[str, type[Section]]]:
    yield above, section
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from _sections(info.annotation, f"{above}{name}.")


def _escape(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")
