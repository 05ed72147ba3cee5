"""Options that several commands share. Loads click alone."""

from __future__ import annotations

from pathlib import Path

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
