"""Tables whose keys a plugin brings along: ``[objective]`` holds a name, and the options of the class behind it.

The keys of ``Options`` are checked with the rest of the tree, strictly, and stand in it with their defaults, so that
``config show``, the run's ``config.json`` and messages treat them like any other key. See ``base.plugins`` for how a
plugin is named and what it declares.

What it does not do: import registered plugins; their keys stand in tables of the tree's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar, get_args

from pydantic import ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from opsd_rs.base import REGISTERED, resolve_plugin
from opsd_rs.config.section import Section
from opsd_rs.errors import BadInput


class PluginConfig(Section):
    """A plugin's name and its own keys. Subclasses give ``kind`` and the default of ``name``."""

    model_config = ConfigDict(extra="allow")

    kind: ClassVar[str]
    name: str

    @property
    def options(self) -> Section:
        """The plugin's own keys, checked: an instance of its ``Options``."""
        return checked_options(self.kind, self.name, self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _own_keys(cls, table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        name = table.get("name", cls.model_fields["name"].default)
        if not isinstance(name, str):
            return table
        own = {key: value for key, value in table.items() if key != "name"}
        try:
            options = checked_options(cls.kind, name, own)
        except BadInput as error:
            raise PydanticCustomError("plugin", "{reason}", {"reason": str(error)}) from error
        return {"name": name, **options.model_dump(by_alias=True)}


def options_class(kind: str, name: str, *, key: str | None = None) -> type[Section]:
    """The section that the plugin brings; one without keys where it brings none.

    :param key: how messages call the key that holds the name
    :raises BadInput: an unknown plugin, or ``Options`` that is no ``Section``
    """
    if name in REGISTERED[kind]:
        return Section
    found = getattr(resolve_plugin(kind, name, key=key), "Options", Section)
    if not (isinstance(found, type) and issubclass(found, Section)):
        raise BadInput(
            f"{key or f'{kind}.name'} = {name}: its Options must be a subclass of opsd_rs.config.Section"
        )
    return found


def checked_options(kind: str, name: str, table: Mapping[str, Any], *, key: str | None = None) -> Section:
    """``table`` as the plugin's own section. Raises pydantic's ValidationError, located within the table."""
    section = options_class(kind, name, key=key)
    optional = {
        info.alias or field
        for field, info in section.model_fields.items()
        if type(None) in get_args(info.annotation)
    }
    plain = {k: None if k in optional and value == "none" else value for k, value in table.items()}
    # As JSON: a list may then be a tuple and a TOML date a text, and all else stays strict.
    return section.model_validate_json(json.dumps(plain, default=_iso), by_alias=True)


def _iso(value: Any) -> str:
    assert isinstance(value, date), f"{value!r} is no TOML value"
    return value.isoformat()
