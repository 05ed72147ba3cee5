"""One outer step's update on one device: teacher, student, loss, backward, AdamW, through the trainer's own code.

In: a model shape with random weights, and either recorded rows (``--rows FILE.npz``: prompts and completions of one
step) or one row of a given length (``--length``: prompt 500, teacher's prompt 1,500). Out: a line per repeat with the
seconds of ``distill``, the peak of memory above what is there at rest, and the share of the GPU's peak rate; one line
of JSON each with ``--json FILE``.

    python benches/update.py --shape smollm2-135m --rows benches/data/step256.npz
    python benches/update.py --shape qwen3-4b --length 16384 --set model.gradient_checkpointing=true

Work, as counted: 6 FLOP a token and weight for the student, 2 for the teacher, layers alone; causal attention, half a
square a row; the output matrix at completion tokens. Recomputed layers are not counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config, load_config
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.policy import Student, device_of_rank, join_ranks, leave_ranks, make_teacher
from opsd_rs.policy import student as student_module
from opsd_rs.policy.attention import PACKED, register
from opsd_rs.policy.lm import DTYPES
from opsd_rs.records import Grade
from opsd_rs.training.update import distill
from torch import nn

PEAK_FLOPS = {"NVIDIA H200": 989e12, "NVIDIA H100 80GB HBM3": 989e12}
"""Dense bf16, from the vendor's data sheet."""
QWEN3 = {  # layers, hidden, feed-forward, heads, key heads, tied
    "qwen3-0.6b": (28, 1024, 3072, 16, 8, True),
    "qwen3-1.7b": (28, 2048, 6144, 16, 8, True),
    "qwen3-4b": (36, 2560, 9728, 32, 8, True),
    "qwen3-8b": (36, 4096, 12288, 32, 8, False),
}
SHAPES = ("tiny", "smollm2-135m", *QWEN3)
PROMPT, TEACHER_PROMPT = 500, 1500


def model_config(shape: str) -> Any:
    """The Hugging Face configuration of a named shape."""
    from transformers import LlamaConfig, Qwen3Config

    if shape in QWEN3:
        layers, hidden, inner, heads, key_heads, tied = QWEN3[shape]
        return Qwen3Config(
            vocab_size=151_936, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=key_heads, head_dim=128, tie_word_embeddings=tied,
            max_position_embeddings=40_960, rope_theta=1e6, dtype="bfloat16",
        )  # fmt: skip
    layers, hidden, inner, heads, key_heads = (30, 576, 1536, 9, 3) if shape != "tiny" else (2, 64, 128, 2, 1)
    return LlamaConfig(
        vocab_size=49_152, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_heads, tie_word_embeddings=True,
        max_position_embeddings=8192, rope_theta=1e5, dtype="bfloat16",
    )  # fmt: skip


def make_models_on(device: torch.device, shape: str) -> None:
    """Let the student start from random weights of ``shape``, made on ``device``: there is no model on disk."""
    from transformers import AutoModelForCausalLM

    def load_model(model_dir: str, dtype: str, *, packed: bool = False) -> nn.Module:
        register()
        torch.manual_seed(0)
        options: dict[str, Any] = {"attn_implementation": PACKED} if packed else {}
        with torch.device(device):
            build: Any = AutoModelForCausalLM.from_config
            model: nn.Module = build(model_config(shape), dtype=DTYPES[dtype], **options).eval()
        return model

    student_module.load_model = load_model  # type: ignore[attr-defined]


def recorded_rows(path: Path, prompts: int | None) -> RolloutBatch:
    """A step's rows as ``tools/record_step.py`` wrote them; of the first ``prompts`` problems only."""
    found = np.load(path)

    def batch(side: str) -> Batch:
        return Batch(
            input_ids=found[f"{side}_ids"].astype(np.int64),
            cu_seqlens=found[f"{side}_cu"].astype(np.int32),
            completion_spans=found[f"{side}_spans"].astype(np.int64),
            has_context=found["has_context"],
        )

    student = replace(batch("student"), logprobs=found["logprobs"].astype(np.float32))
    grades = tuple(
        Grade(f"p{problem}", row, bool(passed), "accepted", ())
        for row, (problem, passed) in enumerate(zip(found["problem"], found["passed"], strict=True))
    )
    rows = RolloutBatch(student, batch("teacher"), grades)
    kept = [row for row, problem in enumerate(found["problem"]) if prompts is None or problem < prompts]
    return rows.rows(kept)


def one_row(length: int, vocabulary: int) -> RolloutBatch:
    """One answer of ``length`` tokens."""
    ids = np.random.default_rng(0).integers(0, vocabulary, TEACHER_PROMPT + length)
    completion = ids[TEACHER_PROMPT:]
    student = Batch.of([ids[:PROMPT]], [completion])
    student = replace(student, logprobs=np.full(length, -np.log(vocabulary), np.float32))
    return RolloutBatch(
        student, Batch.of([ids[:TEACHER_PROMPT]], [completion]), (Grade("p", 0, True, "accepted", ()),)
    )


