"""Which weights a folder holds: the same for the same weights, remembered by path, size and time."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import tiny_models
from opsd_rs.errors import BadInput
from opsd_rs.model import hashes, weights_id


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPSD_RS_CACHE", str(tmp_path / "cache"))
    hashes._remembered.cache_clear()
    return tiny_models.tiny(tmp_path / "one", "llama")


def test_equal_weights_have_one_name_wherever_they_are(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    assert weights_id(str(model)) == weights_id(str(copy))
    config = json.loads((copy / "config.json").read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"transformers_version": "0"}))
    assert weights_id(str(model)) == weights_id(str(copy)), "who wrote it does not matter"
    (copy / "config.json").write_text(json.dumps(config | {"rope_theta": 7.0}))
    assert weights_id(str(model)) != weights_id(str(copy)), "what it computes does"
    shutil.copyfile(model / "config.json", copy / "config.json")
    (copy / "training_args.bin").write_bytes(b"no weights")
    assert weights_id(str(model)) == weights_id(str(copy))
    other = tiny_models.tiny(tmp_path / "other", "llama", seed=1)
    assert weights_id(str(model)) != weights_id(str(other))


def test_a_file_is_read_again_only_where_size_or_time_changed(model: Path, tmp_path: Path) -> None:
    before = weights_id(str(model))
    (file,) = model.glob("*.safetensors")
    kept = tmp_path / "cache" / "hashes.json"
    assert list(json.loads(kept.read_bytes())) == [str(file.resolve())]
    times, data = file.stat(), file.read_bytes()
    changed = bytes([*data[:-1], data[-1] ^ 1])

    file.write_bytes(changed)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    hashes._remembered.cache_clear()
    assert weights_id(str(model)) == before, "same size and time: not read"
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    hashes._remembered.cache_clear()
    assert weights_id(str(model)) != before, "another time: read again"

    kept.write_text("not JSON")
    hashes._remembered.cache_clear()
    after = weights_id(str(model))
    file.write_bytes(data)
    assert weights_id(str(model)) == before != after


def test_a_folder_without_weights_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="holds no weights"):
        weights_id(str(tmp_path))


def test_a_cache_that_cannot_be_written_costs_time_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights_id(str(model))
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", Path("/proc/opsd-rs")):
        monkeypatch.setenv("OPSD_RS_CACHE", str(place))
        hashes._remembered.cache_clear()
        assert weights_id(str(model)) == before
