"""The dotted keys of the configuration, with their types and defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from opsd_rs.config.section import Section
from opsd_rs.config.tree import Config


class Key(NamedTuple):
    """What the tree says about one dotted key.

    >>> keys()["loss.topk"].may_be_unset, keys()["gap.contexts"].is_list
    (True, True)
    """

    annotation: Any
    default: Any
    may_be_unset: bool
    is_text: bool
    """Free text: a value such as ``2025`` on the command line is meant as these letters."""
    is_list: bool


@cache
def keys() -> Mapping[str, Key]:
    """Every dotted key of the tree, in order, with its type and default; ``gap.from``, not ``gap.from_``."""
    return MappingProxyType(keys_of(Config, ""))


def keys_of(section: type[Section], above: str) -> dict[str, Key]:
    """The keys of one table; ``above`` is what comes before their names."""
    return dict(_keys(section, above))


def _keys(section: type[Section], above: str) -> Iterator[tuple[str, Key]]:
    for name, info in section.model_fields.items():
        dotted = above + (info.alias or name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from _keys(info.annotation, f"{dotted}.")
            continue
        members = get_args(info.annotation)
        unset = type(None) in members
        kinds = [kind for kind in members if kind is not type(None)] if unset else [info.annotation]
        yield (
            dotted,
            Key(
                # pydantic keeps a field's bounds apart from its type
                annotation=Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation,
                default=info.default,
                may_be_unset=unset,
                is_text=kinds == [str],
                is_list=any(get_origin(kind) is tuple for kind in kinds),
            ),
        )
