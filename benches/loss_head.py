"""The loss head: time and memory of one forward and backward pass, side by side, on one device.

In: nothing; random hidden states and matrices of a model's shape. Out: a line per case and method with the median
milliseconds of ``--repeats`` runs in turn, the memory above the inputs, and the time as a multiple of ours; one line
of JSON each with ``--json FILE``. A method that does not fit into memory says so; one not installed is left out.

- ``products``: the four matrix products of the method alone (student, teacher, dH, dW): the least time.
- ``ours``: ``topk_kl``, reverse KL at the student's 20 ids and a tail. ``ours, torch``: the same without Triton.
- ``scoring``: ``linear_lse_topk`` alone, no gradient.
- ``eager``: ``opsd_loss`` on all logits, the same mathematics, bf16 logits and fp32 softmax.
- ``liger jsd``: Liger Kernel's chunked JSD. Other mathematics: whole vocabulary, no ids, one scalar.
- ``cce``: cut cross-entropy of the student alone. Other mathematics: one label, no teacher.

    python benches/loss_head.py --hidden 1024 4096 --tokens 8192 32768 --json head.jsonl

With ``--precision`` it prints errors against fp64 instead, of each ``precision``; a CPU is enough for 64 tokens:

    python benches/loss_head.py --precision --hidden 512 --tokens 64
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from opsd_rs.config import LossConfig
from opsd_rs.loss import OpsdLoss, opsd_loss
from opsd_rs.loss.kernels import OutputHead, linear_lse_topk, topk_kl
from torch import Tensor

TOPK = 20
TARGET_LOGIT = 25.0
"""Largest logits of trained models are about this."""


class Inputs:
    """Student and teacher of one case; the student's tensors want gradients."""

    def __init__(self, tokens: int, hidden: int, vocabulary: int, device: str, dtype: torch.dtype) -> None:
        generator = torch.Generator(device).manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

        # The largest of V normal numbers is about 5 standard deviations.
        self.weight_VD = normal(vocabulary, hidden).mul_(TARGET_LOGIT / 5 / hidden**0.5).requires_grad_()
        self.taught_VD = (self.weight_VD.detach() * 1.01).contiguous()
        self.hidden_TD = normal(tokens, hidden).requires_grad_()
        self.taught_TD = self.hidden_TD.detach() + 0.05 * normal(tokens, hidden)
        self.ids_T = torch.randint(vocabulary, (tokens,), generator=generator, device=device)
        self.weight_T = torch.full((tokens,), 1 / tokens, device=device)

    def clear(self) -> None:
        """Drop gradients."""
        self.weight_VD.grad = self.hidden_TD.grad = None


def products(x: Inputs) -> None:
    """The matrix products alone, over 4,096 tokens at a time."""
    sum_VD = torch.zeros_like(x.weight_VD, dtype=torch.float32)
    with torch.no_grad():
        for start in range(0, x.ids_T.shape[0], 4096):
            part = slice(start, start + 4096)
            z_CV = x.hidden_TD[part] @ x.weight_VD.T
            _ = x.taught_TD[part] @ x.taught_VD.T
            _ = z_CV @ x.weight_VD
            if z_CV.is_cuda:
                torch.addmm(sum_VD, z_CV.T, x.hidden_TD[part], out_dtype=torch.float32, out=sum_VD)
            else:
                sum_VD += z_CV.T @ x.hidden_TD[part]


def ours(x: Inputs, backend: str = "auto") -> None:
    """Our loss from hidden states."""
    heads = OutputHead(x.weight_VD), OutputHead(x.taught_VD)
    out = topk_kl(
        x.hidden_TD, heads[0], x.taught_TD, heads[1], x.ids_T, x.weight_T, topk=TOPK, backend=backend  # type: ignore[arg-type]
    )  # fmt: skip
    out.loss.backward()


def scoring(x: Inputs) -> None:
    """Log-probs of the 20 ids, no gradient."""
    linear_lse_topk(x.hidden_TD.detach(), OutputHead(x.weight_VD.detach()), TOPK, labels_T=x.ids_T)


