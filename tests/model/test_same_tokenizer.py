"""An external teacher reads the student's ids: another tokenizer is refused by name, before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from opsd_rs.errors import BadInput
from opsd_rs.model import check_same_tokenizer


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t") / "student"
    tiny_models._train_tokenizer().save_pretrained(folder)
    return folder


def other(student: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    parts = json.loads((student / "tokenizer.json").read_text())
    change(parts)
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(parts))
    return str(folder)


def swap(parts: dict[str, Any]) -> None:
    vocabulary = parts["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def add(parts: dict[str, Any]) -> None:
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": 5000, "content": "<|tool|>"})


def merge_otherwise(parts: dict[str, Any]) -> None:
    parts["model"]["merges"].reverse()


def write_merges_as_of_old(parts: dict[str, Any]) -> None:
    parts["model"]["merges"] = [" ".join(pair) for pair in parts["model"]["merges"]]
    parts["truncation"], parts["post_processor"] = None, None


def put_a_space_before(parts: dict[str, Any]) -> None:
    parts["pre_tokenizer"]["add_prefix_space"] = True


def test_the_same_words_by_another_template_are_the_same(student: Path, tmp_path: Path) -> None:
    check_same_tokenizer("opd.teacher = x", str(student), str(student))
    check_same_tokenizer(
        "opd.teacher = x", other(student, tmp_path / "old", write_merges_as_of_old), str(student)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap, r"2 tokens have different ids, such as '[ab]': \d+ in .*student, \d+ in .*other"),
        (add, r"1 tokens have different ids, such as '<\|tool\|>': none in .*student, 5000 in .*other"),
        (merge_otherwise, "'model' differs in tokenizer.json"),
        (put_a_space_before, "'pre_tokenizer' differs"),
    ],
)
def test_what_differs_is_named(
    change: Callable[[dict[str, Any]], None], message: str, student: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=f"^opd.teacher = x: another tokenizer .*{message}.*"):
        check_same_tokenizer("opd.teacher = x", other(student, tmp_path / "other", change), str(student))


@pytest.mark.parametrize("text", [None, "", "[1]", '{"model": {}}', '{"model": {"vocab": [1]}}'])
def test_a_file_that_cannot_be_read_is_named(text: str | None, student: Path, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(BadInput, match=r"^opd.teacher = x: .*tokenizer.json is needed to compare tokenizers"):
        check_same_tokenizer("opd.teacher = x", str(tmp_path), str(student))
