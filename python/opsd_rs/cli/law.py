"""The commands below ``law``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsd_rs.cli.options import format_option, path_type, show

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group()
def law() -> None:
    """The line from gap to improvement: fit it on finished runs, predict new ones."""


@law.command("fit")
@click.argument("tables", nargs=-1, required=True, type=path_type, metavar="TABLE...")
@format_option
@click.option("--out", type=path_type, metavar="law.json", help="Write the law here, for `law predict`.")
@click.option("--figure", type=path_type, metavar="PATH", help="Draw the points and lines here (.svg, .png).")
@click.option(
    "--with-none", is_flag=True, help="Fit the control none too, whose gap and gain are 0 by construction."
)
def law_fit(
    tables: Sequence[Path], form: str, out: Path | None, figure: Path | None, with_none: bool
) -> None:
    """Least squares per family on configuration means; TABLE is parquet, csv or jsonl."""
    from opsd_rs.law import figure1, fit_tables, format_table, save

    fitted = fit_tables(tables, with_none=with_none)
    if out is not None:
        save(fitted, out)
    if figure is not None:
        for path in figure1(fitted, figure):
            click.echo(f"figure: {path}", err=True)
    show(fitted, form) if form == "json" else click.echo("\n".join(format_table(fitted)))
