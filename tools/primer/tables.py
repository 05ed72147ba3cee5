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
    ({"a": 1, "b": 2}, "b"),
    ({"a": 1}, "z"),
    ({}, "a"),
    ({"x": -7}, "x"),
    ({"k": 5, "m": 6}, "k"),
    ({"one": 1, "two": 22}, "two"),
)
def value_or_zero(table: dict[str, int], key: str) -> int:
    """Return the value stored under the key, or 0 if the key is missing."""
    return table.get(key, 0)


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


@trivial({"b": 1, "a": 2}, {"x": 9}, {}, {"p": 5, "f": 3, "q": 4}, {"c": 3, "b": 3}, {"z": 0, "y": -1})
def sorted_values(table: dict[str, int]) -> list[int]:
    """Return the values of the dictionary as a sorted list."""
    return sorted(table.values())


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


@trivial(
    ({"tea": 3, "milk": 2}, "tea"),
    ({"tea": 3, "milk": 2}, "milk"),
    ({"bread": 5}, "bread"),
    ({"a": 0, "b": 1}, "a"),
    ({"pen": 12, "ink": 30, "pad": 7}, "pad"),
    ({"cup": 9, "jug": 25}, "jug"),
)
def price_of(prices: dict[str, int], item: str) -> int:
    """Return the price of the item from the dictionary of prices. The item is always in it."""
    return prices[item]


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
    ({"tea": 3, "milk": 2}, ["tea", "milk", "tea"]),
    ({"tea": 3}, []),
    ({"pen": 5}, ["pen"]),
    ({"a": 1, "b": 10}, ["b", "b", "b"]),
    ({"x": 0, "y": 7}, ["x", "y"]),
    ({"cup": 4, "jug": 9, "pot": 20}, ["pot", "cup"]),
)
def basket_cost(prices: dict[str, int], basket: list[str]) -> int:
    """Return the total cost of the basket, a list of item names, using the dictionary of prices."""
    return sum(prices[item] for item in basket)


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


@easy(
    ({"ann": 3, "bob": 7}, 5),
    ({"x": 9}, 9),
    ({}, 1),
    ({"p": 1, "q": 2}, 3),
    ({"zoe": 8, "adam": 8, "mia": 2}, 8),
    ({"k": -1, "j": 0}, -1),
)
def names_above(scores: dict[str, int], limit: int) -> list[str]:
    """Return the names whose score is at least limit, as a sorted list."""
    return sorted(name for name, score in scores.items() if score >= limit)
