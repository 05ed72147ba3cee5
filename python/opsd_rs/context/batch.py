"""A step's rows as flat buffers: prompts and completions end to end, and where everything stands in them.

In: rows of slot texts and the completions as sampled. Out: a ``Batch`` of numpy arrays that share memory with what
Rust wrote; no Python list holds a token. ``torch.from_numpy(batch.input_ids)`` is free.
What it does not do: it decides nothing about who reads what, and it never tokenises a completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opsd_rs.context.text import half_pair
from opsd_rs.errors import OpsdError

if TYPE_CHECKING:
    from opsd_rs import _core
    from opsd_rs.records import Rollout

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
BatchRow = tuple[str, str, Sequence[str | None]]
"""Problem id, the student's message, a text per section."""


class Padded(NamedTuple):
    """A batch as rectangles of one row each."""

    input_ids: Ints
    attention_mask: Ints
    completion_mask: Bools
    """True on completion tokens."""
    position_ids: Ints
    """Counted from each row's first token; 0 on padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens, packed.

    >>> completions = np.array([[2, 4], [5, 6]])
    >>> batch = Batch(np.array([7, 8, 3, 4, 9, 3]), np.array([0, 4, 6], np.int32), completions, np.ones(2, bool))
    >>> batch.completion(0).tolist(), batch.prompt(1).tolist(), batch.padded(0).input_ids.tolist()
    ([3, 4], [9], [[7, 8, 3, 4], [9, 3, 0, 0]])
    """

    input_ids: Ints
    """All rows end to end: a prompt, then its completion verbatim."""
    cu_seqlens: NDArray[np.int32]
    """Row ``i`` is ``input_ids[cu_seqlens[i]:cu_seqlens[i + 1]]``: what variable-length attention asks for."""
    completion_spans: Ints
    """Start and end of each row's completion in ``input_ids``."""
    has_context: Bools
    """False: nothing privileged was available, so the row leaves the loss."""
    sections: Mapping[str, Ints] | None = None
    """Start and end in ``input_ids`` of the statement (``prompt``) and of each section; equal where absent. A word
    across an edge counts where it begins."""
    shared_prefixes: Ints | None = None
    """For each row, an earlier row whose prompt shares its longest beginning, and how many tokens of it; the row
    itself and 0 where there is none."""
    statuses: tuple[str, ...] = ()
    """``TeacherContext.status`` of each row."""
    flags: tuple[tuple[str, ...], ...] = ()
    """``TeacherContext.flags`` of each row."""

    def __len__(self) -> int:
        return len(self.has_context)

    def prompt(self, row: int) -> Ints:
        """View of a row's prompt ids."""
        return self.input_ids[self.cu_seqlens[row] : self.completion_spans[row, 0]]

    def completion(self, row: int) -> Ints:
        """View of a row's completion ids."""
        return self.input_ids[self.completion_spans[row, 0] : self.completion_spans[row, 1]]

    @property
    def lengths(self) -> Ints:
        """Tokens per row."""
        return np.diff(self.cu_seqlens).astype(np.int64)

    @property
    def completion_mask(self) -> Bools:
        """True on completion tokens, over ``input_ids``."""
        place = np.arange(len(self.input_ids)) - np.repeat(
            self.cu_seqlens[:-1].astype(np.int64), self.lengths
        )
        start = self.completion_spans[:, 0] - self.cu_seqlens[:-1]
        return place >= np.repeat(start, self.lengths)

    @property
    def position_ids(self) -> Ints:
        """Position of each token in its row."""
        return np.arange(len(self.input_ids)) - np.repeat(self.cu_seqlens[:-1].astype(np.int64), self.lengths)

    def padded(
        self, pad_id: int, *, side: Literal["left", "right"] = "right", multiple_of: int = 1
    ) -> Padded:
        """The rows as rectangles, as wide as the longest row or the next multiple.

        :param side: where the padding stands
        """
        width = -(-int(self.lengths.max(initial=0)) // multiple_of) * multiple_of
        column = np.arange(width)
        if side == "right":
            real = column < self.lengths[:, None]
        else:
            real = column >= width - self.lengths[:, None]
        ids = np.full((len(self), width), pad_id, np.int64)
        completion = np.zeros_like(real)
        positions = np.zeros_like(ids)
        # Boolean indexing runs row by row, left to right: the order of the packed tokens.
        ids[real] = self.input_ids
        completion[real] = self.completion_mask
        positions[real] = self.position_ids
        return Padded(ids, real.astype(np.int64), completion, positions)


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
    ids, offsets = _flat(completions)
    limits = [bounds.get(name) for name in section_names]
    try:
        buffers = chat.assemble_packed(template, rows, max_tokens, limits, ids, offsets)
    except UnicodeEncodeError as error:
        raise half_pair(error, ((name, (prompt, *texts)) for name, prompt, texts in rows)) from None

    def integers(key: str, *shape: int) -> Ints:
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
    """The student's side: each prompt as it was sampled from, then its completion."""
    ids, offsets = _flat(list(chain.from_iterable((r.prompt_ids, r.completion_ids) for r in rollouts)))
    bounds = offsets.astype(np.int64)
    first: dict[tuple[int, ...], int] = {}
    shared = [(first.setdefault(r.prompt_ids, i), len(r.prompt_ids)) for i, r in enumerate(rollouts)]
    return Batch(
        input_ids=ids.astype(np.int64),
        cu_seqlens=bounds[::2].astype(np.int32),
        completion_spans=np.stack([bounds[1::2], bounds[2::2]], axis=1),
        has_context=np.ones(len(rollouts), np.bool_),
        shared_prefixes=np.array(
            [(row, length if row < i else 0) for i, (row, length) in enumerate(shared)], np.int64
        ).reshape(-1, 2),
    )


def _flat(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Rows of ids end to end, and where each begins."""
    lengths = np.fromiter(map(len, rows), np.uint64, len(rows))
    offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)])
    if rows and all(isinstance(row, np.ndarray) for row in rows):
        return np.concatenate(rows).astype(np.uint32), offsets
    return np.fromiter(chain.from_iterable(rows), np.uint32, int(offsets[-1])), offsets
