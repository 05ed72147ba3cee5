"""A law's advice about a run, by the real forecast of a gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opsd_rs.base import write_table
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.law import fit_tables, save, synthetic_table
from opsd_rs.sweep.skips import check_law, forecast_that_skips


@pytest.fixture
def law(tmp_path: Path) -> str:
    path = tmp_path / "law.json"
    save(fit_tables([synthetic_table()]), path)
    return str(path)


def gaps(folder: Path, **values: float) -> Path:
    path = folder / "gap.parquet"
    row: dict[str, Any] = {"family": "synthetic", "gap_se_cond": 0.01}
    write_table(
        path, [{**row, "context": name, "config_id": name, "gap": value} for name, value in values.items()]
    )
    return path


def test_a_run_is_left_out_where_its_forecast_says_skip(law: str, tmp_path: Path) -> None:
    table = gaps(tmp_path, feedback=-0.2, opsd=0.3)
    said = forecast_that_skips(law, table, load_config([], ["context=feedback"]))
    assert said is not None
    assert said.startswith("gap -0.200, forecast -0.")
    assert forecast_that_skips(law, table, load_config([], ["context=opsd"])) is None


def test_the_newest_gap_counts_and_one_must_be_there(law: str, tmp_path: Path) -> None:
    table = gaps(tmp_path, feedback=0.3)
    with pytest.raises(
        BadInput, match="holds no gap of context none: skip_by_law has nothing to forecast from"
    ):
        forecast_that_skips(law, table, load_config([], ["context=none", "control.mask=one"]))
    assert forecast_that_skips(law, table, load_config([], ["context=feedback"])) is None


def test_a_law_that_cannot_be_read_is_refused_at_the_start(law: str, tmp_path: Path) -> None:
    check_law(law)
    with pytest.raises(BadInput, match="no such file"):
        check_law(str(tmp_path / "nowhere.json"))
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    with pytest.raises(BadInput, match="families"):
        check_law(str(broken))
