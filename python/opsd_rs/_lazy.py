"""Package faces that load nothing until a name is used.

A package's ``__init__.py`` lists what it exports and from which of its modules; the module is imported at the first
use of the name, so that ``import opsd_rs.loss`` costs nothing and torch is loaded only by those who call the loss.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def lazy_exports(
    package: str, exports: Mapping[str, str | Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of a package that exports names by module, a list or a text of them.

    >>> getter, names = lazy_exports("opsd_rs.base", {"disk": "MIB"})
    >>> getter("MIB"), names()
    (1048576, ['MIB'])
    """
    module_of = {
        name: module
        for module, names in exports.items()
        for name in (names.split() if isinstance(names, str) else names)
    }

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{module_of[name]}"), name)

    return get, lambda: sorted(module_of)
