"""The tables of docs/performance.md, made from the measurements under benches/results.

    python tools/performance_tables.py            # write them
    python tools/performance_tables.py --check    # exit code 1 where the document says something else

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``. A new one is a function here, decorated with the
file that it reads: one JSON object a line, as the programs under benches/ append them with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
DOCUMENT, RESULTS = ROOT / "docs" / "performance.md", ROOT / "benches" / "results"
MARKED = re.compile(r"<!-- table (\w+) -->\n.*?<!-- end -->", re.DOTALL)

Rows = list[dict[str, Any]]


class Table(NamedTuple):
    """A file of results and what makes Markdown of its lines."""

    file: str
    render: Callable[[Rows], str]


TABLES: dict[str, Table] = {}


def table(file: str) -> Callable[[Callable[[Rows], str]], Callable[[Rows], str]]:
    """Give a table the name of the function that renders it."""

    def add(render: Callable[[Rows], str]) -> Callable[[Rows], str]:
        TABLES[render.__name__] = Table(file, render)
        return render

    return add


def grid(corner: str, columns: list[str], rows: dict[str, list[str]]) -> str:
    """A Markdown table with a name for each row."""
    lines = [
        [corner, *columns],
        ["---"] * (1 + len(columns)),
        *([name, *cells] for name, cells in rows.items()),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read(file: Path) -> Rows:
    """One JSON object a line."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def written(document: str, results: Path) -> str:
    """The document with every table made again."""

    def render(match: re.Match[str]) -> str:
        name = match[1]
        if name not in TABLES:
            raise SystemExit(f"error: table {name} is unknown; there are {', '.join(sorted(TABLES))}")
        found = TABLES[name]
        return f"<!-- table {name} -->\n{found.render(read(results / found.file))}\n<!-- end -->"

    return MARKED.sub(render, document)


# ---- the loss head ---------------------------------------------------------------------------------

FLOORS = ("products", "products, 4096 rows", "product")
"""Matrix products alone, the first two for forward and backward pass, the last for scoring."""
HEAD_METHODS = {
    "products": "the four matrix products alone",
    "ours": "**`topk_kl`**",
    "ours, no tail": "`topk_kl`, `tail=False`",
    "eager": "`opsd_loss` on all logits",
    "product": "the student's matrix product alone",
    "scoring": "**`linear_lse_topk`**, 20 ids and a label",
    "gathering": "**`linear_lse_gather`**, 20 ids and a label",
}
PEERS = {
    "ours": "**`topk_kl`**",
    "trl sdpo": "TRL, SDPO's top-k loss on all logits, in bf16",
    "trl divergence": "TRL, chunked divergence ¹",
    "liger jsd": "Liger Kernel, chunked JSD ¹",
    "cce": "cut cross-entropy of the student ²",
    "scoring": "**`linear_lse_topk`**",
    "scoring in torch": "product, `log_softmax`, `topk` on chunks of 1,024",
}
Case = dict[str, dict[str, Any]]


def _cases(rows: Rows) -> dict[str, Case]:
    """Lines by method of each hidden size and number of tokens."""
    found: dict[tuple[int, int], Case] = {}
    for row in rows:
        found.setdefault((row["hidden"], row["tokens"]), {})[row["method"]] = row
    return {f"H {hidden:,}, T {tokens:,}": case for (hidden, tokens), case in sorted(found.items())}


def _of(row: dict[str, Any], base: float | None) -> str:
    if "failed" in row:
        return str(row["failed"]).split(":")[0]
    times = f" ({row['ms'] / base:.2f} x)" if base else ""
    return f"{row['ms']:,.1f}{times}, {row['gib']:.1f} GiB"


def _floor(case: Case, name: str) -> float:
    names = (
        ("product",) if name in ("product", "scoring", "gathering") else ("products", "products, 4096 rows")
    )
    return min(float(case[floor]["ms"]) for floor in names if floor in case)


def _of_products(rows: Rows) -> str:
    """A line for each method that every case has."""
    cases = _cases(rows)
    cells = {
        said: [
            f"{_floor(case, name):,.1f}" if name in FLOORS else _of(case[name], _floor(case, name))
            for case in cases.values()
        ]
        for name, said in HEAD_METHODS.items()
        if all(name in case for case in cases.values())
    }
    return grid("ms, multiple of the products, memory", list(cases), cells)


@table("loss_head.jsonl")
def loss_head(rows: Rows) -> str:
    """Ours and plain torch, as multiples of the products."""
    return _of_products(rows)


@table("loss_head_long.jsonl")
def loss_head_long(rows: Rows) -> str:
    """The same for many tokens."""
    return _of_products(rows)


@table("loss_head_peers.jsonl")
def loss_head_peers(rows: Rows) -> str:
    """Other libraries, as multiples of ours."""
    cases = _cases(rows)
    cells = {
        said: [
            _of(case[name], case["scoring" if "scoring" in name else "ours"]["ms"]) for case in cases.values()
        ]
        for name, said in PEERS.items()
    }
    return grid("ms, multiple of ours, memory", list(cases), cells)


@table("loss_head.jsonl")
def loss_head_shares(rows: Rows) -> str:
    """Share of the peak rate, and how far repeats lie apart."""
    cells = {}
    for row in rows:
        if row["method"] in ("ours", "scoring", "gathering", *FLOORS):
            low, high = min(row["all_ms"]), max(row["all_ms"])
            cells[f"H {row['hidden']:,}, `{row['method']}`"] = [
                f"{row['tflops']:.0f}", f"{row['of_peak']:.0%}", f"{low:,.1f} – {high:,.1f} ({len(row['all_ms'])})",
            ]  # fmt: skip
    return grid("method", ["TFLOP/s", "of 790", "ms, least and most (repeats)"], cells)


