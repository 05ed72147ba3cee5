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

HEAD_METHODS = {
    "products": "the four matrix products alone",
    "ours": "**`topk_kl`**",
    "ours, no tail": "`topk_kl`, `tail=False`",
    "ours, torch": '`topk_kl`, `backend="torch"`',
    "eager": "`opsd_loss` on all logits",
    "checkpointed chunks": "`opsd_loss` on checkpointed chunks of 1,024",
    "trl sdpo": "TRL, SDPO top-k loss on all logits",
    "trl divergence": "TRL, chunked divergence ¹",
    "liger jsd": "Liger Kernel, chunked JSD ¹",
    "cce": "cut cross-entropy, student alone ²",
}
SCORING_METHODS = {
    "product": "the matrix product alone",
    "scoring": "**`linear_lse_topk`**, 20 ids and a label",
    "gathering": "**`linear_lse_gather`**, 20 ids and a label",
    "scoring in torch": "product, `log_softmax`, `topk` on chunks of 1,024",
}


def _head_cases(rows: Rows, methods: dict[str, str]) -> dict[tuple[int, int], dict[str, dict[str, Any]]]:
    """Method by name of each (hidden size, tokens) that was measured."""
    cases: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["method"] in (*methods, "products, 4096 rows"):
            cases.setdefault((row["hidden"], row["tokens"]), {})[row["method"]] = row
    return dict(sorted(cases.items()))


def _head_grid(rows: Rows, methods: dict[str, str], floors: tuple[str, ...]) -> str:
    cases = _head_cases(rows, methods)
    cells: dict[str, list[str]] = {said: [] for said in methods.values()}
    for found in cases.values():
        floor = min(found[name]["ms"] for name in floors if name in found)
        for name, said in methods.items():
            row = found.get(name)
            if row is None:
                cells[said].append("–")
            elif "failed" in row:
                cells[said].append(row["failed"].split(":")[0])
            elif name in floors:
                cells[said].append(f"{floor:,.1f}")
            else:
                cells[said].append(f"{row['ms']:,.1f} ({row['ms'] / floor:.2f} x), {row['gib']:.1f} GiB")
    columns = [f"H {hidden:,}, T {tokens:,}" for hidden, tokens in cases]
    return grid("ms, multiple of the products, memory", columns, cells)


@table("loss_head.jsonl")
def loss_head(rows: Rows) -> str:
    """Forward and backward pass."""
    return _head_grid(rows, HEAD_METHODS, ("products", "products, 4096 rows"))


@table("loss_head.jsonl")
def loss_head_scoring(rows: Rows) -> str:
    """Without gradient."""
    return _head_grid(rows, SCORING_METHODS, ("product",))


@table("loss_head.jsonl")
def loss_head_shares(rows: Rows) -> str:
    """Share of the peak rate, and how far repeats lie apart."""
    cells = {}
    for row in rows:
        if row["method"] in ("products", "ours", "product", "scoring", "gathering") and "of_peak" in row:
            name = f"`{row['method']}`, H {row['hidden']:,}, T {row['tokens']:,}"
            low, high = min(row["all_ms"]), max(row["all_ms"])
            cells[name] = [
                f"{row['tflops']:.0f}", f"{row['of_peak']:.0%}", f"{low:,.1f} – {high:,.1f} ({len(row['all_ms'])})",
            ]  # fmt: skip
    return grid("method", ["TFLOP/s", "of 790", "ms, least and most (repeats)"], cells)


@table("loss_head.jsonl")
def loss_head_machine(rows: Rows) -> str:
    """What it was measured with."""
    about, last = rows[0]["about"], rows[-1]
    versions = [
        f"{name} {about[name]}" for name in ("torch", "triton", "trl", "liger_kernel") if name in about
    ]
    state = [
        last[name] for name in ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu") if name in last
    ]
    commands = dict.fromkeys(row["about"]["command"] for row in rows)
    lines = [
        f"{about['machine']}, driver {about.get('driver_version', '–')}, {', '.join(versions)}; {about['date']}, commit"
        f" {about['commit']}; after the last case {', '.join(state) or 'no clocks'}:",
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
