"""Perturbed weights: each model of the tests times (1 + 0.001 noise), by the seed in OPSD_RS_PERTURB_WEIGHTS.

Processors round differently, so a text that a model samples on one of them may differ on another. Noise of this size
changes far more than rounding does: a test that passes with several seeds depends on no text that one processor gives.

    OPSD_RS_PERTURB_WEIGHTS=1 pytest -m samples_model
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VARIABLE = "OPSD_RS_PERTURB_WEIGHTS"
SIZE = 1e-3


def seed() -> int | None:
    """The seed of the noise; None: weights stay as they are."""
    text = os.environ.get(VARIABLE)
    return int(text) if text else None


def perturb(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights in float32, times (1 + noise) where a seed is given. bfloat16 would round most of the noise away."""
    import torch

    number = seed()
    if number is None:
        return weights
    generator = torch.Generator().manual_seed(number)
    return {
        name: weight.float() * (1 + SIZE * torch.randn(weight.shape, generator=generator))
        for name, weight in sorted(weights.items())
    }


def perturbed_cache(model_dir: Path, cache: Path) -> Path:
    """A cache (``OPSD_RS_CACHE``) that holds a perturbed copy of a fetched model; the copy's folder."""
    from opsd_rs.model import cache as model_cache
    from safetensors.torch import load_file, save_file

    copy = cache / "models" / model_dir.name
    shutil.copytree(model_dir, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    weights = perturb(load_file(model_dir / "model.safetensors"))
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    manifest = json.loads((copy / model_cache.MANIFEST).read_bytes())
    manifest["files"] = {name: (copy / name).stat().st_size for name in manifest["files"]}
    (copy / model_cache.MANIFEST).write_text(json.dumps(manifest))
    return copy
