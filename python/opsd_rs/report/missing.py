"""The error of a figure or table whose numbers are not there."""

from __future__ import annotations

from opsd_rs.errors import BadInput


class Missing(BadInput):
    """A report says it and goes on; ``opsd-rs figure`` ends with it."""