def flops(config: Any, rows: RolloutBatch) -> float:
    """Of one update, as the module's docstring counts."""
    layers, hidden = config.num_hidden_layers, config.hidden_size
    head_size = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    weights = layers * hidden * (head_size * (2 * heads + 2 * key_heads) + 3 * config.intermediate_size)
    total = 0.0
    kept = rows.teacher.has_context
    for side, factor in ((rows.student, 3), (rows.teacher, 1)):
        lengths = side.lengths[kept].astype(float)
        total += factor * (2 * weights * lengths.sum() + 2 * layers * heads * head_size * (lengths**2).sum())
    completion = float(rows.student.completion_lengths[kept].sum())
    return total + 8 * completion * config.vocab_size * hidden


def environment() -> dict[str, Any]:
    """Where this ran."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "command": " ".join(
            [
                "python",
                "benches/update.py",
                *(Path(word).name if "/" in word and ".json" in word else word for word in sys.argv[1:]),
            ]
        ),
    }
    if torch.cuda.is_available():
        query = "driver_version,clocks.sm,clocks.mem,power.draw"
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
        )
        found |= {"gpu": torch.cuda.get_device_name(), "nvidia_smi": said.stdout.strip()}
    return found


def some_of(rows: RolloutBatch, seed: int) -> RolloutBatch:
    """Four fifths of the rows, others each time: batches of ever new lengths."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.rows(sorted(order[: len(rows) * 4 // 5].tolist()))


def measure(config: Config, cases: list[RolloutBatch], options: argparse.Namespace) -> list[dict[str, Any]]:
    """One line per case and repeat; the first of each includes compilation, the very first the optimizer's state."""
    device = device_of_rank()
    on_gpu = device.type == "cuda"
    start = time.perf_counter()
    student = Student(config, options.shape, device)
    teacher = make_teacher(config, student)
    objective = make_objective(config)
    built = time.perf_counter() - start
    parameters = sum(p.numel() for p in student.parameters_by_name().values())
    lines = []
    for case, repeat in ((case, repeat) for case in cases for repeat in range(options.repeats)):
        rows = some_of(case, repeat) if options.vary else case
        work = flops(model_config(options.shape), rows)
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        rest, start = torch.cuda.memory_allocated() if on_gpu else 0, time.perf_counter()
        numbers = distill(student, teacher, objective, rows, config, Ranks())
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        peak_bytes = torch.cuda.max_memory_allocated() if on_gpu else 0
        teacher.follow(student.fp32_parts())
        line = {
            "shape": options.shape,
            "repeat": repeat,
            "seconds": round(seconds, 4),
            "rows": len(rows),
            "student_tokens": int(rows.student.lengths.sum()),
            "teacher_tokens": int(rows.teacher.lengths.sum()),
            "completion_tokens": int(rows.student.completion_lengths.sum()),
            "updates": numbers["updates"],
            "loss": numbers["loss"],
            "grad_norm": numbers["grad_norm"],
            "micro_batch_tokens": student.micro_batch_tokens,
            "parameters": parameters,
            "build_seconds": round(built, 1),
            "host_peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1),
            "tflop": round(float(work) / 1e12, 2),
        }
        if on_gpu:
            peak = PEAK_FLOPS.get(torch.cuda.get_device_name(), 0.0)
            line |= {
                "rest_gib": round(rest / 2**30, 3),
                "rest_bytes_per_parameter": round(rest / parameters, 2),
                "peak_gib": round(peak_bytes / 2**30, 3),
                "beyond_rest_gib": round((peak_bytes - rest) / 2**30, 3),
                "reserved_gib": round(torch.cuda.memory_reserved() / 2**30, 3),
                "mfu": round(work / seconds / peak, 4) if peak else None,
            }
        lines.append(line)
        print(line, flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--prompts", type=int)
    parser.add_argument("--length", type=int, nargs="*", default=[1024])
    parser.add_argument("--vary", action="store_true", help="other rows in each repeat")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--commit", default=None)
    options = parser.parse_args()
    overrides = ["train.mini_batch_prompts=32", "train.prompts_per_step=32", *options.set]
    config = load_config([], overrides)
    shape = model_config(options.shape)
    if options.rows:
        cases = [recorded_rows(options.rows, options.prompts)]
    else:
        cases = [one_row(length, shape.vocab_size) for length in options.length]
    join_ranks(device_of_rank())
    try:
        make_models_on(device_of_rank(), options.shape)
        lines = measure(config, cases, options)
    except torch.cuda.OutOfMemoryError as error:
        lines = [{"shape": options.shape, "out_of_memory": str(error).splitlines()[0]}]
        print(lines[0])
    finally:
        leave_ranks()
    if options.json:
        with options.json.open("a") as file:
            for line in lines:
                about = {
                    "rows_file": options.rows and options.rows.name,
                    "set": options.set,
                }
                file.write(json.dumps({**line, **about, **environment(), "commit": options.commit}) + "\n")


if __name__ == "__main__":
    main()
