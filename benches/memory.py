"""Memory and time of student and teacher, without sampler and loss: what stays, what a step adds, what a swap costs.

In: a named shape of Qwen3 with random weights, made on the device, so no model on disk; keys of the configuration. Out:
one JSON object: bytes per parameter at rest, while gradients are held, at the peak of a backward pass, of a scoring and
inside the step; seconds of the swap in and out, of following, of the step.

    python benches/memory.py 8b --json 8b.json optim.offload=true optim.gradient_dtype=bfloat16

On a CPU the tensors that Python sees are counted, so peaks are unknown there.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from opsd_rs.base import Batch
from opsd_rs.config import Config, load_config
from opsd_rs.policy import Student, Teacher, device_of_rank, join_ranks, leave_ranks, make_teacher
from opsd_rs.policy import student as student_module
from opsd_rs.policy.attention import PACKED, register
from opsd_rs.policy.lm import DTYPES
from torch import nn

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 512},
    "0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28},
    "1.7b": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28},
    "4b": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "tie_word_embeddings": False,
    },
}
COMMON: dict[str, Any] = {
    "vocab_size": 151_936,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
}


def random_model(shape: str, dtype: str, device: torch.device, *, parted: bool, packed: bool) -> nn.Module:
    """A Qwen3 of this shape with random weights, on ``device``.

    :param parted: in ZeRO-3's parts
    :param packed: its attention takes packed rows
    """
    from transformers import AutoModelForCausalLM, Qwen3Config

    settings = Qwen3Config(**COMMON | SHAPES[shape])
    build: Any = AutoModelForCausalLM.from_config
    options: dict[str, Any] = {"dtype": DTYPES[dtype]}
    if packed:
        register()
        options["attn_implementation"] = PACKED
    with nullcontext() if parted else torch.device(device):
        model = build(settings, **options)
    found: nn.Module = model.eval()
    return found


def allocated(device: torch.device) -> int:
    """Bytes in use on ``device``."""
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in gc.get_objects()
        if isinstance(t, torch.Tensor) and t.device.type == "cpu"
    }
    return sum(storages.values())


class Meter:
    """Seconds and peaks of calls, in bytes per parameter."""

    def __init__(self, device: torch.device, num_parameters: int) -> None:
        self.device, self.num_parameters = device, num_parameters
        self.found: dict[str, Any] = {}

    def rest(self, name: str) -> None:
        """Record what is allocated now."""
        self.found[f"{name}_bytes"] = round(allocated(self.device) / self.num_parameters, 3)

    def call(self, name: str, work: Callable[[], object]) -> None:
        """Do ``work``; record its seconds, and by how much it went above what was there before."""
        before, cuda = allocated(self.device), self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        self.found.setdefault(f"{name}_seconds", []).append(round(seconds, 5))
        if cuda:
            peak = torch.cuda.max_memory_allocated(self.device) - before
            self.found.setdefault(f"{name}_peak_bytes", []).append(round(peak / self.num_parameters, 3))


def measure(student: Student, teacher: Teacher, batch: Batch, meter: Meter, repeats: int) -> None:
    """``repeats`` outer steps of two micro-batches each."""

    def backward(*, last: bool) -> None:
        student.backward(student.logits(batch).float().logsumexp(-1).mean(), last=last)

    meter.rest("before_first_step")
    for _ in range(repeats):
        lent = teacher.loaded()
        meter.call("swap_in", lent.__enter__)
        meter.rest("scoring")
        meter.call("swap_out", lambda lent=lent: lent.__exit__(None, None, None))  # type: ignore[misc]
        meter.call("first_backward", lambda: backward(last=False))
        meter.call("last_backward", lambda: backward(last=True))
        meter.rest("gradients_held")
        meter.call("step", student.step)
        meter.call("follow", lambda: teacher.follow(student.fp32_parts()))
        meter.rest("rest")


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="keys of the configuration")
    parser.add_argument("--tokens", type=int, default=64, help="of the one row of a micro-batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_intermixed_args()
    config: Config = load_config([], ["control.mask=one", "optim.lr=1e-4", *options.words])
    device = device_of_rank()
    join_ranks(device)
    parted = config.deepspeed.stage == 3

    def load_model(model_dir: str, dtype: str, *, packed: bool = False) -> nn.Module:
        return random_model(options.shape, dtype, device, parted=parted, packed=packed)

    student_module.load_model = load_model  # type: ignore[attr-defined]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as nothing:
        student = Student(config, nothing, device)
    teacher = make_teacher(config, student)
    built = time.perf_counter() - start
    numel = sum(getattr(p, "ds_numel", p.numel()) for p in student.parameters_by_name().values())
    meter = Meter(device, numel)
    ids = [i % 500 for i in range(options.tokens)]
    half = options.tokens // 2
    measure(student, teacher, Batch.of([ids[:half]], [ids[half:]]), meter, options.repeats)
    found = {
        "shape": options.shape,
        "parameters": numel,
        "words": options.words,
        "optimizer": type(student.engine.optimizer).__name__,
        **meter.found,
        "build_seconds": round(built, 2),
        "host_peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "torch": torch.__version__,
        "command": " ".join(sys.argv),
    }
    text = json.dumps(found)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    leave_ranks()


if __name__ == "__main__":
    main()
