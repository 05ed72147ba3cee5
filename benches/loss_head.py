"""The loss head: time and memory of one forward and backward pass, side by side, on one device.

In: nothing; random hidden states and matrices of a model's shape. Out: a line per case and method: the median
milliseconds of ``--repeats`` runs in turn, memory above the inputs, and the time as a multiple of the products alone.
Before each repeat the same method runs for ``--settle`` seconds.
With ``--json FILE`` a line of JSON each, with every repeat, the machine, its clocks, versions and the command.

- ``products``: the four matrix products alone (student, teacher, dH, dW), ``product``: the student's. The least time.
- ``ours``: ``topk_kl``, reverse KL at the student's 20 ids and a tail. ``ours, no tail``: renormalised on the 20.
  ``ours, torch``: the same without Triton.
- ``scoring``, ``gathering``: ``linear_lse_topk``, ``linear_lse_gather``; no gradient.
- ``eager``: ``opsd_loss`` on all logits, the same mathematics. ``checkpointed chunks``: that on 1,024 tokens at a time.
- ``trl sdpo``: TRL's loss of the same mathematics, in bf16. ``trl divergence``, ``liger jsd``: other mathematics, the
  whole vocabulary. ``cce``: cut cross-entropy of the student, one label, no teacher.

    python benches/loss_head.py --hidden 1024 4096 --tokens 8192 32768 --json benches/results/loss_head.jsonl

With ``--precision`` it prints errors against fp64 instead, of each ``precision``; a CPU is enough for 64 tokens:

    python benches/loss_head.py --precision --hidden 512 --tokens 64
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from loss_head_methods import TOPK, Inputs, Method, available
from opsd_rs.loss import OpsdLoss
from opsd_rs.loss.kernels import OutputHead, topk_kl
from torch import Tensor

PEAK_TFLOPS = {"NVIDIA H200": 790.0}
"""bf16 products of 8,192 x 8,192, as measured."""


def environment(commit: str | None) -> dict[str, Any]:
    """Where and with what this runs."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "command": command(sys.argv[1:]),
    }
    for name in ("triton", "trl", "liger_kernel", "cut_cross_entropy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        found |= {"machine": torch.cuda.get_device_name(), **clocks("driver_version")}
    return found


def command(words: list[str]) -> str:
    """As typed, but for the folder of the results."""
    files = {at + 1 for at, word in enumerate(words) if word == "--json"}
    said = [Path(word).name if at in files else word for at, word in enumerate(words)]
    return shlex.join(["python", "benches/loss_head.py", *said])


def clocks(*more: str) -> dict[str, str]:
    """The first GPU's clocks and power now, as ``nvidia-smi`` says."""
    names = ["clocks.sm", "clocks.mem", "power.draw", "temperature.gpu", *more]
    words = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = [value.strip() for value in done.stdout.strip().split(",")]
    return dict(zip(names, said, strict=True)) if done.returncode == 0 else {}


def print_errors(x: Inputs) -> None:
    """Log-probs, loss and gradients of each precision against fp64; the teacher's hidden states are 2 % larger."""

    def run(dtype: torch.dtype, precision: str) -> tuple[OpsdLoss, tuple[Tensor, ...]]:
        hidden_TD, weight_VD = (y.detach().to(dtype).requires_grad_() for y in (x.hidden_TD, x.weight_VD))
        taught_TD = (x.hidden_TD.detach().float() * 1.02).to(x.hidden_TD.dtype).to(dtype)
        heads = OutputHead(weight_VD), OutputHead(weight_VD.detach())
        out = topk_kl(
            hidden_TD, heads[0], taught_TD, heads[1], x.ids_T, x.weight_T, topk=TOPK, precision=precision  # type: ignore[arg-type]
        )  # fmt: skip
        return out, torch.autograd.grad(out.loss, (hidden_TD, weight_VD))

    exact, (_, exact_VD) = run(torch.float64, "refined")
    rest = 1 - exact.topk_mass_T.mean().item()
    print(
        f"mean divergence {exact.kl_T.mean().item():.1e} nats, {rest:.0%} of the mass outside of the support"
    )
    for precision in ("rounded", "refined", "float32"):
        out, (_, found_VD) = run(torch.bfloat16, precision)
        error = (out.student_logprob_T - exact.student_logprob_T).abs().max().item()
        loss = (out.loss / exact.loss).item()
        relative = ((found_VD - exact_VD).norm() / exact_VD.norm()).item()
        cosine = torch.nn.functional.cosine_similarity(
            found_VD.double().flatten(), exact_VD.flatten(), 0
        ).item()
        print(
            f"{precision:8} log-prob {error:.1e}, loss {loss:.4f} x, gradient {relative:.1e}, cosine {cosine:.7f}"
        )


def once(method: Method, x: Inputs, settle: float) -> tuple[float, float]:
    """(milliseconds, GiB above the inputs), after ``settle`` seconds of the same.

    A GPU at its power limit runs fast for a while after light work and slowly after heavy work.
    """
    until = time.perf_counter() + settle
    while time.perf_counter() < until:
        x.weight_VD.grad = x.hidden_TD.grad = None
        method.run(x)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    x.weight_VD.grad = x.hidden_TD.grad = None
    if not torch.cuda.is_available():
        start = time.perf_counter()
        method.run(x)
        return 1e3 * (time.perf_counter() - start), 0.0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    method.run(x)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end), (torch.cuda.max_memory_allocated() - before) / 2**30


