"""Each objective on the same problems for a few steps: curves of loss, gradient norm and answer length.

In: nothing but the model (``opsd-rs model fetch smollm2-135m``). Out: a run folder per objective below ``--out``, one
JSON line per objective and step in ``--json``, and a table of first and last steps. Runs that are there are kept; one
that was interrupted goes on.

The recipe is ``reference`` (SmolLM2-135M, 40 function problems of the primer) with seed 90 and the engine ``hf``.
The external teacher of ``opd`` is the model that ``rft`` has trained, unless ``--teacher`` names another.

    python benches/objectives.py --out runs/objectives --json objectives.jsonl
    python benches/objectives.py --out runs/two --only rft grpo --set train.num_steps=2 rollout.max_tokens=48
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RECIPE = [
    "reference", "seed=90", "rollout.engine=hf", "train.num_steps=12", "eval.every=0", "eval.teacher=false",
    "eval.n=4",
]  # fmt: skip
OBJECTIVES: dict[str, list[str]] = {
    "opsd": ["objective=opsd"],
    "grpo": ["objective=grpo"],
    "rft": ["objective=rft"],
    "ssd": ["objective=ssd"],
    "opd": ["objective=opd"],  # after rft, whose model is its teacher
    "negative_advantage": ["objective=negative_advantage"],
    "opsd+grpo": ["objective=mixture", "mixture.opsd=1.0", "mixture.grpo=0.1"],
    "opsd-blend": ["objective=opsd", "teacher.kind=blend", "teacher.rate=0.05"],
    "opsd-trust-region": ["objective=opsd", "teacher.kind=trust_region", "teacher.rate=0.05"],
    "opsd-failed-rows": ["objective=opsd", "loss.rows=failed"],
}
KEPT = (
    "step",
    "loss",
    "kl",
    "nll",
    "grad_norm",
    "trained_tokens",
    "updates",
    "student_accuracy",
    "truncated",
)


def run(name: str, folder: Path, words: list[str], teacher: str | None) -> None:
    """Train, or go on; a run that has ended is left alone."""
    if (folder / "model" / "config.json").is_file():
        return
    command = [sys.executable, "-m", "opsd_rs.cli", "train"]
    if (folder / "checkpoints").is_dir():
        words = ["--resume", str(folder)]
    else:
        words = [*RECIPE, *OBJECTIVES[name], *words, f"run.dir={folder}"]
        if name == "opd":
            words.append(f"opd.teacher={teacher or folder.parent / 'rft' / 'model'}")
    subprocess.run([*command, *words], check=True)


def curve(name: str, folder: Path, rollouts_a_step: int) -> list[dict[str, Any]]:
    """A row for each step."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {
            "objective": name,
            **{key: line.get(key) for key in KEPT},
            "mean_length": line["completion_tokens"] / rollouts_a_step,
            "update_seconds": line["seconds"].get("update"),
        }
        for line in lines
    ]


def main() -> None:
    """Run what is asked for, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"), help="folder of the runs")
    parser.add_argument("--json", type=Path, help="one line per objective and step")
    parser.add_argument("--only", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--teacher", help="of opd: a Hugging Face folder or hub name")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="further keys, for all of them"
    )
    args = parser.parse_args()
    rows = []
    for name in args.only:
        run(name, args.out / name, args.set, args.teacher)
        config = json.loads((args.out / name / "config.json").read_text())
        rows += curve(name, args.out / name, config["train"]["prompts_per_step"] * config["rollout"]["n"])
    if args.json is not None:
        args.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print("| objective | step | loss | kl | nll | gradient norm | accuracy | mean length | update, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in args.only:
        own = [row for row in rows if row["objective"] == name]
        for row in dict.fromkeys((0, len(own) - 1)):
            print(f"| {' | '.join(cell(value) for value in shown(own[row]))} |")


def shown(row: dict[str, Any]) -> list[Any]:
    """The table's columns."""
    names = (
        "objective",
        "step",
        "loss",
        "kl",
        "nll",
        "grad_norm",
        "student_accuracy",
        "mean_length",
        "update_seconds",
    )
    return [row[name] for name in names]


def cell(value: Any) -> str:
    """Four digits, or a dash."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
