"""Packing: slot texts and sampled completions to one ``Batch`` per side.

In: rows of slot texts and the completions as sampled. Out: a ``Batch`` of numpy arrays that share memory with what
Rust wrote.
What it does not do: it decides nothing about who reads what, and it never tokenises a completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from opsd_rs.base import Batch as Batch
from opsd_rs.base import flat_ids
from opsd_rs.context.text import half_pair
from opsd_rs.errors import OpsdError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsd_rs import _core
    from opsd_rs.records import Rollout

BatchRow = tuple[str, str, Sequence[str | None]]
"""Problem id, the student's message, a text per section."""


def pack_rows(
    chat: _core.Chat,
    template: _core.ContextTemplate,
    rows: Sequence[BatchRow],
    completions: Sequence[Sequence[int]],
    *,
    section_names: Sequence[str],
    max_tokens: int,
    section_tokens: Mapping[str, int] | None = None,
    has_context: Sequence[bool],
    statuses: Sequence[str] = (),
    flags: Sequence[Sequence[str]] = (),
) -> Batch:
    """Fill, cut, encode and pack ``rows``; each ends with its completion.

    :param section_names: names of the template's sections, in its order
    :param max_tokens: bound of every prompt, completion not counted
    :param section_tokens: bound of each section, where it has one
    :param flags: what is known of each row already; the flags of its cuts and spellings come before
    :raises BadInput: a row that no cutting brings within its bounds, or whose texts have no UTF-8 form
    """
    if not len(rows) == len(completions) == len(has_context):
        raise OpsdError(f"{len(rows)} rows, {len(completions)} completions, {len(has_context)} masks")
    bounds = section_tokens or {}
    ids, offsets = flat_ids(completions)
    limits = [bounds.get(name) for name in section_names]
    try:
        buffers = chat.assemble_packed(template, rows, max_tokens, limits, ids, offsets)
    except UnicodeEncodeError as error:
        raise half_pair(error, ((name, (prompt, *texts)) for name, prompt, texts in rows)) from None

    def integers(key: str, *shape: int) -> NDArray[np.int64]:
        return np.frombuffer(buffers[key], np.int64).reshape(shape or (-1,))

    cu_seqlens = integers("offsets")
    spans = integers("spans", len(rows), 1 + len(section_names), 2)
    return Batch(
        input_ids=integers("input_ids"),
        cu_seqlens=cu_seqlens.astype(np.int32),
        completion_spans=np.stack([integers("completions"), cu_seqlens[1:]], axis=1),
        has_context=np.array(has_context, np.bool_),
        sections={name: spans[:, i] for i, name in enumerate(("prompt", *section_names))},
        shared_prefixes=integers("shared", len(rows), 2),
        statuses=tuple(statuses),
        flags=tuple((*found, *known) for found, known in zip_longest(buffers["flags"], flags, fillvalue=())),
    )


def student_batch(rollouts: Sequence[Rollout]) -> Batch:
    """The student's side: each prompt as it was sampled from, then its completion.

    :raises OpsdError: rollouts of which only some tokens have a log-probability
    """
    batch = Batch.of([r.prompt_ids for r in rollouts], [r.completion_ids for r in rollouts])
    first: dict[tuple[int, ...], int] = {}
    shared = [(first.setdefault(r.prompt_ids, i), len(r.prompt_ids)) for i, r in enumerate(rollouts)]
    return replace(
        batch,
        shared_prefixes=np.array(
            [(row, length if row < i else 0) for i, (row, length) in enumerate(shared)], np.int64
        ).reshape(-1, 2),
        logprobs=_logprobs(rollouts),
    )


def _logprobs(rollouts: Sequence[Rollout]) -> NDArray[np.float32] | None:
    """The sampler's log-probabilities end to end; None where the rollouts came without."""
    for r in rollouts:
        if r.logprobs and len(r.logprobs) != len(r.completion_ids):
            raise OpsdError(
                f"problem {r.problem_id}, sample {r.sample}: {len(r.logprobs)} log-probabilities of "
                f"{len(r.completion_ids)} completion tokens"
            )
    found = np.fromiter(chain.from_iterable(r.logprobs for r in rollouts), np.float64).astype(np.float32)
    total = sum(len(r.completion_ids) for r in rollouts)
    if len(found) not in (0, total):
        raise OpsdError(
            f"{len(found)} log-probabilities of {total} completion tokens: some rollouts have none"
        )
    return found if len(found) == total else None
