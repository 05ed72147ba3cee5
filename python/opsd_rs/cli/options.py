"""Options and output that several commands share. Loads click alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people or programs.",
)
path_type = click.Path(path_type=Path)
sources = click.argument("words", nargs=-1, required=True, metavar="CONFIG... [KEY=VALUE]...")


def show(result: Any, form: str) -> None:
    """Print a command's result on stdout."""
    from opsd_rs.base import print_result

    print_result(result, form)
