"""Plain Python twins of the comparators, each as its description reads; slow, and without any state."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE)
TOLERANCE = 1e-6


def same_output(actual: str, expected: str, rule: str) -> bool:
    """Whether an output answers the expected one."""
    if rule == "official":
        left, right = (text.strip().split("\n") for text in (actual, expected))
        return len(left) == len(right) and all(map(_official_line, left, right))
    if rule == "exact":
        return actual.removesuffix("\n") == expected.removesuffix("\n")
    words = list(zip(actual.split(), expected.split(), strict=False))
    if len(actual.split()) != len(expected.split()):
        return False
    if rule == "tokens":
        return all(left == right for left, right in words)
    if rule == "tokens_ci":
        return all(_lower(left) == _lower(right) for left, right in words)
    return all(left == right or _close(_number(left), _number(right)) for left, right in words)


def same_value(actual: Any, expected: Any, rule: str) -> bool:
    """Whether a function's result is the expected one."""
    if rule != "float":
        return bool(actual == expected)
    if isinstance(actual, list) and isinstance(expected, list):
        return len(actual) == len(expected) and all(
            same_value(left, right, rule) for left, right in zip(actual, expected, strict=True)
        )
    if isinstance(actual, dict) and isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(
            same_value(actual[key], expected[key], rule) for key in actual
        )
    return bool(actual == expected) or _close(_as_float(actual), _as_float(expected))


def _official_line(left: str, right: str) -> bool:
    left, right = left.strip(), right.strip()
    if left == right:
        return True
    try:
        return [Decimal(word) for word in left.split()] == [Decimal(word) for word in right.split()]
    except InvalidOperation:  # no number, or a signalling NaN in a comparison
        return False


def _lower(word: str) -> str:
    return "".join(character.lower() for character in word)


def _number(word: str) -> float | None:
    if not NUMBER.fullmatch(word):
        return None
    value = float(word)
    return value if isfinite(value) or not re.search(r"\d", word) else None


def _as_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _close(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return False
    if left == right:
        return True
    return isfinite(left) and isfinite(right) and abs(left - right) <= max(TOLERANCE, TOLERANCE * abs(right))
