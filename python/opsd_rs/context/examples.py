"""Solved problems of the training split as examples: the same for every problem, or those most like the problem.

In: the training problems that have a solution. Out: the text of a few of them. Likeness is Okapi BM25 over the words
of the statements (Robertson and Zaragoza 2009, k1 = 1.5, b = 0.75), by bm25s, which needs numpy alone and is loaded
with the first index.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

from opsd_rs.config import ExamplesConfig
from opsd_rs.context.text import as_answer
from opsd_rs.errors import BadInput
from opsd_rs.records import Problem

_WORD = re.compile(r"[A-Za-z]+|\d+")
_K1, _B = 1.5, 0.75


class Bm25:
    """Okapi BM25 over a fixed list of texts; words are letters or digits, lower case.

    >>> Bm25(["sum a list", "reverse a string"]).best("the sum of a list", 1)
    [0]
    """

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        corpus = [words(text) for text in texts]
        self._num = len(corpus)
        self._index = None
        if any(corpus):
            # Lucene's form is never negative: a word in most statements counts little, not against.
            self._index = bm25s.BM25(method="lucene", k1=_K1, b=_B)
            self._index.index(corpus, show_progress=False)

    def scores(self, text: str) -> list[float]:
        """The score of each text for the query ``text``; zeros where no word matches."""
        query = words(text)
        if self._index is None or not query:
            return [0.0] * self._num
        return [float(score) for score in self._index.get_scores(query)]

    def best(self, text: str, num: int) -> list[int]:
        """Places of the ``num`` best texts, best first; ties go to the earlier one."""
        scores = self.scores(text)
        return sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:num]


def words(text: str) -> list[str]:
    """The words of a statement, ``snake_case`` taken apart.

    >>> words("def add_2(a): # Return")
    ['def', 'add', '2', 'a', 'return']
    """
    return [word.lower() for word in _WORD.findall(text)]


class Examples:
    """Examples for any problem out of ``pool``; never the problem itself, nor another with its statement."""

    def __init__(self, settings: ExamplesConfig, pool: Sequence[Problem], context: str) -> None:
        self._settings = settings
        self._pool = [problem for problem in pool if problem.solution]
        if settings.kind != "none" and not self._pool:
            raise BadInput(
                f'context "{context}": context.examples.kind = "{settings.kind}" needs training problems with a'
                " solution, and there are none; use problems that carry one"
            )
        if settings.kind == "fixed":
            self._pool.sort(key=lambda p: blake2b(p.problem_id.encode(), digest_size=8).digest())
        self._index = Bm25([p.prompt for p in self._pool]) if settings.kind == "nearest" else None
        self._shown: dict[str, str | None] = {}

    def of(self, problem: Problem) -> str | None:
        """The examples shown beside ``problem``, or None."""
        if self._settings.kind == "none":
            return None
        if problem.problem_id not in self._shown:
            self._shown[problem.problem_id] = self._text(problem)
        return self._shown[problem.problem_id]

    def _text(self, problem: Problem) -> str | None:
        order = range(len(self._pool))
        places = order if self._index is None else self._index.best(problem.prompt, len(self._pool))
        others = [
            self._pool[place]
            for place in places
            if self._pool[place].problem_id != problem.problem_id
            and self._pool[place].prompt != problem.prompt
        ][: self._settings.num]
        # The nearest stands last, next to the problem.
        chosen = others if self._index is None else others[::-1]
        return "\n\n".join(self._one(example) for example in chosen) or None

    def _one(self, example: Problem) -> str:
        solution = as_answer(example.solution or "")
        before, _, after = self._settings.template.partition("{solution}")
        return (
            before.replace("{problem}", example.prompt)
            + solution
            + after.replace("{problem}", example.prompt)
        )