def eager(x: Inputs) -> None:
    """The loss on all logits."""
    with torch.no_grad():
        taught_TV = x.taught_TD @ x.taught_VD.T
    mask_T = torch.ones_like(x.ids_T, dtype=torch.bool)
    out = opsd_loss(
        x.hidden_TD @ x.weight_VD.T,
        taught_TV,
        x.ids_T,
        mask_T,
        torch.zeros_like(x.ids_T),
        config=LossConfig(topk=TOPK),
    )
    out.loss.backward()


def liger(x: Inputs) -> None:
    """Liger Kernel's chunked JSD."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.5)
    value = loss(x.hidden_TD, x.weight_VD, x.taught_TD, x.taught_VD, x.ids_T)
    (value[0] if isinstance(value, tuple) else value).backward()


def cce(x: Inputs) -> None:
    """Cut cross-entropy."""
    from cut_cross_entropy import linear_cross_entropy

    linear_cross_entropy(x.hidden_TD, x.weight_VD, x.ids_T, impl="cce").backward()


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


def methods() -> dict[str, Callable[[Inputs], None]]:
    """Those that can run here."""
    found: dict[str, Callable[[Inputs], None]] = {
        "ours": ours,
        "ours, torch": lambda x: ours(x, "torch"),
        "products": products,
        "scoring": scoring,
        "eager": eager,
    }
    if torch.cuda.is_available():
        found |= {"liger jsd": liger} if find_spec("liger_kernel") else {}
        found |= {"cce": cce} if find_spec("cut_cross_entropy") else {}
    return found


def once(run: Callable[[Inputs], None], x: Inputs) -> tuple[float, float]:
    """(milliseconds, GiB above the inputs)."""
    x.clear()
    if not torch.cuda.is_available():
        start = time.perf_counter()
        run(x)
        return 1e3 * (time.perf_counter() - start), 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run(x)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end), (torch.cuda.max_memory_allocated() - before) / 2**30


def measure(x: Inputs, repeats: int, names: list[str]) -> dict[str, dict[str, Any]]:
    """Median milliseconds and memory of each method, taken in turn."""
    runs = {name: run for name, run in methods().items() if not names or name in names}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    failed: dict[str, str] = {}
    for turn in range(repeats + 1):  # the first compiles and warms up
        for name, run in runs.items():
            if name in failed:
                continue
            try:
                taken = once(run, x)
            except torch.OutOfMemoryError:
                failed[name] = "out of memory"
                continue
            if turn:
                found[name].append(taken)
    x.clear()
    results: dict[str, dict[str, Any]] = {name: {"failed": said} for name, said in failed.items()}
    for name, taken in found.items():
        if name not in failed:
            times, memory = zip(*taken, strict=True)
            results[name] = {
                "ms": statistics.median(times), "ms_min": min(times), "ms_max": max(times), "gib": max(memory),
            }  # fmt: skip
    return results


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024])
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192])
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--precision", action="store_true", help="errors, not times")
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    machine = torch.cuda.get_device_name() if on_gpu else (platform.processor() or platform.machine())
    print(f"{machine}, torch {torch.__version__}, V = {options.vocabulary}, top {TOPK}, bf16", flush=True)
    for hidden in options.hidden:
        for tokens in options.tokens:
            x = Inputs(tokens, hidden, options.vocabulary, device, torch.bfloat16)
            if options.precision:
                print_errors(x)
                continue
            torch.compiler.reset()  # Liger's compiled chunk fails where the number of tokens changes
            results = measure(x, options.repeats, options.methods)
            base = results.get("ours", {}).get("ms")
            for name, found in results.items():
                flop = (2 if name == "scoring" else 8) * tokens * hidden * options.vocabulary
                if "ms" in found:
                    found["tflops"] = flop / found["ms"] / 1e9
                    ratio = f"{found['ms'] / base:5.2f} x" if base else ""
                    said = f"{found['ms']:9.2f} ms {found['gib']:7.2f} GiB {found['tflops']:6.0f} TFLOP/s {ratio}"
                else:
                    said = found["failed"]
                print(f"H {hidden:5} T {tokens:7} {name:12} {said}", flush=True)
                if options.json:
                    row = {"hidden": hidden, "tokens": tokens, "method": name, "machine": machine, **found}
                    with options.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
