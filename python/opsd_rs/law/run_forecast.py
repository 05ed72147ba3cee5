"""The forecast of one run: checked before it starts, said once its gap is measured, kept on disk.

In: a law and the run's columns, those of its row in ``gap.parquet``. Out: a JSON-able record, ``RUN/forecast.json``,
from which a stop rule takes its prior and a figure the predicted end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsd_rs.law.curve import Look
from opsd_rs.law.decide import Measured, Terms, decide
from opsd_rs.law.domain import domain_flags
from opsd_rs.law.fit import group_name
from opsd_rs.law.forecasts import Spread, forecast
from opsd_rs.law.laws import Law
from opsd_rs.law.predict import prediction
from opsd_rs.law.rows import row_of


def check_run(law: Law, columns: Mapping[str, Any], *, force: bool = False) -> list[str]:
    """The flags of the law's domain for a run that is to start; nothing of its gap is known yet.

    :param columns: the run's, with ``family``, ``config_id`` and those of ``law.rows.DOMAIN``
    :raises BadInput: the law cannot forecast this family, or holds under other settings and nobody forces it
    """
    row = row_of({**columns, "gap": 0.0}, "the run", improvement=False)
    entry = law.entry(group_name(row, law.by))
    return domain_flags(
        entry.get("domain") or {},
        [row],
        f"law.file = {law.name}",
        assumed={},
        force=force,
        assume="name another law",
        override="set law.force = true",
    )


def forecast_run(
    law: Law, record: Mapping[str, Any], start: Look, *, worthwhile: float, force: bool = False
) -> dict[str, Any]:
    """The run's forecast: gains as ``predict_table`` gives them for one new run, and its end as accuracies.

    :param record: the run's row of ``gap.parquet``
    :param start: the student's validation before training
    :raises BadInput: as ``check_run``, or a gap that is no number
    """
    flags = check_run(law, record, force=force)
    row = row_of({**record, "acc_val0": start.accuracy}, "the run's gap", improvement=False)
    entry = law.entry(group_name(row, law.by))
    made = forecast(entry, [row], num_seeds=1, flags=flags)
    assert made.run_spread is not None
    found = prediction(made, decide(entry, made, Terms(worthwhile=worthwhile), Measured()))
    ends = {name: [start.accuracy + end for end in found[f"{name}_run"]] for name in ("pi80", "pi95")}
    return {
        "law": law.name,
        "law_sha256": law.sha256,
        "acc_val0": start.accuracy,
        "acc_val0_se": start.se,
        "forecast_final": found["forecast_final"],
        **ends,
        "family": made.family,
        "config_id": made.config_id,
        "gap": made.gap,
        "gap_se": made.gap_se,
        "forecast": found["forecast"],
        "forecast_unclipped": found["forecast_unclipped"],
        "worthwhile": worthwhile,
        "p_worthwhile": found["p_worthwhile"],
        "decision": found["decision"],
        "reason": found["reason"],
        "flags": found["flags"],
        "prior": {"centre": made.run_spread.centre, "se": made.run_spread.se, "df": made.run_spread.df},
    }


def prior_of(record: Mapping[str, Any]) -> Spread:
    """The forecast of the gain, as a stop rule takes it from ``forecast.json``.

    >>> prior_of({"prior": {"centre": 0.1, "se": 0.02, "df": 4.0}})
    Spread(centre=0.1, se=0.02, df=4.0)
    """
    return Spread(**record["prior"])


def forecast_line(record: Mapping[str, Any]) -> str:
    """The forecast in one line."""
    (low80, high80), (low95, high95) = record["pi80"], record["pi95"]
    flags = f"; {', '.join(record['flags'])}" if record["flags"] else ""
    clipped = record["forecast"] != record["forecast_unclipped"]
    unclipped = f" (unclipped {100 * record['forecast_unclipped']:+.1f} pp)" if clipped else ""
    return (
        f"forecast: ends at {record['forecast_final']:.3f}, 80 % [{low80:.3f}, {high80:.3f}],"
        f" 95 % [{low95:.3f}, {high95:.3f}], from {record['acc_val0']:.3f}{unclipped};"
        f" {record['decision']}: {record['reason']}{flags}"
    )
