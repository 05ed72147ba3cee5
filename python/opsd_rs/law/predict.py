"""``law predict``: forecasts of measured gaps with their intervals, flags and decisions, as rows.

In: a law by name or file, a table of gaps. Out: one row per configuration, JSON-able. What a forecast is, ``forecasts``
says; what it advises, ``decide``; whether the law holds there at all, ``domain``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsd_rs.base import read_records
from opsd_rs.errors import BadInput
from opsd_rs.law.configurations import gap_se, mean
from opsd_rs.law.decide import Decision, Measured, Terms, decide
from opsd_rs.law.domain import domain_flags, parse_assumptions
from opsd_rs.law.fit import group_name
from opsd_rs.law.forecasts import Forecast, forecast
from opsd_rs.law.laws import Law, load_law
from opsd_rs.law.rows import LawRow, row_of, rows_of

__all__ = ["PredictOptions", "Terms", "forecast_record", "predict_records", "predict_table", "prediction"]


@dataclass(frozen=True)
class PredictOptions:
    """How ``predict_table`` forecasts.

    >>> PredictOptions(assume=("horizon_steps=24",)).force
    False
    """

    terms: Terms = field(default_factory=Terms)
    num_seeds: int | None = None
    """The mean of so many runs; None: as many as are behind a point of the fit."""
    assume: Sequence[str] = ()
    """``KEY=VALUE``, for domain keys that the table does not have."""
    force: bool = False
    """Forecast outside of the law's domain, with a flag."""
    transfer: bool = False
    """A family without a line gets the range of the other families' lines."""
    excess: bool = True
    """Of the gap's error, count only what exceeds that of the fitted gaps."""


@dataclass(frozen=True)
class _Group:
    """The rows of one configuration, and where they stand in the table."""

    rows: list[LawRow]
    records: list[Mapping[str, Any]]
    places: list[int]

    def where(self, table: str) -> str:
        return f"{table}: row{'s' if len(self.places) > 1 else ''} {', '.join(map(str, self.places))}"


def predict_table(
    law: str | Path, table: Path, options: PredictOptions | None = None
) -> list[dict[str, Any]]:
    """Forecast each configuration of ``table`` (family, config_id, gap; its standard error where given).

    Rows: family, config_id, gap, gap_se, acc_val0; forecast and its intervals pi80, pi95 (mean of several runs),
    pi80_run, pi95_run (one new run), clipped to what accuracy allows, and forecast_unclipped, pi95_unclipped;
    forecast_final; p_worthwhile, decision, reason, settling_samples, settling_factor, measuring_gpu_hours,
    run_gpu_hours, expected_gain; flags. A family without a line has no forecast and the flag ``family_absent``, unless
    ``options.transfer``.

    :raises BadInput: no such law; one for comparison only; a table that cannot be read; a row outside of the domain
    """
    return predict_records(law, read_records(Path(table)), str(table), options)


def predict_records(
    law: str | Path, records: Sequence[Mapping[str, Any]], where: str, options: PredictOptions | None = None
) -> list[dict[str, Any]]:
    """The same of rows that have been read; ``where`` names them in an error."""
    options = options or PredictOptions()
    assumed = parse_assumptions(options.assume)
    found = load_law(law)
    found.check_any()
    return [_predict(found, group, where, assumed, options) for group in _groups(records, where)]


def _groups(records: Sequence[Mapping[str, Any]], where: str) -> list[_Group]:
    groups: dict[tuple[str, ...], _Group] = {}
    for place, row in enumerate(rows_of(records, where, improvement=False), start=1):
        # A gap.parquet keeps what was measured of other weights or problems: never one mean of both.
        what = json.dumps(row.settings, sort_keys=True)
        group = groups.setdefault((row.family, row.config_id, row.identity, what), _Group([], [], []))
        group.rows.append(row)
        group.records.append(records[place - 1])
        group.places.append(place)
    return list(groups.values())


def _predict(
    law: Law, group: _Group, table: str, assumed: Mapping[str, str], options: PredictOptions
) -> dict[str, Any]:
    family = group.rows[0].family
    name = group_name(group.rows[0], law.by)
    entry = law.families.get(name)
    if entry is None and options.transfer:
        return _transferred(law, group, table, assumed, options)
    if entry is not None:
        law.check(name)
    if entry is None or entry.get("slope") is None:
        flag = "family_absent" if entry is None else "slope_undefined"
        head = Forecast(
            family, group.rows[0].config_id, mean([r.gap for r in group.rows]), gap_se(group.rows), (flag,)
        )
        return prediction(head, decide(None, head, options.terms, _measured(group)))
    flags = domain_flags(
        entry.get("domain") or {}, group.rows, group.where(table), assumed=assumed, force=options.force
    )
    made = forecast(entry, group.rows, num_seeds=options.num_seeds, excess=options.excess, flags=flags)
    return prediction(made, decide(entry, made, options.terms, _measured(group)))


