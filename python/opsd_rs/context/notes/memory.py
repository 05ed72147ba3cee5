"""Experience: what was learned of some problems and is read beside others, kept over the steps of a run.

In: texts by problem, as they may be shown. Out: what each problem's rows read: the newest texts about other problems,
joined, or, where the model merges its experience (``notes.merge_prompt``), one text into which it works the new ones.
What it does not do: it samples nothing; a ``Merge`` holds what to ask the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

NOTHING_YET = "Nothing yet."
"""Fills the slot experience of a prompt while nothing is remembered."""
WHOLE = ""
"""The name of a text about no single problem: a merged memory."""


@dataclass
class Memory:
    """Experience so far, oldest first; a new text about a problem replaces the old one."""

    items: dict[str, str] = field(default_factory=dict)

    def add(self, texts: Mapping[str, str]) -> None:
        """Remember ``texts`` by problem, as the newest."""
        for name, text in texts.items():
            self.items.pop(name, None)
            self.items[name] = text

    def others(self, problem_id: str, num: int) -> str:
        """The newest ``num`` texts about other problems, oldest of them first; empty where there is none."""
        found = [text for name, text in self.items.items() if name != problem_id]
        return "\n\n".join(found[-num:])

    def merge(self, text: str) -> None:
        """Replace everything remembered by ``text``."""
        self.items = {WHOLE: text} if text else {}


class Merge(NamedTuple):
    """A merge that the model is asked for."""

    problem_id: str
    """Whose rows read the outcome; ``WHOLE``: it is what later steps find in memory."""
    experience: str | None
    """What was remembered before."""
    notes: str
    """The new texts, joined."""


def merges(memory: Memory) -> list[Merge]:
    """What the model must merge: all that is new into the memory, and for each problem with a new text all but its own.

    A single text needs no merging, and is left out.

    >>> memory = Memory({"": "Sort.", "a": "Count.", "b": "Sum."})
    >>> [(merge.problem_id, merge.experience, merge.notes) for merge in merges(memory)]
    [('', 'Sort.', 'Count.\\n\\nSum.'), ('a', 'Sort.', 'Sum.'), ('b', 'Sort.', 'Count.')]
    """
    before = memory.items.get(WHOLE)
    new = {name: text for name, text in memory.items.items() if name != WHOLE}
    found = []
    for name in (WHOLE, *new):
        texts = [text for other, text in new.items() if other != name]
        if len(texts) + (before is not None) > 1 and texts:
            found.append(Merge(name, before, "\n\n".join(texts)))
    return found


def merged_for(problem_id: str, memory: Memory, merged: Mapping[str, str]) -> str:
    """What the rows of a problem read: its merge, or the common one if it has no text of its own.

    Where no merge was wanted, or nothing was left of it, the texts stand joined: nothing learned is lost.

    >>> memory = Memory({"": "Sort.", "a": "Count."})
    >>> merged_for("a", memory, {"": "Sort, then count."}), merged_for("b", memory, {"": "Sort, then count."})
    ('Sort.', 'Sort, then count.')
    """
    name = problem_id if problem_id in memory.items else WHOLE
    joined = [text for other, text in memory.items.items() if other == WHOLE or other != problem_id]
    return merged.get(name) or "\n\n".join(joined)
