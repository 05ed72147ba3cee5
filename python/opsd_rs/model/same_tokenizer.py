"""Whether two model folders have the same tokenizer, so that one model may read the other's ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opsd_rs.errors import BadInput


def check_same_tokenizer(key: str, teacher_dir: str, student_dir: str) -> None:
    """Compare what makes ids of text: vocabulary, merges, added tokens, and what is done to the text before.

    Chat templates may differ: the teacher reads what the student's has made.

    :param key: the configuration's, with its value, for the message
    :raises BadInput: they differ, or a folder has no readable ``tokenizer.json``
    """
    teacher, student = (_parts(key, folder) for folder in (teacher_dir, student_dir))
    ours, theirs = (_ids(part) for part in (student, teacher))
    fix = "take a teacher with the student's tokenizer"
    different = sorted(
        (ours.get(token, -1), token)
        for token in ours.keys() | theirs.keys()
        if ours.get(token) != theirs.get(token)
    )
    if different:
        token = next((token for number, token in different if number >= 0), different[0][1])
        raise BadInput(
            f"{key}: another tokenizer than the student's: {len(different)} tokens have different ids, such as"
            f" {token!r}: {_named(ours, token)} in {student_dir}, {_named(theirs, token)} in {teacher_dir}; {fix}"
        )
    for name in ("model", "normalizer", "pre_tokenizer"):
        if _plain(student.get(name)) != _plain(teacher.get(name)):
            raise BadInput(
                f"{key}: another tokenizer than the student's: {name!r} differs in tokenizer.json; {fix}"
            )


def _parts(key: str, folder: str) -> dict[str, Any]:
    file = Path(folder) / "tokenizer.json"
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        _ids(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = type(error).__name__ if isinstance(error, KeyError | TypeError | AttributeError) else error
        raise BadInput(
            f"{key}: {file} is needed to compare tokenizers, and cannot be read: {reason}"
        ) from error
    return found


def _ids(parts: dict[str, Any]) -> dict[str, int]:
    vocabulary = parts["model"]["vocab"]
    if isinstance(vocabulary, list):  # unigram models: [token, score] by id
        vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
    return {**vocabulary, **{token["content"]: token["id"] for token in parts.get("added_tokens") or []}}


def _plain(part: Any) -> Any:
    """Merges were strings once and are pairs now; the vocabulary has been compared."""
    if not isinstance(part, dict) or "merges" not in part:
        return part
    merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in part["merges"]]
    return {"type": part.get("type"), "merges": merges}


def _named(ids: dict[str, int], token: str) -> str:
    return str(ids[token]) if token in ids else "none"
