"""What ``law.file`` forecasts of a run: checked before the start, said after the gap, kept in ``RUN/forecast.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsd_rs.base import read_table, write_whole
from opsd_rs.config import Config
from opsd_rs.errors import BadInput, Stopped
from opsd_rs.law import check_run, forecast_line, forecast_run, load_law, looks_of
from opsd_rs.training import measured
from opsd_rs.training.columns import configuration_columns
from opsd_rs.training.identity import Subject, gap_identity
from opsd_rs.training.prepare import Prepared

if TYPE_CHECKING:
    from opsd_rs.training.session import Session


def check_law(config: Config, run_dir: Path, prepared: Prepared) -> str:
    """Refuse a law that cannot forecast this run; what was found, in words.

    A run that has its forecast needs the law no more.

    :raises BadInput: no such law, none for this family or for comparison only, another domain
    """
    name = config.law.file
    if name is None:
        return "none is named"
    if _stored(config, run_dir) is not None:
        return f"{name}: the run has its forecast"
    subject = Subject(
        config, prepared.model_dir, prepared.environment, prepared.problem_set, prepared.assembler
    )
    columns = configuration_columns(subject, config.context)
    try:
        flags = check_run(load_law(name), columns, force=config.law.force)
    except BadInput as error:
        raise BadInput(str(error) if str(error).startswith("law.file") else f"law.file = {error}") from None
    return f"{name}: has a line for {columns['family']}" + (f"; {', '.join(flags)}" if flags else "")


def own_forecast(session: Session) -> Mapping[str, Any]:
    """The run's forecast, made from its measured gap and its validation at step 0 where the folder has none.

    All ranks call it and get the same.
    """
    found: dict[str, Any] | None = None
    with session.ranks.stop_together():
        if session.ranks.first:
            found = _stored(session.config, session.run_dir)
            if found is None:
                found = _made(session)
                session.progress.say(forecast_line(found))
    made: dict[str, Any] = session.ranks.broadcast(found or {})
    return made


def _made(session: Session) -> dict[str, Any]:
    config, run_dir = session.config, session.run_dir
    rows = measured.read_gap_rows(run_dir / "gap.parquet")
    gap = measured.own_gap(rows, config.context.name, gap_identity(session, config.context))
    looks = looks_of(read_table(run_dir / "eval.parquet"))
    if gap is None or gap.get("gap") is None or not looks or looks[0].step != 0:
        raise Stopped(
            f"law.file = {config.law.file}: the gap or the validation at step 0 has no graded answer, so there is"
            " nothing to forecast from: look at the grader's faults, or leave law.file out"
        )
    columns = configuration_columns(session, config.context)
    found = forecast_run(
        load_law(str(config.law.file)),
        {**gap, **{name: value for name, value in columns.items() if name not in ("k_gap", "gap_groups")}},
        looks[0],
        worthwhile=config.law.worthwhile,
        force=config.law.force,
    )
    found |= {"horizon_steps": config.train.num_steps}
    write_whole(run_dir / "forecast.json", json.dumps(found, indent=1, allow_nan=False).encode() + b"\n")
    return found


def _stored(config: Config, run_dir: Path) -> dict[str, Any] | None:
    """The forecast that the folder has, if it is of this law and of as many steps."""
    path = run_dir / "forecast.json"
    if not path.is_file() or not (run_dir / "config.json").is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_bytes())
    same = (found.get("law"), found.get("horizon_steps")) == (config.law.file, config.train.num_steps)
    return found if same else None
