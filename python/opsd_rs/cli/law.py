"""The commands below ``law`` that fit, check and plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsd_rs.cli.options import format_option, path_type, show

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUPINGS = ("family", "size", "base-model", "context", "recipe", "horizon", "dataset", "split")
AUDIT_FAILED = 4


@click.group()
def law() -> None:
    """The line from gap to improvement: fit it on finished runs, predict new ones."""


tables_argument = click.argument("tables", nargs=-1, required=True, type=path_type, metavar="TABLE...")
by_option = click.option(
    "--by",
    type=click.Choice(GROUPINGS),
    default="family",
    show_default=True,
    help="One line per family, or per value within it; context: one line over all models of a context.",
)
with_none_option = click.option(
    "--with-none", is_flag=True, help="Fit the control none too, whose gap and gain are 0 by construction."
)
strict_option = click.option("--strict", is_flag=True, help="Exit with 4 if an audit fails.")


@law.command("fit")
@tables_argument
@format_option
@click.option("--out", type=path_type, metavar="law.json", help="Write the law here, for `law predict`.")
@click.option("--figure", type=path_type, metavar="PATH", help="Draw the points and lines here (.svg, .png).")
@by_option
@with_none_option
@click.option(
    "--predictor", "predictors", multiple=True, metavar="COLUMN", help="Fit this column beside the gap."
)
@click.option(
    "--samples",
    multiple=True,
    type=path_type,
    metavar="PATH",
    help="Graded answers for the bootstrap: samples.parquet or run folders. [default: beside TABLE]",
)
@click.option(
    "--draws",
    type=click.IntRange(0),
    default=2000,
    show_default=True,
    help="Of the bootstrap; 0 leaves it out.",
)
@strict_option
def law_fit(
    tables: Sequence[Path],
    form: str,
    out: Path | None,
    figure: Path | None,
    by: str,
    with_none: bool,
    predictors: Sequence[str],
    samples: Sequence[Path],
    draws: int,
    strict: bool,
) -> None:
    """Least squares per family on configuration means; TABLE is parquet, csv or jsonl."""
    from opsd_rs.law import add_bootstrap, figure1, fit_tables, format_table, save

    fitted = fit_tables(tables, with_none=with_none, by=by, predictors=predictors)
    if draws:
        add_bootstrap(fitted, samples, tables, draws=draws)
    if out is not None:
        save(fitted, out)
    if figure is not None:
        for path in figure1(fitted, figure):
            click.echo(f"figure: {path}", err=True)
    show(fitted, form) if form == "json" else click.echo("\n".join(format_table(fitted)))
    _exit_if_failed(fitted, strict)


@law.command("check")
@tables_argument
@format_option
@by_option
@with_none_option
@strict_option
def law_check(tables: Sequence[Path], form: str, by: str, with_none: bool, strict: bool) -> None:
    """The audits of a fit alone: influence, shape, noise, baselines, control."""
    from opsd_rs.law import fit_tables, format_checks

    fitted = fit_tables(tables, with_none=with_none, by=by)
    if form == "json":
        show({name: entry["audits"] for name, entry in fitted["families"].items()}, form)
    else:
        click.echo("\n".join(format_checks(fitted)))
    _exit_if_failed(fitted, strict)


def _exit_if_failed(fitted: dict[str, object], strict: bool) -> None:
    from opsd_rs.law import failed_audits

    failed = failed_audits(fitted)
    if strict and failed:
        click.echo(f"error: audit failed: {'; '.join(failed)}", err=True)
        click.get_current_context().exit(AUDIT_FAILED)


@law.command("power")
@click.argument("tables", nargs=-1, type=path_type, metavar="[SAMPLES]...")
@format_option
@click.option("--accuracy", type=float, help="Of the student. [default: 0.28, or from SAMPLES]")
@click.option(
    "--icc", type=float, help="Correlation of answers to one problem. [default: 0.68, or from SAMPLES]"
)
@click.option("--problems", type=click.IntRange(2), default=131, show_default=True)
@click.option(
    "--gap-samples", type=click.IntRange(2), default=8, show_default=True, help="Answers per problem."
)
@click.option(
    "--val-samples", type=click.IntRange(1), default=4, show_default=True, help="Answers per problem."
)
@click.option(
    "--training-sd", type=float, default=0.01, show_default=True, help="Between seeds, beyond sampling."
)
@click.option(
    "--tau", type=float, default=0.02, show_default=True, help="Scatter of contexts about the line."
)
@click.option("--slope", type=float, default=1.0, show_default=True)
@click.option(
    "--gaps", type=(float, float), default=(0.0, 0.15), show_default=True, help="Lowest and highest."
)
def law_power(tables: Sequence[Path], form: str, **given: float) -> None:
    """What a study could see: smallest visible differences, contexts and seeds that show a slope.

    SAMPLES are graded answers (samples.parquet, run folders) that accuracy and icc are taken from.
    """
    from opsd_rs.law import format_power, power_tables

    found = power_tables(tables, **given)
    show(found, form) if form == "json" else click.echo("\n".join(format_power(found)))


@law.command("simulate")
@format_option
@click.option("--out", type=path_type, metavar="runs.parquet", help="Write the drawn runs here.")
@click.option("--samples", type=path_type, metavar="samples.parquet", help="Write their graded answers here.")
@click.option("--slope", type=float, default=1.5, show_default=True)
@click.option("--intercept", type=float, default=0.0, show_default=True)
@click.option("--contexts", type=click.IntRange(3), default=6, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--gaps", type=(float, float), default=(0.0, 0.15), show_default=True, help="Lowest and highest."
)
@click.option(
    "--tau", type=float, default=0.01, show_default=True, help="Scatter of contexts about the line."
)
@click.option(
    "--training-sd", type=float, default=0.01, show_default=True, help="Between seeds, beyond sampling."
)
@click.option("--problems", type=click.IntRange(2), default=131, show_default=True)
@click.option(
    "--accuracy", type=float, default=0.28, show_default=True, help="Of the student before training."
)
@click.option(
    "--icc", type=float, default=0.68, show_default=True, help="Correlation of answers to one problem."
)
@click.option("--split-baselines", is_flag=True, help="Each run measures its own accuracy before training.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--study", metavar="N", help="Run a simulation study instead: 1, 1b, 2, 3, 5, 6 or 9.")
@click.option("--worlds", type=click.IntRange(2), default=4000, show_default=True, help="Of a study.")
def law_simulate(
    form: str, out: Path | None, samples: Path | None, study: str | None, worlds: int, **given: object
) -> None:
    """Draw runs of a known slope, fit them, and print what was true beside what was found."""
    from opsd_rs.law import format_recovered, format_study, recover, run_study

    if study is not None:
        found = run_study(study, worlds, int(str(given["seed"])))
        show(found, form) if form == "json" else click.echo("\n".join(format_study(found)))
        return
    recovered = recover(given, out, samples)
    show(recovered, form) if form == "json" else click.echo("\n".join(format_recovered(recovered)))
