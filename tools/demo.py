"""The main job at laptop scale, by the commands a user would type: six gaps, three trained configurations, a law, and
the report of it all, whose path is the last line.

``python tools/demo.py`` takes about a quarter of an hour on two cores; ``--smoke`` runs the same path in a few minutes;
its numbers mean nothing. The control is the gap of ``none``, which is 0 but for chance; training it would put no point
on the line. All output is in ``runs/demo`` (or ``runs/smoke``). Start the demo again after a kill: it continues where
it stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

from opsd_rs.base import read_table
from opsd_rs.training.lines import distinguishable
from rich.console import Console
from rich.table import Table

CLI = [str(Path(sys.executable).parent / "opsd-rs")]
TRAINED = ("feedback", "own_solution_feedback", "peer_solution_feedback")
"""A line needs three points."""


def main() -> None:
    """Run the stages in order and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few minutes, numbers that mean nothing")
    smoke = parser.parse_args().smoke
    config, folder = ("smoke", Path("runs/smoke")) if smoke else ("demo", Path("runs/demo"))
    started = time.monotonic()

    step("1/4 the gap of the contexts, before any training")
    run("gap", config, f"run.dir={folder / 'gap'}")
    for number, name in enumerate(TRAINED, start=1):
        step(f"2/4 train {number} of {len(TRAINED)}: {name}")
        train(config, folder, name)
    step("3/4 the law")
    law = folder / "law.json"
    tables = [str(folder / name / "runs.parquet") for name in TRAINED]
    synthetic = str(files("opsd_rs") / "data" / "law_synthetic.csv")
    figure = folder / "figures" / "law.png"
    run("law", "fit", *tables, synthetic, "--out", str(law), "--figure", str(figure))
    step("4/4 the report")
    page = folder / "report.html"
    run("report", str(folder), "--title", f"opsd-rs {config}", "--out", str(page))
    report(folder, law, figure, page, time.monotonic() - started)


def step(title: str) -> None:
    """Say what comes next."""
    print(f"\n== {title}", file=sys.stderr, flush=True)


def run(*words: str) -> None:
    """One command; its failure is ours."""
    print(f"$ opsd-rs {' '.join(words)}", file=sys.stderr, flush=True)
    code = subprocess.run([*CLI, *words], check=False).returncode
    if code:
        sys.exit(code)


def train(config: str, folder: Path, name: str) -> None:
    """Train one configuration, or go on with it, or see that it is done. The first one's baseline serves all."""
    here = folder / name
    if (here / "runs.parquet").exists() and (here / "model" / "model.safetensors").exists():
        print(f"{here} is done", file=sys.stderr)
        return
    if (here / "config.json").exists():
        run("train", "--resume", str(here))
        return
    first = folder / TRAINED[0]
    baseline = [] if here == first else [f"eval.from={first / 'eval.parquet'}"]
    gap = f"gap.from={folder / 'gap' / 'gap.parquet'}"
    run("train", config, f"contexts/{name}", f"run.dir={here}", gap, *baseline)


def report(folder: Path, law: Path, figure: Path, page: Path, seconds: float) -> None:
    """The table of what was measured, and where everything is."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    gaps = Table(title="Before training: student and self-teacher, training decoding")
    for column in ("context", "student", "self-teacher", "coverage", "gap"):
        gaps.add_column(column, justify="left" if column == "context" else "right")
    newest = {row["context"]: row for row in read_table(folder / "gap" / "gap.parquet")}
    for row in newest.values():
        gaps.add_row(
            row["context"],
            plus_minus(row["acc_student_gap"], row["acc_student_gap_se"]),
            plus_minus(row["acc_teacher"], row["acc_teacher_se"]),
            f"{row['coverage']:.2f}",
            plus_minus(row["gap"], row["gap_se_cond"], sign="+"),
        )
    console.print(gaps)
    gains = Table(title="After training: validation decoding, all tests, same problems")
    for column in ("context", "before", "after", "improvement", ""):
        gains.add_column(column, justify="left" if column == "context" else "right")
    for name in TRAINED:
        (row,) = read_table(folder / name / "runs.parquet")
        clear = distinguishable(row["improvement"], row["improvement_se_cond"])
        gains.add_row(
            name,
            f"{row['acc_val0']:.3f}",
            f"{row['acc_val1']:.3f}",
            plus_minus(row["improvement"], row["improvement_se_cond"], sign="+"),
            "" if clear else "not distinguishable from 0",
        )
    console.print(gains)
    console.print("Standard errors are conditional: these problems, other draws. Fractions of 1.")
    console.print("none is the control: its gap must be 0 within 3 standard errors.")
    console.print(f"{seconds / 60:.1f} minutes")
    for label, path in {"runs": folder, "law": law, "figure": figure, "report": page}.items():
        console.print(f"{label:7} {path}", highlight=False)


def plus_minus(value: float, se: float, sign: str = "") -> str:
    """A number with its standard error."""
    return f"{value:{sign}.3f} ± {se:.3f}"


if __name__ == "__main__":
    main()
