"""Model folders by name or path, and the small real model that is built once into the user's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.model.cache import facts, fetch, resolve
    from opsd_rs.model.size import num_parameters
    from opsd_rs.model.weights import weights_id

__all__ = ["facts", "fetch", "num_parameters", "resolve", "weights_id"]
__getattr__, __dir__ = lazy_exports(__name__, {
    "cache": ["facts", "fetch", "resolve"],
    "size": ["num_parameters"],
    "weights": ["weights_id"],
})  # fmt: skip
