"""The bytes of every token of a tokenizer: what a page needs to show a text token by token, without a tokenizer.

In: a tokenizer's own JSON. Out: bytes by id; those of a text's ids end to end are the text in UTF-8, special tokens
written out. A token may be a part of a character.
What it does not do: split text, or add the space that some tokenizers take from the front of a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(tokenizer_json: str) -> dict[int, bytes]:
    """Bytes by id, in the order of the ids.

    :param tokenizer_json: text of a ``tokenizer.json``

    >>> made = {"model": {"vocab": {"Ġa": 0, "b": 1}}, "decoder": {"type": "ByteLevel"}, "added_tokens": []}
    >>> token_bytes(json.dumps(made))
    {0: b' a', 1: b'b'}
    """
    described = json.loads(tokenizer_json)
    vocab = described["model"]["vocab"]
    # Unigram models list pieces with their scores, the others map them to ids.
    ids = {piece: i for i, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else vocab
    kinds = {step.get("type"): step for step in _decoders(described.get("decoder"))}
    if "ByteLevel" in kinds:
        table = {chr(code): byte for byte, code in _spelling().items()}
        found = {i: _byte_level(piece, table) for piece, i in ids.items()}
    else:
        space = kinds.get("Metaspace", {}).get("replacement", "▁")
        found = {
            i: bytes([int(byte[1], 16)])
            if "ByteFallback" in kinds and (byte := _BYTE.fullmatch(piece))
            else piece.replace(space, " ").encode(errors="replace")
            for piece, i in ids.items()
        }
    found |= {added["id"]: added["content"].encode() for added in described.get("added_tokens") or []}
    return dict(sorted(found.items()))


def _decoders(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if decoder is not None:
        yield decoder
        for step in decoder.get("decoders", []):
            yield from _decoders(step)


def _byte_level(piece: str, table: dict[str, int]) -> bytes:
    # A piece with other characters was added to the vocabulary as it is.
    return bytes(table[c] for c in piece) if all(c in table for c in piece) else piece.encode()


def _spelling() -> dict[int, int]:
    """Byte -> the character that byte-level vocabularies write for it: printable ones themselves, the others in turn
    from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    found = {byte: byte for byte in printable}
    others = (byte for byte in range(256) if byte not in found)
    return found | {byte: 0x100 + place for place, byte in enumerate(others)}
