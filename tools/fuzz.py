"""Run the fuzz targets, all at the same time: `make fuzz` gives each a minute.

    .venv/bin/python tools/fuzz.py [--seconds 60] [--seed 1] [--only TARGET]
    .venv/bin/python tools/fuzz.py --only TARGET --input FILE
    .venv/bin/python tools/fuzz.py --seconds 3600 --grow

Targets: ``reports`` (what a program's process reports), ``comparator`` (against its Python twin), both libFuzzer's, in
Rust; ``packed_tests`` (LiveCodeBench's private tests), in Python. Each begins with the inputs of ``fuzz/corpus``, one
JSON string a line, its characters the bytes. An input that shows a fault is printed and kept under ``target/fuzz``,
and the exit code is 1; ``--input`` tries it again. ``--grow`` writes what was found on the way, made small, into
``fuzz/corpus``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "target" / "fuzz"
RUST = ("reports", "comparator")
ALL = (*RUST, "packed_tests")
FLAGS = [
    "--cfg", "fuzzing", "-Cpasses=sancov-module", "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters", "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
]  # fmt: skip
"""LLVM's coverage counters, as libFuzzer reads them; stable Rust passes them on."""
SLOWEST_SECONDS = 60
"""An input that takes longer is a finding; generous, for a busy machine."""


def build() -> Path:
    """Compile the Rust targets; the folder they are in."""
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = next(line.split()[1] for line in version.splitlines() if line.startswith("host:"))
    # With --target the flags leave build scripts and macros alone.
    words = [
        "cargo",
        "build",
        "--release",
        "--quiet",
        "--locked",
        "--target",
        host,
        "--target-dir",
        str(TARGET),
    ]
    flags = {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(FLAGS)}
    subprocess.run(
        [*words, "--manifest-path", str(ROOT / "fuzz/Cargo.toml")], check=True, env=os.environ | flags
    )
    return TARGET / host / "release"


def command(name: str, programs: Path, corpus: Path, given: argparse.Namespace) -> list[str]:
    """What runs a target."""
    artifacts = TARGET / "artifacts" / name
    artifacts.mkdir(parents=True, exist_ok=True)
    if name in RUST:
        words = [str(programs / name), f"-timeout={SLOWEST_SECONDS}", f"-artifact_prefix={artifacts}/"]
        if given.input:
            return [*words, str(given.input)]
        return [
            *words,
            f"-max_total_time={given.seconds}",
            f"-seed={given.seed}",
            "-print_final_stats=1",
            str(corpus),
        ]
    words = [sys.executable, str(ROOT / "fuzz" / f"{name}.py")]
    if given.input:
        return [*words, "--input", str(given.input)]
    words += [str(corpus), "--seconds", str(given.seconds), "--seed", str(given.seed)]
    return [*words, "--artifacts", str(artifacts)]


def unpack(name: str, into: Path) -> Path:
    """The inputs kept in the repository, a file each."""
    into.mkdir(parents=True)
    for number, line in enumerate((ROOT / "fuzz/corpus" / f"{name}.txt").read_text().splitlines()):
        (into / f"{number:04}").write_bytes(json.loads(line).encode("latin-1"))
    return into


def keep(name: str, programs: Path, corpus: Path) -> None:
    """Write the inputs of a folder into the repository: those that another does not make superfluous."""
    if name in RUST:
        small = corpus.with_name(f"{name}-small")
        small.mkdir()
        words = [str(programs / name), "-merge=1", "-use_counters=0", str(small), str(corpus)]
        subprocess.run(words, check=True, capture_output=True, env=environment())
        corpus = small
    inputs = sorted((file.read_bytes() for file in corpus.iterdir()), key=lambda data: (len(data), data))
    lines = [json.dumps(data.decode("latin-1")) + "\n" for data in inputs]
    (ROOT / "fuzz/corpus" / f"{name}.txt").write_text("".join(lines))
    print(f"{name}: {len(inputs)} inputs, {sum(map(len, inputs))} bytes kept")


def environment() -> dict[str, str]:
    return os.environ | {"OPSD_RS_FUZZ_PYTHON": sys.executable, "RUST_BACKTRACE": "0"}


def summary(output: str) -> str:
    """The line of a run's output that says how much was tried."""
    own = re.search(r"^\d+ executions, .*$", output, re.MULTILINE)
    if own:
        return own[0]
    rounds = re.search(r"stat::number_of_executed_units: +(\d+)", output)
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)
    if not rounds or not covered:
        return "no figures"
    return f"{rounds[1]} executions, {covered[-1][2]} inputs kept; {covered[-1][0]} edges"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="wall seconds for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=ALL)
    parser.add_argument("--input", type=Path, help="try one input again")
    parser.add_argument("--grow", action="store_true")
    given = parser.parse_args()
    if given.input and not given.only:
        parser.error("--input needs --only")
    names = [given.only] if given.only else list(ALL)
    programs = build() if set(names) & set(RUST) else TARGET
    if given.input:
        return subprocess.run(
            command(names[0], programs, TARGET, given), check=False, env=environment()
        ).returncode
    with tempfile.TemporaryDirectory(prefix="opsd-fuzz-") as folder:
        start, runs = time.monotonic(), {}
        for name in names:
            corpus, log = unpack(name, Path(folder) / name), (Path(folder) / f"{name}.log").open("w+")
            words = command(name, programs, corpus, given)
            runs[name] = corpus, log, subprocess.Popen(words, stdout=log, stderr=log, env=environment())
        failed = 0
        for name, (corpus, log, process) in runs.items():
            process.wait()
            log.seek(0)
            output = log.read()
            print(f"{name}: {summary(output)}, {time.monotonic() - start:.0f} s", flush=True)
            if process.returncode != 0:
                failed += 1
                print("\n".join(output.splitlines()[-30:]))
                again = f"{sys.executable} tools/fuzz.py --only {name} --input FILE"
                print(
                    f"{name} FAILED (exit code {process.returncode}). The input is named above; again: {again}"
                )
            elif given.grow:
                keep(name, programs, corpus)
    if not failed:
        shutil.rmtree(TARGET / "artifacts", ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
