"""Feedback texts on a budget of tokens.

The grader writes them on a budget of characters, in a process that has no tokenizer. Callers that have one cut here.
What this file does not do: choose the content; the style does (``Grader(feedback=...)``).
"""

from __future__ import annotations

from typing import Any

MARK = "\n... (cut)"


def fit_tokens(text: str, tokenizer: Any, max_tokens: int) -> str:
    """The text if it has at most ``max_tokens`` tokens, else as many of its first lines as fit, and a mark.

    :param tokenizer: anything whose ``encode(text)`` gives the token ids, or an object that has them as ``ids``
        (transformers, tokenizers, tiktoken). Special tokens that it adds are counted, too
    :returns: never more than ``max_tokens`` tokens; where not even the mark fits, nothing

    >>> class Words:
    ...     def encode(self, text: str) -> list[str]:
    ...         return text.split()
    >>> fit_tokens("Wrong Answer\\nInput\\n1 2 3 4 5", Words(), 5)
    'Wrong Answer\\nInput\\n... (cut)'
    """

    def size(part: str) -> int:
        ids = tokenizer.encode(part)
        return len(getattr(ids, "ids", ids))

    if size(text) <= max_tokens:
        return text
    lines = text.split("\n")
    low, high = 0, len(lines)  # `low` lines fit with the mark, or low is 0
    while high - low > 1:
        middle = (low + high) // 2
        fits = size("\n".join(lines[:middle]).rstrip() + MARK) <= max_tokens
        low, high = (middle, high) if fits else (low, middle)
    # A tokenizer may count a longer text as shorter by a token: what is returned is measured, not inferred.
    while low > 0:
        cut = "\n".join(lines[:low]).rstrip() + MARK
        if size(cut) <= max_tokens:
            return cut
        low -= 1
    mark = MARK.strip()
    return mark if size(mark) <= max_tokens else ""
