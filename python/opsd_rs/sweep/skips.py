"""Whether a law says that a run need not be made, by its measured gap.

In: a law, the gap's row, the run's configuration. Out: the forecast in words where it says skip; None where the run is
to be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsd_rs.base import read_table
from opsd_rs.config import Config
from opsd_rs.errors import BadInput
from opsd_rs.law import predict_records
from opsd_rs.training import recipe_columns


def check_law(law: str) -> None:
    """Read the law.

    :raises BadInput: there is none, or it cannot forecast
    """
    predict_records(Path(law), [{"family": "?", "config_id": "?", "gap": 0.0}], "?")


def forecast_that_skips(law: str, gaps: Path, config: Config) -> str | None:
    """The forecast of a run from its context's newest gap in the table ``gaps``, in words, where it advises to skip.

    The gap may have been measured under another recipe: what a recipe is told by is that of ``config``.

    :raises BadInput: no gap of the context, or a law that does not hold for this run
    """
    context = config.context.name
    rows = [row for row in read_table(gaps) if row.get("context") == context]
    if not rows:
        raise BadInput(f"{gaps} holds no gap of context {context}: skip_by_law has nothing to forecast from")
    (forecast,) = predict_records(Path(law), [{**rows[-1], **recipe_columns(config)}], str(gaps))
    return in_words(forecast) if forecast.get("decision") == "skip" else None


def in_words(forecast: Mapping[str, Any]) -> str:
    """A forecast that says skip, in one line.

    >>> in_words({"gap": -0.03, "forecast": -0.02, "pi80_run": [-0.05, 0.005], "reason": "no gain is likely"})
    'gap -0.030, forecast -0.020 (80 %: -0.050 to +0.005): no gain is likely'
    """
    value, interval = forecast.get("forecast"), forecast.get("pi80_run") or forecast.get("pi80")
    said = f"gap {forecast['gap']:+.3f}"
    if value is not None:
        said += f", forecast {value:+.3f}"
    if interval:
        low, high = interval
        said += f" (80 %: {low:+.3f} to {high:+.3f})"
    return f"{said}: {forecast['reason']}" if forecast.get("reason") else said
