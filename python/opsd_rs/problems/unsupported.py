"""A row of a known data set that cannot become a problem of ours."""

from __future__ import annotations

from opsd_rs.errors import BadInput


class Unsupported(BadInput):
    """The row is whole, but is no program to grade, or has tests that a program's output cannot be held against.

    A reader of whole files leaves such rows out and counts them; a row that someone asks for by name is an error.
    """
