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
    "--px", type=click.Choice(["full", "excess"]), default="full", show_default=True,
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


FORECAST_COMMANDS = (law_predict,)
