"""How many runs a minute one machine makes with one run to a GPU, and with several.

In: a grid. It is run with the most runs to a GPU first, then with fewer and only as many runs as ``--fewer`` says; what
is measured once for all runs is measured in the first and taken by the others, and its time is not counted. Out: a line
for each, and the ratio. Minutes of a run include its start (torch, the model) and its end.

    python benches/sweep.py benches/sweep_gpu.toml --per-gpu 8 1 --out runs/bench-sweep
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from opsd_rs.base import print_result, read_lines, read_table
from opsd_rs.sweep import load_grid


def derived(grid: Path, out: Path, fewer: int | None) -> Path:
    """A copy of the grid with another ``out``; with ``fewer``, of its first seed and its first contexts alone.

    Its contexts and seeds must be lists.
    """
    whole = load_grid(grid)
    replaced = {"out": json.dumps(str(out))}
    if fewer is not None:
        replaced |= {
            "contexts": json.dumps([*whole.contexts][:fewer]),
            "seeds": json.dumps([*whole.seeds][:1]),
        }
    lines, skipping = [], False
    for line in grid.read_text().splitlines():
        key = line.split("=")[0].strip()
        if key in replaced and not skipping:
            lines.append(f"{key} = {replaced[key]}")
            skipping = True
        elif not skipping:
            lines.append(line)
        skipping = skipping and not line.split("#")[0].rstrip().endswith(("]", '"'))
    path = out.with_suffix(".toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def taken_over(before: Path, out: Path) -> None:
    """Give ``out`` the measurements of another sweep."""
    shutil.copytree(before / "measured", out / "measured")
    text = (before / "events.jsonl").read_text().splitlines(keepends=True)
    measured = {path.name for path in (before / "measured").iterdir()}
    (out / "events.jsonl").write_text("".join(line for line in text if json.loads(line)["task"] in measured))


def measure(grid: Path, out: Path, per_gpu: int, gpus: list[str]) -> dict[str, Any]:
    """Run the grid; returns its figures."""
    words = ["sweep", str(grid), "--per-gpu", str(per_gpu), *gpus]
    subprocess.run([sys.executable, "-m", "opsd_rs.cli", *words], check=True)
    rows = read_table(out / "runs.parquet")
    names = {row["cell"] for row in rows}
    events = [line for line in read_lines(out / "events.jsonl") if line["task"] in names]
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in events]
    wall = (max(times) - min(times)) / 60
    each = [row["minutes"] for row in rows]
    return {
        "per GPU": per_gpu,
        "runs": len(rows),
        "minutes": round(wall, 2),
        "minutes a run": round(sum(each) / len(each), 2),
        "runs a minute": round(len(rows) / wall, 3),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path)
    parser.add_argument("--per-gpu", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--fewer", type=int, default=2, help="contexts of all but the first (default 2)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-sweep"))
    parser.add_argument("--gpus", help="as of `opsd-rs sweep`")
    args = parser.parse_args()
    gpus = [] if args.gpus is None else ["--gpus", args.gpus]
    table: list[dict[str, Any]] = []
    first: Path | None = None
    for per_gpu in sorted(args.per_gpu, reverse=True):
        out = args.out / f"per-gpu-{per_gpu}"
        grid = derived(args.grid, out, None if first is None else args.fewer)
        if first is not None and not out.exists():
            taken_over(first, out)
        table.append(measure(grid, out, per_gpu, gpus))
        first = first or out
        print_result(table[-1:], "table")
    best, least = table[0], table[-1]
    ratio = best["runs a minute"] / least["runs a minute"]
    print(f"\n{best['per GPU']} to a GPU: {ratio:.2f} times the runs a minute of {least['per GPU']}")


if __name__ == "__main__":
    main()
