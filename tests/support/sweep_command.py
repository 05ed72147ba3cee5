"""A quick stand-in for ``opsd-rs eval|gap|train``, for tests of what a sweep starts, when, and how it takes the end.

It does what ``behaviour.json`` in the working directory says for a run: ``fail`` (exit codes of its first starts),
``seconds``, ``claim`` (leave a run folder with so many steps and, where ``checkpoint`` is set, a checkpoint). It notes
each start in ``starts.jsonl``, with its slot. Its rows are real rows of real tables.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from opsd_rs.base import add_rows, append_line, read_lines, write_table
from opsd_rs.config import load_config, resolved_json, split_arguments
from opsd_rs.law import append_run_row


def main(kind: str, *words: str) -> None:
    """Be one of the commands."""
    resumed = words[0] == "--resume"
    sources, overrides = split_arguments(words[2:] if resumed else words)
    out = Path(words[words.index("--out") + 1]) if "--out" in words else None
    given = [f"{words[1]}/config.json"] if resumed else sources[:1]
    config = load_config(given, overrides)
    name = out.parent.name if out else Path(config.run.dir).name
    behaviour = json.loads(Path("behaviour.json").read_text()) if Path("behaviour.json").exists() else {}
    mine = {**behaviour.get("*", {}), **behaviour.get(name, {})}
    before = sum(line["name"] == name for line in read_lines(Path("starts.jsonl")))
    append_line(
        Path("starts.jsonl"),
        {
            "name": name,
            "kind": kind,
            "resumed": resumed,
            "time": time.time(),
            "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
            "threads": int(os.environ["OMP_NUM_THREADS"]),
            "cores": sorted(os.sched_getaffinity(0)),
            "gpu_share": config.run.gpu_share,
            "workers": config.grader.settings().workers,
            "gap_from": config.gap.from_,
            "anyway": "--anyway" in words,
            "seeds": [config.seed, config.gap.seed, config.eval.seed],
        },
    )
    if mine.get("claim") is not None and kind == "train":
        claim(Path(config.run.dir), config, mine)
    stop_at = time.monotonic() + mine.get("seconds", 0.0)
    signal.signal(signal.SIGTERM, lambda *_: stopped())
    while time.monotonic() < stop_at:
        time.sleep(0.01)
    codes: list[int] = mine.get("fail", [])
    if before < len(codes) and codes[before]:
        print("a line before\nerror: no luck today", file=sys.stderr)
        if codes[before] < 0:
            os.kill(os.getpid(), -codes[before])
        sys.exit(codes[before])
    finish(kind, out, config)


def stopped() -> None:
    print("error: stopped by SIGTERM", file=sys.stderr)
    sys.exit(3)


def claim(folder: Path, config: Any, mine: dict[str, Any]) -> None:
    """Leave what a run leaves that has done some steps."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(resolved_json(config))
    (folder / "metrics.jsonl").write_text("".join(f'{{"step": {step}}}\n' for step in range(mine["claim"])))
    if mine.get("checkpoint"):
        (folder / "checkpoints" / "step-000001").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "step-000001" / "state.json").write_text("{}")


def finish(kind: str, out: Path | None, config: Any) -> None:
    folder = Path(config.run.dir)
    if out is not None:
        write_table(out, [{"step": 0, "arm": "student"}])
    elif kind == "gap":
        gaps = json.loads(Path("gaps.json").read_text()) if Path("gaps.json").exists() else {}
        for path in config.gap.contexts:
            context = Path(path).name.split(".")[-2]
            row = {
                "context": context,
                "family": "f",
                "config_id": f"f/{context}",
                "gap": gaps.get(context, 0.1),
            }
            add_rows(folder / "gap.parquet", [row])
    else:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(resolved_json(config))
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "config.json").write_text("{}")
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "big").write_text("weights")
        row = {
            "run_id": f"{folder.name}-x",
            "config_id": config.context.name,
            "family": "f",
            "seed": config.seed,
        }
        append_run_row(folder / "runs.parquet", {**row, "gap": 0.1, "improvement": 0.05})


if __name__ == "__main__":
    main(*sys.argv[1:])
