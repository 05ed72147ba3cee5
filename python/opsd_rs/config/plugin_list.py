"""Tables that name several plugins of a kind: ``[log]`` holds a list, ``[log.NAME]`` the keys of one of them.

NAME is the registered name, or the attribute of ``module:attribute``. The keys are checked with the rest of the tree,
as those of ``config.plugins`` are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from opsd_rs.config.plugins import checked_options
from opsd_rs.config.section import Section
from opsd_rs.errors import BadInput


class PluginListConfig(Section):
    """Names of plugins, in order, and a table for each that has keys. Subclasses give kind, key and default, and may
    have keys beside the list."""

    model_config = ConfigDict(extra="allow")

    kind: ClassVar[str]
    key: ClassVar[str]
    """How messages call ``to``."""
    to: tuple[str, ...]

    def options_of(self, name: str) -> Section:
        """The keys of the plugin ``name``, checked: an instance of its ``Options``."""
        tables = self.model_extra or {}
        return checked_options(self.kind, name, tables.get(table_of(name), {}), key=self.key)

    @model_validator(mode="before")
    @classmethod
    def _own_tables(cls, table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        names = table.get("to", cls.model_fields["to"].default)
        if not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
            return table
        found: dict[str, Any] = {key: value for key, value in table.items() if key in cls.model_fields}
        faults: list[InitErrorDetails] = [
            {"type": "extra_forbidden", "loc": (key,), "input": value}
            for key, value in table.items()
            if key not in cls.model_fields and key not in map(table_of, names)
        ]
        for name in names:
            place = table_of(name)
            if place in cls.model_fields:
                taken = f"{name}: {cls.key.rpartition('.')[0]}.{place} is a key of its own; give the class another name"
                reason = PydanticCustomError("plugin", "{reason}", {"reason": taken})
                faults.append({"type": reason, "loc": ("to",), "input": name})
                continue
            own = table.get(place, {})
            if not isinstance(own, Mapping):
                wrong: InitErrorDetails = {"type": "model_type", "loc": (place,), "input": own}
                faults.append({**wrong, "ctx": {"class_name": "Options"}})
                continue
            try:
                options = checked_options(cls.kind, name, own, key=cls.key).model_dump(by_alias=True)
            except BadInput as error:
                reason = PydanticCustomError("plugin", "{reason}", {"reason": str(error)})
                faults.append({"type": reason, "loc": ("to",), "input": name})
                continue
            except ValidationError as error:
                faults += [
                    {
                        "type": e["type"],
                        "loc": (place, *e["loc"]),
                        "input": e["input"],
                        "ctx": e.get("ctx", {}),
                    }
                    for e in error.errors(include_url=False)
                ]
                continue
            if options:
                found[place] = options
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return found


def table_of(name: str) -> str:
    """The table that holds the keys of the plugin ``name``.

    >>> table_of("jsonl"), table_of("my_loggers.py:Printer")
    ('jsonl', 'Printer')
    """
    return name.rpartition(":")[2]
