"""Problems on dictionaries with text keys (JSON objects)."""

from __future__ import annotations

from tools.primer.define import Catalogue

PROBLEMS = Catalogue()
trivial, easy = PROBLEMS.trivial, PROBLEMS.easy


@trivial({"a": 1, "b": 2}, {"x": 9}, {}, {"p": 0, "q": 0, "r": 0}, {"k": -1, "m": 5, "n": 6, "o": 7}, {"": 3})
def count_entries(table: dict[str, int]) -> int:
    """Return how many entries the dictionary has."""
    return len(table)


@trivial({"a": 1, "b": 2}, {"x": 9}, {}, {"p": 0, "q": 0}, {"k": -1, "m": 5, "n": 6}, {"low": -4, "high": 4})
def sum_values(table: dict[str, int]) -> int:
    """Return the sum of all values in the dictionary."""
    return sum(table.values())


@trivial(
    ({"a": 1, "b": 2}, "a"),
    ({"a": 1}, "z"),
    ({}, "a"),
    ({"x": 0}, "x"),
    ({"key": 5}, "KEY"),
    ({"": 1}, ""),
    ({"one": 1, "two": 2}, "two"),
)
def has_key(table: dict[str, int], key: str) -> bool:
    """Return True if the dictionary contains the key."""
    return key in table


@trivial(
    {"b": 1, "a": 2},
    {"x": 9},
    {},
    {"pear": 1, "fig": 5, "apple": 0},
    {"c": 3, "b": 3, "a": 3},
    {"z": 0, "B": 1},
)
def sorted_keys(table: dict[str, int]) -> list[str]:
    """Return the keys of the dictionary as a sorted list."""
    return sorted(table)


@trivial(
    {"a": 1, "b": 2},
    {"x": 9},
    {"p": -5, "q": -3},
    {"c": 3, "d": 3},
    {"y": 8, "z": 0},
    {"m": 4, "n": 40, "o": 14},
)
def largest_value(table: dict[str, int]) -> int:
    """Return the largest value in the dictionary, which is not empty."""
    return max(table.values())


@easy(
    {"ann": 3, "bob": 7},
    {"x": 9},
    {"p": -5, "q": -3, "r": -9},
    {"red": 10, "blue": 2, "green": 5},
    {"m": 1, "n": 0},
    {"z": 1, "a": 2, "b": 0},
)
def best_player(scores: dict[str, int]) -> str:
    """Return the key with the largest value. No two values are equal and the dictionary is not empty."""
    return max(scores, key=lambda name: scores[name])


@easy(
    {"a": "x", "b": "y"},
    {"one": "uno"},
    {},
    {"p": "q", "q": "p"},
    {"cat": "meow", "dog": "woof", "cow": "moo"},
    {"same": "same"},
)
def invert(table: dict[str, str]) -> dict[str, str]:
    """Return a new dictionary with keys and values exchanged. All values are different."""
    return {value: key for key, value in table.items()}


@easy("hello", "aab", "", "z", "banana", "abcabc", "Aa")
def letter_counts(text: str) -> dict[str, int]:
    """Return a dictionary that maps each letter of the text to how often it occurs."""
    counts: dict[str, int] = {}
    for letter in text:
        counts[letter] = counts.get(letter, 0) + 1
    return counts


@easy(["red", "green"], ["a"], [], ["tree", "tree", "ox"], ["", "one"], ["seven", "eight", "nine"])
def word_lengths(words: list[str]) -> dict[str, int]:
    """Return a dictionary that maps each word of the list to its length."""
    return {word: len(word) for word in words}


@easy(
    ({"a": 1}, {"a": 2, "b": 3}),
    ({"x": 5}, {}),
    ({}, {}),
    ({}, {"k": 1}),
    ({"p": 1, "q": 2}, {"r": 3}),
    ({"m": -1, "n": 4}, {"m": 1, "n": 4}),
)
def add_tables(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    """Add the two dictionaries: values under the same key are summed, other entries are kept."""
    return {key: first.get(key, 0) + second.get(key, 0) for key in {**first, **second}}
