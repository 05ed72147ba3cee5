"""What every table of the configuration is made of: strict sections and bounded numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from opsd_rs.base import expand

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NaturalInt = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A table of the configuration: frozen, strict types, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


def expanded(text: str | None) -> str | None:
    """A path as the configuration keeps it: ``~`` replaced. For a validator of the keys that hold one."""
    return None if text is None else str(expand(text))
