"""Names of the function that a problem calls, as data sets spell them."""

from __future__ import annotations

import keyword
import re
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.inputs import is_absent, short


def entry_name(value: Any, key: str) -> str | None:
    """The name, ``add`` or ``Class.add``; None where the value is absent or empty.

    :param key: what holds it, for messages
    :raises BadInput: a name that no program can have

    >>> entry_name("Solution().add", "entry_point"), entry_name("", "fn_name")
    ('Solution.add', None)
    """
    if is_absent(value):
        return None
    if not isinstance(value, str):
        raise BadInput(f"key {key}: must be a string, found {type(value).__name__}")
    name = re.sub(r"^(\w+)\(\)\.", r"\1.", value.strip())
    if not name:
        return None
    parts = name.split(".")
    if len(parts) > 2 or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise BadInput(
            f"key {key}: {short(value)} is neither a name nor Class.name, so no program can have it"
        )
    return name
