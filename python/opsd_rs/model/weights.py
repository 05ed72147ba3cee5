"""Whether the files of a model folder can be read, told from their first bytes and sizes, without torch.

A folder that people have is not always whole: cloned without Git LFS, cut by a broken download, a shard missing,
quantised for inference. Each is one line before anything else starts.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from opsd_rs.errors import BadInput

LFS = b"version https://git-lfs"
SMALL_BYTES = 1024
"""A Git LFS pointer is about 130 bytes long."""
BIN_INDEX = "pytorch_model.bin.index.json"
INDEX = "model.safetensors.index.json"


def check_model_files(folder: Path) -> None:
    """Refuse a folder whose weights, tokenizer or configuration cannot be loaded as they are.

    :raises BadInput: a Git LFS pointer, a cut or missing file, quantised weights, a model that is no causal LM
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size <= SMALL_BYTES and path.read_bytes().startswith(LFS):
            raise _bad(folder, f"{path.name} is a Git LFS pointer: run `git lfs pull` there")
    config = _json(folder, folder / "config.json")
    quantised = config.get("quantization_config") or config.get("text_config", {}).get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "quantised") if isinstance(quantised, dict) else "quantised"
        raise _bad(folder, f"its weights are quantised ({method}): training needs the full-precision model")
    kinds = config.get("architectures") or []
    if kinds and not any(str(kind).endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        raise _bad(folder, f"{kinds[0]} is no causal language model: name a text-only model")
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    index = folder / INDEX
    if index.is_file():
        placed: dict[str, str] = _json(folder, index).get("weight_map", {})
        for shard in sorted(set(placed.values())):
            if not (folder / shard).is_file():
                raise _bad(folder, f"{shard} is missing ({INDEX} names it): download it again")
            absent = {name for name, place in placed.items() if place == shard} - safetensors_names(
                folder / shard
            )
            if absent:
                raise _bad(folder, f"{shard} lacks {sorted(absent)[0]}, which {INDEX} places there")
        return
    found = sorted(folder.glob("*.safetensors"))
    for path in found:
        safetensors_names(path)
    if found:
        return
    if not any(folder.glob("pytorch_model*.bin")):
        raise _bad(folder, "it has no weights (*.safetensors): download them")
    if (folder / BIN_INDEX).is_file():
        placed = _json(folder, folder / BIN_INDEX).get("weight_map", {})
        for shard in sorted(set(placed.values())):
            if not (folder / shard).is_file():
                raise _bad(folder, f"{shard} is missing ({BIN_INDEX} names it): download it again")


def safetensors_names(path: Path) -> frozenset[str]:
    """The tensors of one file, by its header.

    :raises BadInput: the file is cut, or not of this format
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        header = file.read(length) if length <= size - 8 else b""
    try:
        entries: dict[str, Any] = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _bad(path.parent, f"{path.name} ({size} bytes) is cut or no safetensors file") from None
    wanted = 8 + length + max(ends, default=0)
    if size < wanted:
        raise _bad(path.parent, f"{path.name} is cut: {size} of {wanted} bytes; download it again")
    return frozenset(entries) - {"__metadata__"}


def _json(folder: Path, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _bad(folder, f"{path.name} cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise _bad(folder, f"{path.name} holds no JSON object")
    return found


def _bad(folder: Path, fault: str) -> BadInput:
    return BadInput(f"model.path = {folder}: {fault}")
