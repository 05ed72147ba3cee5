"""The commands ``law predict``, ``law show``, ``law import`` and ``law backtest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opsd_rs.cli.options import format_option, path_type, show
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsd_rs.law import Terms

law_argument = click.argument("law", metavar="LAW")
worthwhile = click.option(
    "--worthwhile", type=float, default=0.01, show_default=True,
    help="Smallest gain that a run is worth, a fraction: 0.02 is two points.",
)  # fmt: skip
confidence = click.option(
    "--confidence", type=float, default=0.8, show_default=True,
    help="How likely a gain must be to train, and no gain to skip.",
)  # fmt: skip
assume = click.option(
    "--assume", multiple=True, metavar="KEY=VALUE", help="A setting of the law's domain that the table lacks."
)
force = click.option("--force", is_flag=True, help="Forecast outside of the law's domain, with a flag.")


def terms_of(**options: Any) -> Terms:
    from opsd_rs.law import Terms

    return Terms(**options)


@click.command("predict")
@law_argument
@click.argument("table", type=path_type, metavar="TABLE")
@worthwhile
@confidence
@assume
@force
@click.option("--transfer", is_flag=True, help="A family without a line gets the range of the others' lines.")
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Forecast the mean of so many runs; default: as fitted."
)
@click.option(
    "--px", type=click.Choice(["full", "excess"]), default="excess", show_default=True,
    help="How much of the gap's error counts: all of it, or what exceeds that of the fitted gaps.",
)  # fmt: skip
@click.option("--gpu-hours", type=float, help="Of one run.")
@click.option("--price-per-hour", type=float, help="Of a GPU.")
@click.option(
    "--value-per-point", type=float, help="Of a percentage point, in the same currency; then price decides."
)
@format_option
def law_predict(
    law: str,
    table: Path,
    worthwhile: float,
    confidence: float,
    assume: Sequence[str],
    force: bool,
    transfer: bool,
    seeds: int | None,
    px: str,
    gpu_hours: float | None,
    price_per_hour: float | None,
    value_per_point: float | None,
    form: str,
) -> None:
    """Forecast the gain of measured gaps, with intervals, and say: train, skip, measure more, or needs anchors.

    LAW is a law.json or a name that `law show` lists; TABLE has family, config_id and gap, as gap.parquet.
    """
    from opsd_rs.law import PredictOptions, format_predictions, predict_table

    terms = terms_of(
        worthwhile=worthwhile, confidence=confidence, gpu_hours=gpu_hours, price_per_hour=price_per_hour,
        value_per_point=value_per_point,
    )  # fmt: skip
    options = PredictOptions(
        terms=terms, num_seeds=seeds, assume=assume, force=force, transfer=transfer, excess=px == "excess"
    )
    forecasts = predict_table(law, table, options)
    show(forecasts, form) if form == "json" else click.echo("\n".join(format_predictions(forecasts)))
    _refuse_absent(law, forecasts)


def _refuse_absent(law: str, forecasts: Sequence[Mapping[str, Any]]) -> None:
    """A table of which no row has a line is bad input; where some have one, the others' flags say it."""
    absent = [row["family"] for row in forecasts if "family_absent" in row["flags"]]
    if absent and len(absent) == len(forecasts):
        raise BadInput(
            f"{law}: the law has no line for family {', '.join(dict.fromkeys(absent))}; fit runs of it, or give"
            " --transfer for the range of the others' lines"
        )


@click.command("show")
@click.argument("law", required=False, metavar="[LAW]")
@format_option
def law_show(law: str | None, form: str) -> None:
    """List the laws that come with the package, or print one: by its name or its file."""
    from opsd_rs.law import format_law, law_record, law_table, load_law

    if law is None:
        show(law_table(), form)
        return
    found = load_law(law)
    show(law_record(found), form) if form == "json" else click.echo("\n".join(format_law(found)))


@click.command("import")
@click.argument("tables", nargs=-1, required=True, type=path_type, metavar="TABLE...")
@click.option(
    "--out", type=path_type, required=True, metavar="runs.parquet", help="Add the runs to this table."
)
@click.option("--set", "defaults", multiple=True, metavar="COLUMN=VALUE", help="For rows that lack it.")
def law_import(tables: Sequence[Path], out: Path, defaults: Sequence[str]) -> None:
    """Runs of other tools as rows of runs.parquet: csv, jsonl, parquet, or exported histories (docs/law.md)."""
    from opsd_rs.law import import_tables

    pairs = [word.partition("=") for word in defaults]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise BadInput(f"--set {wrong[0]}: write COLUMN=VALUE")
    rows = import_tables(tables, out, {name: value for name, _, value in pairs})
    families = ", ".join(dict.fromkeys(row["family"] for row in rows))
    click.echo(f"{len(rows)} runs of {families} in {out}")


@click.command("backtest")
@law_argument
@click.argument("runs", nargs=-1, required=True, type=path_type, metavar="RUN...")
@worthwhile
@click.option(
    "--further-gain", type=float, default=0.005, show_default=True,
    help="Smallest gain that the rest of a run is worth, a fraction.",
)  # fmt: skip
@click.option("--confidence", type=float, default=0.95, show_default=True, help="How sure a stop must be.")
@assume
@force
@format_option
def law_backtest(
    law: str,
    runs: Sequence[Path],
    worthwhile: float,
    further_gain: float,
    confidence: float,
    assume: Sequence[str],
    force: bool,
    form: str,
) -> None:
    """What each stop rule would have done in finished runs: steps and GPU hours saved, accuracy lost."""
    from opsd_rs.law import PredictOptions, StopTerms, backtest_runs, format_backtest

    rows = backtest_runs(
        law, runs, StopTerms(worthwhile, further_gain, confidence), PredictOptions(assume=assume, force=force)
    )
    show(rows, form) if form == "json" else click.echo("\n".join(format_backtest(rows)))


FORECAST_COMMANDS = (law_predict, law_show, law_import, law_backtest)
