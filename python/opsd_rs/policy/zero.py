"""What DeepSpeed's ZeRO is told."""

from __future__ import annotations

from typing import Any

from opsd_rs.config import Config


def deepspeed_settings(config: Config) -> dict[str, Any]:
    """DeepSpeed's own configuration. Accumulation stays 1: the boundary is set by hand."""
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optim.clip,
        "zero_optimization": {
            "stage": config.deepspeed.stage,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "zero_allow_untested_optimizer": True,
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }
    if config.model.dtype == "bfloat16":
        # Gradients move on from the bf16 ones that torch makes at once; else every parameter would have both.
        settings["bf16"] = {"enabled": True, "immediate_grad_update": True}
        accumulated = {"float32": "fp32", "bfloat16": "bf16"}[config.optim.gradient_dtype]
        settings["data_types"] = {"grad_accum_dtype": accumulated}
    return settings
