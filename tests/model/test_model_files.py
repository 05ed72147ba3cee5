"""Model folders as people have them: each fault is one line that names the file and the fix, before anything starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opsd_rs.errors import BadInput
from opsd_rs.model import check_model_files, local_folder, safetensors_names
from tiny_models import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1503300328\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("m") / "m", "qwen3")


@pytest.fixture(scope="module")
def sharded(whole: Path) -> Path:
    from transformers import AutoModelForCausalLM

    folder = whole.parent / "sharded"
    shutil.copytree(whole, folder)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(whole).save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pointer": (
        lambda d: (d / "model.safetensors").write_bytes(POINTER),
        r"model.safetensors is a Git LFS pointer: run `git lfs pull`",
    ),
    "pointer of the tokenizer": (
        lambda d: (d / "tokenizer.json").write_bytes(POINTER),
        r"tokenizer.json is a Git LFS pointer",
    ),
    "cut": (
        lambda d: cut(d / "model.safetensors", 100_000),
        r"model.safetensors is cut: 100000 of \d+ bytes",
    ),
    "cut in the header": (
        lambda d: cut(d / "model.safetensors", 90),
        r"model.safetensors \(90 bytes\) is cut",
    ),
    "empty": (lambda d: cut(d / "model.safetensors", 0), r"model.safetensors \(0 bytes\) is cut"),
    "not the format": (
        lambda d: (d / "model.safetensors").write_bytes(b"<html>not found</html>" * 100),
        r"is cut or no safetensors file",
    ),
    "absent": (lambda d: (d / "model.safetensors").unlink(), r"it has no weights \(\*.safetensors\)"),
    "quantised": (
        lambda d: edit(d / "config.json", quantization_config={"quant_method": "awq", "bits": 4}),
        r"quantised \(awq\): training needs the full-precision model",
    ),
    "vision": (
        lambda d: edit(d / "config.json", architectures=["Qwen2_5_VLForConditionalGeneration"]),
        r"Qwen2_5_VLForConditionalGeneration is no causal language model",
    ),
    "config": (lambda d: (d / "config.json").write_text("{"), r"config.json cannot be read as JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_cannot_be_loaded_is_one_line(fault: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(whole, folder)
    check_model_files(folder)
    damage, words = FAULTS[fault]
    damage(folder)
    with pytest.raises(BadInput, match=words) as caught:
        check_model_files(folder)
    assert str(folder) in str(caught.value)


def test_a_missing_or_incomplete_shard_is_named(sharded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(sharded, folder)
    check_model_files(folder)
    shard = sorted(folder.glob("*.safetensors"))[1]
    index = json.loads((folder / "model.safetensors.index.json").read_bytes())
    first = min(name for name, place in index["weight_map"].items() if place == shard.name)
    shutil.copy(sorted(folder.glob("*.safetensors"))[0], shard)
    with pytest.raises(BadInput, match=rf"{shard.name} lacks {first}"):
        check_model_files(folder)
    shard.unlink()
    with pytest.raises(BadInput, match=rf"{shard.name} is missing"):
        check_model_files(folder)


def test_names_come_from_the_header_as_the_library_reads_them(whole: Path) -> None:
    from safetensors import safe_open

    with safe_open(str(whole / "model.safetensors"), framework="pt") as file:
        assert safetensors_names(whole / "model.safetensors") == set(file.keys())


def test_old_weights_are_left_to_the_library(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(whole, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model-00001-of-00001.bin").write_bytes(b"x" * 5000)
    check_model_files(folder)
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model-00002.bin"}}')
    with pytest.raises(BadInput, match=r"pytorch_model-00002.bin is missing"):
        check_model_files(folder)


def test_a_hub_name_becomes_the_folder_in_the_hubs_cache(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    repo = tmp_path / "models--someone--tiny"
    shutil.copytree(whole, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *args, real=huggingface_hub.snapshot_download, **kw: real(*args, cache_dir=tmp_path, **kw),
    )
    assert local_folder("someone/tiny") == str(repo / "snapshots" / commit)
    with pytest.raises(BadInput, match=r"no directory 'someone/other', and the hub did not give it"):
        local_folder("someone/other")
