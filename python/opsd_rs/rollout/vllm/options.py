"""vLLM's options and the environment its process starts in, from ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opsd_rs
from opsd_rs.base import openmp_environment
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from opsd_rs.config import RolloutConfig


LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "GROUP_", "ROLE_", "LOCAL_", "MASTER_", "TORCHELASTIC_", "CROSS_")
"""Prefixes of what a distributed launcher set for the trainer; the engine has a process group of its own."""
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""How the trainer's memory is cut up; vLLM's sleep mode and weights given to another process need plain segments."""


def llm_options(
    model_dir: Path,
    rollout: RolloutConfig,
    dtype: str,
    max_model_len: int,
    device_index: int | None,
) -> dict[str, Any]:
    """Arguments of ``vllm.LLM``, valid for vLLM 0.24 to 0.33."""
    options: dict[str, Any] = {
        "model": str(model_dir),
        "dtype": dtype,
        "skip_tokenizer_init": True,  # ids in, ids out
        "seed": 0,
        "max_model_len": max_model_len,
        "max_num_seqs": rollout.max_num_seqs,
        "enable_prefix_caching": True,
        "logprobs_mode": "processed_logprobs",  # of the distribution sampled from
        "generation_config": "vllm",  # the model's own file must not change our decoding
        "worker_extension_cls": "opsd_rs.rollout.vllm.worker.WorkerExtension",
    }
    if device_index is None:
        # The CPU build cannot seed a request whose prompt is split over batches ("CPU Generator does not use
        # offset"), so a whole prompt must fit one batch.
        options |= {
            "enforce_eager": True,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(max_model_len, 4096),
        }
    else:
        options |= {
            "enforce_eager": rollout.enforce_eager,
            "gpu_memory_utilization": rollout.gpu_memory_utilization,
        }
    return options


def engine_environment(
    parent: Mapping[str, str], rollout: RolloutConfig, device_index: int | None
) -> dict[str, str]:
    """The engine's environment: the trainer's, less what is the trainer's alone, plus what vLLM needs."""
    environment = {
        key: value
        for key, value in parent.items()
        if not key.startswith((*LAUNCHER_VARIABLES, *ALLOCATOR_VARIABLES))
    }
    package_parent = str(Path(opsd_rs.__file__).parents[1])
    environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, [package_parent, parent.get("PYTHONPATH", "")])),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, this one
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if device_index is not None:
        visible = [entry for entry in parent.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry]
        if visible and device_index >= len(visible):
            raise BadInput(f"GPU {device_index} was asked for, but CUDA_VISIBLE_DEVICES lists {len(visible)}")
        environment["CUDA_VISIBLE_DEVICES"] = visible[device_index] if visible else str(device_index)
        return environment
    cores = sorted(os.sched_getaffinity(0))
    return environment | {
        **openmp_environment(parent, Path(sys.prefix), len(cores)),  # the trainer needs these cores too
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        "VLLM_CPU_KVCACHE_SPACE": str(rollout.kv_cache_gib),  # GiB
    }
