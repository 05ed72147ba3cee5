"""How long ``opsd-rs law fit`` takes on a table, process start and all, and how much of it is imports.

In: a table (the shipped one by default). Out: medians of ``--repeats`` processes in milliseconds, wall and processor
time: the command, an interpreter that only imports what the command imported, and the fit alone inside of a warm
process. Run it in a bare install (``pip install opsd-rs``) to see that the law needs no extra, and on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from opsd_rs.law import fit_tables, synthetic_table

LIMIT_MS = 1000
FIT = "from opsd_rs.cli import main\nmain({words!r}, standalone_mode=False)"
LOADED = "\nimport sys, json\nprint(json.dumps([name for name in sys.modules if not name.startswith('_')]))"
IMPORTS = """
import importlib, json, sys
for name in json.loads(sys.stdin.read()):
    try:
        importlib.import_module(name)
    except Exception:
        pass  # parts of a library that its own __init__ puts in place
"""


def milliseconds(code: str, given: str = "") -> tuple[float, float]:
    """Wall and processor time of a new interpreter that runs ``code``."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], input=given, text=True, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * wall, 1000 * cpu


def medians(code: str, repeats: int, given: str = "") -> tuple[float, float]:
    """Of several interpreters."""
    wall, cpu = zip(*(milliseconds(code, given) for _ in range(repeats)), strict=True)
    return statistics.median(wall), statistics.median(cpu)


def main() -> None:
    """Print the medians; exit code 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", nargs="?", type=Path, default=synthetic_table())
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    code = FIT.format(words=["law", "fit", str(options.table)])
    done = subprocess.run(
        [sys.executable, "-c", code + LOADED], check=True, capture_output=True, text=True
    ).stdout.splitlines()[-1]
    milliseconds(code)  # the first one reads the disk
    whole, whole_cpu = medians(code, options.repeats)
    imports, imports_cpu = medians(IMPORTS, options.repeats, done)
    started = time.process_time()
    for _ in range(options.repeats):
        fit_tables([options.table])
    fit = 1000 * (time.process_time() - started) / options.repeats
    loaded = {name.partition(".")[0] for name in json.loads(done)}
    heavy = sorted(loaded & {"numpy", "polars", "scipy", "pandas", "statsmodels", "torch", "matplotlib"})
    print(f"law fit {options.table.name}: {whole:.0f} ms ({whole_cpu:.0f} of processor)")
    print(
        f"  start and imports: {imports:.0f} ms ({imports_cpu:.0f}), {100 * imports_cpu / whole_cpu:.0f} % of it"
    )
    print(f"  the fit alone, warm: {fit:.0f} ms of processor")
    print(f"  loaded: {', '.join(heavy)}")
    if whole_cpu > LIMIT_MS:  # of one thread: the wall time of an idle machine
        sys.exit(f"above {LIMIT_MS} ms of processor")


if __name__ == "__main__":
    main()