def _machine(rows: Rows) -> str:
    about, last = rows[0]["about"], rows[-1]
    names = ("torch", "triton", "trl", "liger_kernel", "cut_cross_entropy")
    versions = [f"{name} {about[name]}" for name in names if name in about]
    state = [
        last[name] for name in ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu") if name in last
    ]
    lines = [
        f"{about['machine']}, driver {about.get('driver_version', '–')}, {', '.join(versions)}; {about['date']}, commit"
        f" {about['commit']}; just after the last case {', '.join(state) or 'no clocks'} °C.",
        "",
        "```bash",
        *dict.fromkeys(row["about"]["command"] for row in rows),
        "```",
    ]
    return "\n".join(lines)


@table("loss_head.jsonl")
def loss_head_machine(rows: Rows) -> str:
    """What it was measured with."""
    return _machine(rows)


@table("loss_head_peers.jsonl")
def loss_head_peers_machine(rows: Rows) -> str:
    """The same of the other libraries."""
    return _machine(rows)


# ---- the update ------------------------------------------------------------------------------------

SETTINGS = {
    "model.compile=true": "compiled",
    "model.gradient_checkpointing=true": "layers recomputed",
    "model.keep_attention=true": "attention kept",
    "loss.old=sampler": "old log-probs of the sampler",
    "optim.offload=true": "optimizer in host memory",
    "teacher.offload=true": "average in host memory",
    "optim.gradient_dtype=bfloat16": "bf16 gradients",
}
Run = tuple[str, int, tuple[str, ...]]


def _runs(rows: Rows) -> dict[Run, Rows]:
    """Repeats of each shape, number of rows and settings; the first of them warms up and is left out."""
    found: dict[Run, Rows] = {}
    for row in rows:
        key = (row["shape"], row["completion_tokens"] if row["rows"] == 1 else row["rows"], tuple(row["set"]))
        found.setdefault(key, []).append(row)
    return {key: repeats[1:] for key, repeats in found.items()}


def _settings(words: tuple[str, ...]) -> str:
    budget = [f"{int(word.split('=')[1]):,} tokens" for word in words if "micro_batch_tokens" in word]
    said = [SETTINGS[word] for word in words if word in SETTINGS]
    return ", ".join([*budget, *(said or ["eager"])])


def _seconds(repeats: Rows) -> str:
    times = [row["seconds"] for row in repeats]
    low, high = f"{min(times):.2f}", f"{max(times):.2f}"
    return low if low == high else f"{low} – {high}"


@table("update.jsonl")
def update_step(rows: Rows) -> str:
    """A step of many short rows."""
    cells = {}
    for (shape, count, words), repeats in _runs(rows).items():
        if shape == "smollm2-135m" and count == 256:
            last = repeats[-1]
            name = f"{last['updates']} update{'s' * (last['updates'] > 1)}, {_settings(words)}"
            cells[name] = [_seconds(repeats), f"{last['beyond_rest_gib']:.1f}"]
    return grid("", ["seconds", "GiB above rest"], dict(sorted(cells.items())))


@table("update.jsonl")
def update_rows(rows: Rows) -> str:
    """One long row."""
    cells = {}
    for (shape, length, words), repeats in sorted(_runs(rows).items()):
        if length > 1000 and not any("offload" in word for word in words):
            best = min(repeats, key=lambda row: row["seconds"])
            cells[f"{shape}, {length:,} tokens, {_settings(words)}"] = [
                f"{best['seconds']:.2f}", f"{best['mfu']:.0%}", f"{best['beyond_rest_gib']:.1f}",
                f"{best['rest_gib']:.1f} ({best['rest_bytes_per_parameter']:.1f})",
            ]  # fmt: skip
    return grid("", ["seconds", "MFU", "GiB above rest", "GiB at rest (bytes a parameter)"], cells)


@table("update.jsonl")
def update_offloaded(rows: Rows) -> str:
    """The optimizer, and the average, in host memory."""
    cells = {}
    for (shape, length, words), repeats in sorted(_runs(rows).items()):
        if any("offload" in word for word in words):
            best = min(repeats, key=lambda row: row["seconds"])
            cells[f"{shape}, {length:,} tokens, {_settings(words)}"] = [
                f"{best['seconds']:.2f}", f"{best['rest_bytes_per_parameter']:.1f}", f"{best['peak_gib']:.1f}",
                f"{best['host_peak_gib']:.1f}",
            ]  # fmt: skip
    columns = ["seconds", "bytes a parameter at rest", "GiB at the peak, GPU", "GiB at the peak, host"]
    return grid("", columns, cells)


@table("update.jsonl")
def update_machine(rows: Rows) -> str:
    """What it was measured with."""
    last, commits = rows[-1], dict.fromkeys(row["commit"] for row in rows)
    commands = dict.fromkeys(re.sub(r" --(json|commit) \S+", "", row["command"]) for row in rows)
    lines = [
        f"{last['gpu']}, driver {last['nvidia_smi'].split(',')[0]}, torch {last['torch']}; {last['date']}, commits"
        f" {', '.join(commits)}.",
        "",
        "```bash",
        *commands,
        "```",
    ]
    return "\n".join(lines)


def main() -> int:
    """Write the document, or compare with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    before = DOCUMENT.read_text(encoding="utf-8")
    after = written(before, RESULTS)
    if options.check:
        return int(before != after)
    DOCUMENT.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
