"""The run behind the README's figure: ``configs/reference.toml``, its control, and the curve of both.

About forty minutes a run on two cores. A killed run continues where it stopped; a finished run is not
repeated. Writes ``docs/reference.svg`` and ``.png``, and prints the rows behind them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from opsd_rs.base import read_table
from opsd_rs.law import figure2
from opsd_rs.measure import eval_accuracy
from opsd_rs.training.lines import improvement_line
from opsd_rs.training.tables import at, read_eval_rows

CLI = str(Path(sys.executable).parent / "opsd-rs")
RUNS = {
    "peer_solution_feedback": (Path("runs/reference"), []),
    "none (control)": (
        Path("runs/reference-control"),
        ["contexts/none", "control.mask=one", "eval.from=runs/reference/eval.parquet", "eval.teacher=false"],
    ),
}


def main() -> None:
    """Train what is missing, then draw."""
    rows: list[dict[str, Any]] = []
    for name, (folder, words) in RUNS.items():
        if not (folder / "runs.parquet").exists():
            resumed = (folder / "config.json").exists()
            command = ["--resume", str(folder)] if resumed else ["reference", f"run.dir={folder}", *words]
            code = subprocess.run([CLI, "train", *command], check=False).returncode
            if code:
                sys.exit(code)
        rows += curve(name, folder)
    for row in rows:
        print("{run:24} step {step:3}  {arm:8} {accuracy:.3f} ± {se:.3f}".format(**row))
    for name, (folder, _) in RUNS.items():
        (row,) = read_table(folder / "runs.parquet")
        print(f"{name}: gap {row['gap']:+.3f} (SE {row['gap_se_cond']:.3f}); {improvement_line(row)}")
    for path in figure2(rows, Path("docs/reference")):
        print(path)


def curve(name: str, folder: Path) -> list[dict[str, Any]]:
    """Accuracy of student and self-teacher at each validation of a run."""
    found = read_eval_rows(folder)
    keys = dict.fromkeys((row.step, row.arm) for row in found)
    rows = []
    for step, arm in keys:
        accuracy = eval_accuracy(at(found, step, arm))
        rows.append(
            {"run": name, "step": step, "arm": arm, "accuracy": accuracy.value, "se": accuracy.se_cond}
        )
    return rows


if __name__ == "__main__":
    main()
