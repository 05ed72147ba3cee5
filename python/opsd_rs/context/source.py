"""Contexts from outside the configuration: by name or file, or as a Python function.

    context = Context.load("sdpo")                  # a shipped name, or a path ending in .toml
    context = Context.load("mine.py:hints")         # a function in a file (or module:function)
    context = Context.of(lambda view: view.grade.feedback or None, name="bare_feedback")

A function is given one graded rollout with its group (``View``) and returns what the teacher may read: a text for the
slot notes, texts by slot, or None for nothing. Budgets, masks, encoding and the generation header stay ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsd_rs.base import import_attribute
from opsd_rs.config import ContextConfig, load_context
from opsd_rs.context.sections import ContextFunction

FUNCTION_TEMPLATES = {
    "template": "{examples}{prompt}{attempt}{solution}{feedback}{notes}",
    "notes_template": "\n\n{notes}",
}
"""The words around what a function returns, unless ``Context.of`` is given others."""


@dataclass(frozen=True)
class Context:
    """A privileged context: its keys, and the function that fills its sections where rules do not.

    >>> Context.of(lambda view: "Mind the empty list.", name="reminder").config.name
    'reminder'
    """

    config: ContextConfig
    function: ContextFunction | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.config.name

    @classmethod
    def load(cls, source: str | Path) -> Context:
        """A shipped context by name, one in a ``.toml`` file, or a function (``file.py:name``, ``module:name``).

        :raises BadInput: naming the file, line and key, or the function that cannot be found
        """
        text = str(source)
        if ":" in text and not text.endswith(".toml"):
            return cls.of(load_function(text), spec=text)
        return cls.with_function(load_context(text))

    @classmethod
    def with_function(cls, config: ContextConfig) -> Context:
        """A context whose keys may name a function (``context.function``)."""
        return cls(config, load_function(config.function) if config.function else None)

    @classmethod
    def of(
        cls, function: ContextFunction, *, name: str | None = None, spec: str = "", **keys: Any
    ) -> Context:
        """A context that is a function.

        :param keys: keys of ``[context]`` (``template``, ``notes_template``...) that replace the plain ones
        """
        title = name or getattr(function, "__name__", type(function).__name__)
        where = spec or f"{function.__module__}:{getattr(function, '__qualname__', title)}"
        config = ContextConfig.model_validate(
            {**FUNCTION_TEMPLATES, **keys, "name": title, "function": where}
        )
        return cls(config, function)


def load_function(spec: str) -> ContextFunction:
    """The function that ``file.py:name`` or ``module:name`` names. Its file is run: load what you trust.

    :raises BadInput: no such file, module or name, one that is no function, or a file that fails
    """
    found: ContextFunction = import_attribute("context.function", spec)
    return found
