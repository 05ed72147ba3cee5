"""Whether a law says that a run need not be made, by its measured gap.

In: a law and the gap's row. Out: the forecast in words where it says skip; None where the run is to be made.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from opsd_rs.base import read_table, write_table
from opsd_rs.errors import BadInput
from opsd_rs.law import predict_table


def forecast_that_skips(law: Path, gaps: Path, context: str) -> str | None:
    """The forecast of a context's newest gap in the table ``gaps``, in words, where it advises to skip.

    :raises BadInput: no gap of the context, or a law that cannot forecast it
    """
    rows = [row for row in read_table(gaps) if row.get("context") == context]
    if not rows:
        raise BadInput(f"{gaps} holds no gap of context {context}: skip_by_law has nothing to forecast from")
    with tempfile.TemporaryDirectory(prefix="opsd-rs-sweep-") as folder:
        table = Path(folder) / "gap.parquet"
        write_table(table, rows[-1:])
        (forecast,) = predict_table(law, table)
    return in_words(forecast) if forecast.get("decision") == "skip" else None


def in_words(forecast: dict[str, Any]) -> str:
    """A forecast that says skip, in one line.

    >>> in_words({"gap": -0.03, "forecast": -0.02, "pi80": [-0.05, 0.005], "reason": "no gain is likely"})
    'gap -0.030, forecast -0.020 (80 %: -0.050 to +0.005): no gain is likely'
    """
    value, interval = forecast.get("forecast"), forecast.get("pi80")
    said = f"gap {forecast['gap']:+.3f}"
    if value is not None:
        said += f", forecast {value:+.3f}"
    if interval:
        low, high = interval[0], interval[1]
        said += f" (80 %: {low:+.3f} to {high:+.3f})"
    return f"{said}: {forecast['reason']}" if forecast.get("reason") else said
