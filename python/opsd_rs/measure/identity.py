"""The identity of a measurement: everything that changes what an accuracy or a gap comes out as.

Two rows of one context name may be about different things. Their identities say so, field by field. What only training
changes (optimizer, steps, control mask, the teacher's rate) is not part of it: before the first step nothing has moved.

In: settings, as a record. Out: one text that a table's rows carry, and the fields in which two of them differ.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """What was measured, and how. A field that a measurement does not depend on is None.

    >>> from dataclasses import replace
    >>> one = Identity("5f1c", "9e0d", "bfloat16", "40 problems, 77aa", "code", "strict", "T=1.0", n=16, seed=0)
    >>> two = replace(one, dtype="float32", n=8)
    >>> differences(two, one)
    ['dtype (float32, here bfloat16)', 'n (8, here 16)']
    """

    weights: str
    """Hash of the model's files, or a hub name with its commit."""
    chat: str
    """Tokenizer, chat template and thinking: what a message becomes."""
    dtype: str
    problems: str
    """How many, and the hash of their messages, tests and solutions."""
    environment: str
    """Its name, its own keys, and the hash of the user's file."""
    grader: str
    """Hash of the options that decide a verdict or the feedback."""
    decoding: str
    n: int
    """Samples per problem and arm."""
    seed: int
    """Of the draws before training."""
    group_size: int | None = None
    """Rollouts among which a peer is found."""
    baseline: str | None = None
    split: str | None = None
    """How the tests were divided."""
    context: str | None = None
    """Hash of the context: its keys, and the files that it names."""
    max_context_tokens: int | None = None
    """The teacher's prompt budget."""
    baseline_samples: int | None = None
    """How many times ``n`` samples the student's term has; None: as many, as in rows of earlier versions."""

    def text(self) -> str:
        """As the column ``identity`` holds it; a field that came later is there only where it is set, so that the
        hash of an older identity stays."""
        found = asdict(self)
        if self.baseline_samples is None:
            del found["baseline_samples"]
        return json.dumps(found)

    @property
    def short(self) -> str:
        """The column ``identity_id``: 16 digits that are equal where the identities are."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:16]


def read_identity(text: str | None) -> dict[str, Any] | None:
    """What the column ``identity`` of a row holds; None for rows of versions that did not write it."""
    found: dict[str, Any] | None = json.loads(text) if text else None
    return found


def differences(found: Identity | dict[str, Any], here: Identity) -> list[str]:
    """The fields in which ``found`` differs from ``here``, each with both values; empty where nothing does."""
    there = asdict(found) if isinstance(found, Identity) else found
    pairs = {field.name: (there.get(field.name), getattr(here, field.name)) for field in fields(Identity)}
    return [f"{name} ({a}, here {b})" for name, (a, b) in pairs.items() if a != b]
