"""Bytes of tokens: those of a text's ids end to end are what the tokenizer itself decodes."""

from __future__ import annotations

import random

import context_models
import pytest
import real_tokenizers
from opsd_rs.context.pieces import token_bytes
from transformers import AutoTokenizer

TEXT = "Ein wörd,  漢字 🙂\n\tdef f(x):\r\n   return x\x00"


def check(tokenizer) -> None:
    pieces = token_bytes(tokenizer.backend_tokenizer.to_str())
    assert list(pieces) == list(range(len(tokenizer)))
    drawn = random.Random(0)
    rows = [tokenizer.encode(TEXT, add_special_tokens=False)]
    rows += [[drawn.randrange(len(tokenizer)) for _ in range(8)] for _ in range(500)]
    for ids in rows:
        text = b"".join(pieces[i] for i in ids).decode(errors="replace")
        assert text == tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", sorted(real_tokenizers.SOURCES))
def test_bytes_of_published_vocabularies(name: str) -> None:
    check(AutoTokenizer.from_pretrained(real_tokenizers.directory(name)))


@pytest.mark.parametrize("shape", sorted(context_models.SHAPES))
def test_bytes_of_each_familys_tokenizer(shape: str, tmp_path) -> None:
    check(AutoTokenizer.from_pretrained(context_models.save(tmp_path / shape, context_models.SHAPES[shape])))


def test_bytes_of_pieces_with_a_sign_for_the_space() -> None:
    from tokenizers import Tokenizer, decoders, models

    model = models.Unigram(
        [("<unk>", 0.0), ("▁a", -1.0), ("b", -2.0), ("<0xE6>", -3.0), ("<0xBC>", -3.0)], 0, True
    )
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    assert token_bytes(tokenizer.to_str()) == {0: b"<unk>", 1: b" a", 2: b"b", 3: b"\xe6", 4: b"\xbc"}
