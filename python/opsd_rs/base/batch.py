"""A step's rows as flat buffers: prompts and completions end to end, and where everything is in them.

Numpy only. Rust packs the teacher's rows (``context.batch``), the model's side copies a slice of rows to its device
(``policy.inputs``); in between no Python list holds a token. ``torch.from_numpy(batch.input_ids)`` copies nothing.

What it does not do: it decides nothing about who reads what, and it never tokenises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


class Padded(NamedTuple):
    """A batch as rectangles of one row each, padded on the right."""

    input_ids: Ints
    attention_mask: Ints
    completion_mask: Bools
    """True on completion tokens."""

    @property
    def predictors(self) -> Ints:
        """Flat positions ``row * width + column`` whose logits predict the completion tokens, rows end to end.

        >>> Batch.of([[5, 6]], [[7, 8]]).padded().predictors.tolist()  # logits at 6 and 7 predict 7 and 8
        [1, 2]
        """
        return np.flatnonzero(self.completion_mask) - 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens, packed.

    >>> batch = Batch.of(prompts=[[7, 8], [9]], completions=[[3, 4], [3]])
    >>> batch.completion(0).tolist(), batch.prompt(1).tolist(), batch.padded().input_ids.tolist()
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
    itself and 0 where there is none. None: not known (a slice of rows)."""
    logprobs: Floats | None = None
    """The sampler's log-probability of each completion token, completions end to end."""
    statuses: tuple[str, ...] = ()
    """``TeacherContext.status`` of each row."""
    flags: tuple[tuple[str, ...], ...] = ()
    """``TeacherContext.flags`` of each row."""

    @classmethod
    def of(
        cls,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        *,
        has_context: Sequence[bool] | None = None,
    ) -> Batch:
        """Rows from ids that are at hand. The first token of a completion is predicted by its prompt's last."""
        ids, offsets = flat_ids(list(chain.from_iterable(zip(prompts, completions, strict=True))))
        bounds = offsets.astype(np.int64)
        return cls(
            input_ids=ids.astype(np.int64),
            cu_seqlens=bounds[::2].astype(np.int32),
            completion_spans=np.stack([bounds[1::2], bounds[2::2]], axis=1),
            has_context=np.ones(len(prompts), np.bool_)
            if has_context is None
            else np.array(has_context, np.bool_),
        )

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
    def completion_lengths(self) -> Ints:
        """Completion tokens per row."""
        return self.completion_spans[:, 1] - self.completion_spans[:, 0]

    @property
    def completion_mask(self) -> Bools:
        """True on completion tokens, over ``input_ids``."""
        place = np.arange(len(self.input_ids))
        return place >= np.repeat(self.completion_spans[:, 0], self.lengths)

    @property
    def completion_ids(self) -> Ints:
        """The completion tokens, rows end to end (T,)."""
        return self.input_ids[self.completion_mask]

    @property
    def completion_rows(self) -> Ints:
        """The row of each completion token (T,)."""
        return np.repeat(np.arange(len(self)), self.completion_lengths)

    def rows(self, indices: Sequence[int] | Ints) -> Batch:
        """Those rows, in that order, packed again: a micro-batch.

        >>> Batch.of([[7, 8], [9]], [[3, 4], [3]]).rows([1]).input_ids.tolist()
        [9, 3]
        """
        which = np.asarray(indices, np.int64).reshape(-1)
        lengths = self.lengths[which]
        cu_seqlens = _offsets(lengths)
        moved = self.cu_seqlens[:-1][which] - cu_seqlens[:-1]
        logprobs = self.logprobs
        if logprobs is not None:
            logprobs = logprobs[
                _spread(_offsets(self.completion_lengths)[which], self.completion_lengths[which])
            ]
        return Batch(
            input_ids=self.input_ids[_spread(cu_seqlens[:-1] + moved, lengths)],
            cu_seqlens=cu_seqlens.astype(np.int32),
            completion_spans=self.completion_spans[which] - moved[:, None],
            has_context=self.has_context[which],
            sections=self.sections
            and {name: spans[which] - moved[:, None] for name, spans in self.sections.items()},
            logprobs=logprobs,
            statuses=tuple(self.statuses[row] for row in which) if self.statuses else (),
            flags=tuple(self.flags[row] for row in which) if self.flags else (),
        )

    def padded(self, pad_id: int = 0) -> Padded:
        """The rows as rectangles, as wide as the longest row. Masks come from lengths, never from ids: the
        end-of-turn token may equal the padding token."""
        real = np.arange(int(self.lengths.max(initial=0))) < self.lengths[:, None]
        ids = np.full(real.shape, pad_id, np.int64)
        completion = np.zeros_like(real)
        # Boolean indexing runs row by row, left to right: the order of the packed tokens.
        ids[real] = self.input_ids
        completion[real] = self.completion_mask
        return Padded(ids, real.astype(np.int64), completion)


def flat_ids(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Rows of ids end to end, and where each begins: what Rust takes."""
    lengths = np.fromiter(map(len, rows), np.uint64, len(rows))
    offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)])
    if rows and all(isinstance(row, np.ndarray) for row in rows):
        return np.concatenate(rows).astype(np.uint32), offsets
    return np.fromiter(chain.from_iterable(rows), np.uint32, int(offsets[-1])), offsets


def _offsets(lengths: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _spread(starts: Ints, lengths: Ints) -> Ints:
    """All positions of the stretches that begin at ``starts``, one stretch after the other."""
    before = _offsets(lengths)[:-1]
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