def measure(
    x: Inputs, repeats: int, methods: dict[str, Method], seconds: float, settle: float
) -> dict[str, dict[str, Any]]:
    """Milliseconds of every repeat and memory of each method, taken in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    failed: dict[str, str] = {}
    started = time.perf_counter()
    for turn in range(repeats + 1):  # the first compiles and warms up
        for name, method in methods.items():
            if name in failed or (turn > 1 and time.perf_counter() - started > seconds):
                continue
            try:
                taken = once(method, x, settle if turn else 0.0)
            except torch.OutOfMemoryError:
                failed[name] = "out of memory"
            except ImportError as error:
                failed[name] = f"not installed: {error}"
            else:
                if turn:
                    found[name].append(taken)
            if turn == 0 and torch.cuda.is_available():
                torch.cuda.empty_cache()
    x.clear()
    results: dict[str, dict[str, Any]] = {name: {"failed": said} for name, said in failed.items()}
    for name, taken in found.items():
        if name not in failed and taken:
            times, memory = zip(*taken, strict=True)
            results[name] = {
                "ms": round(statistics.median(times), 3), "all_ms": [round(t, 3) for t in times],
                "gib": round(max(memory), 3),
            }  # fmt: skip
    return results


def floor_of(results: dict[str, dict[str, Any]], units: int) -> float | None:
    """The products of a method with so many units of work: the faster of those measured."""
    names = ("product",) if units == 2 else ("products", "products, 4096 rows")
    times = [results[name]["ms"] for name in names if "ms" in results.get(name, {})]
    return min(times) if times else None


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024])
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192])
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=600.0, help="no new turn of a case after these")
    parser.add_argument(
        "--settle", type=float, default=0.15, help="seconds of the same method before each repeat"
    )
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--commit")
    parser.add_argument("--precision", action="store_true", help="errors, not times")
    options = parser.parse_args()
    about = environment(options.commit)
    print(
        f"{about['machine']}, torch {torch.__version__}, V = {options.vocabulary}, top {TOPK}, bf16",
        flush=True,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for hidden in options.hidden:
        for tokens in options.tokens:
            x = Inputs(tokens, hidden, options.vocabulary, device, torch.bfloat16)
            if options.precision:
                print_errors(x)
                continue
            torch.compiler.reset()  # Liger's compiled chunk fails where the number of tokens changes
            methods = available(options.methods)
            results = measure(x, options.repeats, methods, options.seconds, options.settle)
            after = clocks() if device == "cuda" else {}
            case = {"hidden": hidden, "tokens": tokens, "vocabulary": options.vocabulary, "topk": TOPK}
            for name, found in results.items():
                method = methods[name]
                if "ms" in found:
                    tflops = method.units * tokens * hidden * options.vocabulary / found["ms"] / 1e9
                    found["tflops"] = round(tflops, 1)
                    if floor := floor_of(results, method.units):
                        found["of_products"] = round(found["ms"] / floor, 3)
                    if peak := PEAK_TFLOPS.get(about["machine"]):
                        found["of_peak"] = round(tflops / peak, 3)
                    said = f"{found['ms']:9.2f} ms {found['gib']:7.2f} GiB {tflops:6.0f} TFLOP/s"
                    said += f" {found.get('of_products', 0):6.3f} x"
                else:
                    said = found["failed"]
                print(f"H {hidden:5} T {tokens:7} {name:20} {said}", flush=True)
                if options.json:
                    row = {
                        **case,
                        "method": name,
                        "same": method.same,
                        "settle": options.settle,
                        **found,
                        **after,
                        "about": about,
                    }
                    with options.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
