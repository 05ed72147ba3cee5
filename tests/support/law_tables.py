"""Tables of runs as the law reads them, for its tests."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import polars

if TYPE_CHECKING:
    from pathlib import Path

GAPS = [0.0, 0.020, 0.045, 0.070, 0.110, 0.142]
GAINS = [0.002072, 0.004253, 0.087814, 0.089542, 0.179729, 0.195992]


def rows(family: str = "m", gaps=GAPS, gains=GAINS, **more) -> list[dict]:
    return [
        {"family": family, "config_id": f"{family}/{i}", "gap": gap, "improvement": gain, **more}
        for i, (gap, gain) in enumerate(zip(gaps, gains, strict=True))
    ]


def write(path: Path, records: list[dict]) -> Path:
    if path.suffix == ".parquet":
        polars.DataFrame(records, infer_schema_length=None).write_parquet(path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def only(fit: dict) -> dict:
    (entry,) = fit["families"].values()
    return entry