def forecast_record(
    law: Law, record: Mapping[str, Any], where: str, options: PredictOptions
) -> tuple[Mapping[str, Any], Forecast]:
    """The law's entry for one row, as a run's in ``runs.parquet``, and its forecast.

    :raises BadInput: as ``predict_table``, and no line for its family
    """
    row = row_of(record, where, improvement=False)
    entry = law.entry(group_name(row, law.by))
    assumed = parse_assumptions(options.assume)
    flags = domain_flags(entry.get("domain") or {}, [row], where, assumed=assumed, force=options.force)
    return entry, forecast(entry, [row], num_seeds=options.num_seeds, excess=options.excess, flags=flags)


def _transferred(
    law: Law, group: _Group, table: str, assumed: Mapping[str, str], options: PredictOptions
) -> dict[str, Any]:
    """The range of all families' intervals, and the mean of their forecasts. Never says train."""
    entries = {name: law.entry(name) for name in law.families}
    if len(entries) < 2:
        raise BadInput(
            f"{law.name}: --transfer takes the range between families, and the law has one line; fit two families"
            " into it"
        )
    made = []
    for entry in entries.values():
        flags = domain_flags(
            entry.get("domain") or {}, group.rows, group.where(table), assumed=assumed, force=options.force
        )
        made.append(
            forecast(entry, group.rows, num_seeds=options.num_seeds, excess=options.excess, flags=flags)
        )
    rows = [prediction(one, decide(e, one, options.terms, _measured(group)))
            for e, one in zip(entries.values(), made, strict=True)]  # fmt: skip
    flags = list(dict.fromkeys(["transfer", *(flag for row in rows for flag in row["flags"])]))
    merged = {**rows[0], "flags": flags, "settling_samples": None, "settling_factor": None}
    merged |= {"measuring_gpu_hours": None, "num_seeds": None}
    for name in ("forecast", "forecast_unclipped", "forecast_final", "p_worthwhile", "expected_gain"):
        values = [row[name] for row in rows]
        merged[name] = None if None in values else math.fsum(values) / len(values)
    for name in ("pi80", "pi95", "pi80_run", "pi95_run", "pi95_unclipped"):
        merged[name] = [min(row[name][0] for row in rows), max(row[name][1] for row in rows)]
    p = merged["p_worthwhile"]
    merged["decision"] = "skip" if p <= 1 - options.terms.confidence else "needs anchors"
    merged["reason"] = (
        f"P(gain >= {100 * options.terms.worthwhile:g} pp) = {p:.2f}, the mean of {', '.join(entries)}: no run of"
        f" {group.rows[0].family} is in the law"
    )
    return merged


def _measured(group: _Group) -> Measured:
    def shared(name: str) -> int | None:
        values = {row.domain.get(name) for row in group.rows}
        value = values.pop() if len(values) == 1 else None
        return int(value) if value is not None and value.isdecimal() else None

    hours = [_gpu_hours(record) for record in group.records]
    known = [value for value in hours if value is not None]
    return Measured(
        samples=shared("k_gap"),
        group_size=shared("group_size"),
        gpu_hours=math.fsum(known) if known and len(known) == len(hours) else None,
    )


def _gpu_hours(record: Mapping[str, Any]) -> float | None:
    """What the gap took: ``gpu_minutes``, else nothing; seconds on a machine without a GPU are no price."""
    try:
        minutes = float(record.get("gpu_minutes") or math.nan)
    except (TypeError, ValueError):
        return None
    return minutes / 60 if math.isfinite(minutes) else None


def prediction(made: Forecast, decision: Decision) -> dict[str, Any]:
    """A forecast and its decision as one JSON-able row."""
    row: dict[str, Any] = {
        "family": made.family,
        "config_id": made.config_id,
        "gap": made.gap,
        "gap_se": made.gap_se,
        "acc_val0": made.acc_val0,
    }
    names = ("forecast", "forecast_unclipped", "forecast_final", "pi80", "pi95", "pi80_run", "pi95_run")
    row |= dict.fromkeys((*names, "pi95_unclipped"))
    if made.spread is not None and made.run_spread is not None:
        centre = made.spread.centre
        clipped = made.clipped(centre)
        row |= {"forecast": clipped, "forecast_unclipped": centre}
        row["forecast_final"] = None if made.acc_val0 is None else made.acc_val0 + clipped
        for name, spread in (("", made.spread), ("_run", made.run_spread)):
            for level in (80, 95):
                row[f"pi{level}{name}"] = [made.clipped(end) for end in spread.interval(level / 100)]
        row["pi95_unclipped"] = made.spread.interval(0.95)
    return row | {
        "p_worthwhile": decision.p_worthwhile,
        "decision": decision.verdict,
        "reason": decision.reason,
        "settling_samples": decision.settling_samples,
        "settling_factor": decision.settling_factor,
        "measuring_gpu_hours": decision.measuring_gpu_hours,
        "run_gpu_hours": decision.run_gpu_hours,
        "expected_gain": decision.expected_gain,
        "flags": list(made.flags),
    }
