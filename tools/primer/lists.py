"""Problems on lists of numbers and words."""

from __future__ import annotations

from tools.primer.define import Catalogue

PROBLEMS = Catalogue()
trivial, easy = PROBLEMS.trivial, PROBLEMS.easy


@trivial([1, 2, 3], [5], [], [-1, 1], [10, 20, 30, 40], [0, 0], [-4, -6])
def sum_list(numbers: list[int]) -> int:
    """Return the sum of all numbers in the list."""
    return sum(numbers)


@trivial([1, 2, 3], [5], [1, 2], [-1, 1], [10, 20, 30, 40], [0, 0, 0], [7, 8])
def average(numbers: list[int]) -> float:
    """Return the average of the numbers in the list, which is not empty."""
    return sum(numbers) / len(numbers)


@trivial([1, 9, 3], [5], [-4, -2, -8], [7, 7], [0, -1, 1], [100, 20, 99], [2, 3, 4])
def largest(numbers: list[int]) -> int:
    """Return the largest number in the list, which is not empty."""
    return max(numbers)


@trivial([4, 1, 3], [5], [-4, -2, -8], [7, 7], [0, -1, 1], [100, 20, 99], [2, 3, 4])
def smallest(numbers: list[int]) -> int:
    """Return the smallest number in the list, which is not empty."""
    return min(numbers)


@trivial([3, 1, 2], [9], [0, 5], [-7, 7, 70], [1, 1, 2], [42, 0, 0, 0])
def first_element(items: list[int]) -> int:
    """Return the first element of the list, which is not empty."""
    return items[0]


@trivial([3, 1, 2], [9], [5, 0], [7, -7], [2, 2, 1], [0, 0, 0, 42])
def last_element(items: list[int]) -> int:
    """Return the last element of the list, which is not empty."""
    return items[-1]


@trivial([3, 1, 2], [], [9], [0, 0], [5, 5, 5, 5], [1, 2, 3, 4, 5, 6])
def list_length(items: list[int]) -> int:
    """Return how many elements the list has."""
    return len(items)


@trivial([], [1], [0], [1, 2], [5, 5, 5], [-1])
def is_empty_list(items: list[int]) -> bool:
    """Return True if the list is empty."""
    return not items


@trivial([1, 2, 3], [7], [], [5, 5, 1], [0, -1], [9, 8, 7, 6])
def reverse_list(items: list[int]) -> list[int]:
    """Return the list in reverse order."""
    return items[::-1]


@trivial([3, 1, 2], [7], [], [5, 5, 1], [0, -1, -10], [9, 8, 7, 6], [10, 9, 100])
def sort_numbers(numbers: list[int]) -> list[int]:
    """Return the numbers sorted from smallest to largest."""
    return sorted(numbers)


@trivial([3, 1, 2], [7], [], [5, 5, 1], [0, -1, 10], [6, 7, 8, 9], [10, 9, 100])
def sort_descending(numbers: list[int]) -> list[int]:
    """Return the numbers sorted from largest to smallest."""
    return sorted(numbers, reverse=True)


@trivial(
    ["pear", "fig", "apple"],
    ["one"],
    [],
    ["b", "a", "b"],
    ["tea", "milk", "bread", "egg"],
    ["ab", "a", "abc"],
)
def sort_words(words: list[str]) -> list[str]:
    """Return the words sorted in alphabetical order. All are lower case."""
    return sorted(words)


@trivial(([1, 2], 3), ([], 5), ([7], 7), ([0, 0], -1), ([4, 3, 2], 1), ([9], 0))
def append_item(items: list[int], item: int) -> list[int]:
    """Return a list with the item added at the end."""
    return [*items, item]


@trivial(([1, 2, 3], 2), ([1, 2, 3], 5), ([], 1), ([0], 0), ([7, 8], 9), ([4, 4], 4), ([-1], 1))
def contains_item(items: list[int], item: int) -> bool:
    """Return True if the item is in the list."""
    return item in items


@trivial(([1, 2, 1], 1), ([1, 2, 3], 5), ([], 1), ([0, 0, 0], 0), ([7, 8], 8), ([4, 4, 5, 5, 4], 4))
def count_item(items: list[int], item: int) -> int:
    """Return how many times the item occurs in the list."""
    return items.count(item)


@trivial(([1, 2], [3]), ([], [5]), ([7], []), ([], []), ([0, 1], [1, 0]), ([9, 8, 7], [6, 5]))
def join_lists(first: list[int], second: list[int]) -> list[int]:
    """Return the two lists joined into one, the first before the second."""
    return first + second


@trivial([1, 2, 3], [5], [], [-1, 0], [10, 20], [7, 7, 7, 7])
def double_all(numbers: list[int]) -> list[int]:
    """Return a list with every number doubled."""
    return [2 * number for number in numbers]


@trivial([1, 2, 3], [5], [], [-1, 0], [10, -20], [7, 7, 3])
def square_all(numbers: list[int]) -> list[int]:
    """Return a list with the square of every number."""
    return [number * number for number in numbers]


@trivial([1, 2, 3], [5], [], [-1, 0], [10, -20], [7, 7, 99])
def add_one_to_all(numbers: list[int]) -> list[int]:
    """Return a list with 1 added to every number."""
    return [number + 1 for number in numbers]


@trivial([1, 2, 3, 4], [5], [], [2, 2], [0, -1, -2], [9, 8, 7, 6], [10])
def only_even(numbers: list[int]) -> list[int]:
    """Return only the even numbers of the list, in the same order."""
    return [number for number in numbers if number % 2 == 0]


@trivial([1, 2, 3, 4], [5], [], [2, 2], [0, -1, -2], [9, 8, 7, 6], [11, 11])
def only_odd(numbers: list[int]) -> list[int]:
    """Return only the odd numbers of the list, in the same order."""
    return [number for number in numbers if number % 2 == 1]


@trivial([1, -2, 3], [5], [], [0], [-1, -2], [9, 0, -7, 6], [-3, 10])
def only_positive(numbers: list[int]) -> list[int]:
    """Return only the numbers greater than zero, in the same order."""
    return [number for number in numbers if number > 0]


@trivial([1, 2, 3, 4], [5], [], [2, 2, 2], [0, -1, -2, 3], [9, 7, 1])
def count_even(numbers: list[int]) -> int:
    """Return how many numbers of the list are even."""
    return sum(number % 2 == 0 for number in numbers)


@trivial([1, 2, 3, 4], [5], [], [2, 2, 2], [0, -1, -2, 3], [9, 7, 1])
def sum_even(numbers: list[int]) -> int:
    """Return the sum of the even numbers in the list."""
    return sum(number for number in numbers if number % 2 == 0)


@trivial(([1, 5, 9], 4), ([5], 5), ([], 0), ([2, 2, 3], 2), ([-1, -2], -3), ([10, 20, 30], 25))
def count_greater(numbers: list[int], limit: int) -> int:
    """Return how many numbers of the list are greater than limit."""
    return sum(number > limit for number in numbers)


@trivial([1, 2, 3], [5], [], [-1, 4], [10, 0, 3], [2, 2, 2, 2])
def product(numbers: list[int]) -> int:
    """Return the product of all numbers in the list. The product of an empty list is 1."""
    result = 1
    for number in numbers:
        result *= number
    return result


@trivial([1, 9, 3], [5], [-4, -2, -8], [7, 7], [0, -1, 1], [100, 20, 99])
def spread(numbers: list[int]) -> int:
    """Return the difference between the largest and the smallest number. The list is not empty."""
    return max(numbers) - min(numbers)


@trivial(3, 1, 0, 5, 2, 10)
def count_up(n: int) -> list[int]:
    """Return the list of whole numbers from 1 to n."""
    return list(range(1, n + 1))


@trivial(3, 1, 0, 5, 2, 10)
def count_down(n: int) -> list[int]:
    """Return the list of whole numbers from n down to 1."""
    return list(range(n, 0, -1))


@trivial(([5, 6, 7], 1), ([9], 0), ([1, 2, 3, 4], 3), ([0, -5], 1), ([8, 8, 2], 2), ([3, 1], 0))
def element_at(items: list[int], position: int) -> int:
    """Return the element at the given position, counted from 0."""
    return items[position]


@trivial([1, 2, 3], [5, -1], [], [0], [10], [7, 7, -7, 7], [3, 0])
def all_positive(numbers: list[int]) -> bool:
    """Return True if all numbers of the list are positive. An empty list counts as True."""
    return all(number > 0 for number in numbers)


@trivial([1, 0, 3], [5, -1], [], [0], [10], [7, 7, 0], [1, 2, 3, 4])
def has_zero(numbers: list[int]) -> bool:
    """Return True if at least one number of the list is zero."""
    return 0 in numbers


@trivial(["red", "green"], ["a"], [], ["", "xy"], ["one", "two", "three"], ["same", "same"])
def lengths(words: list[str]) -> list[int]:
    """Return a list with the length of each word."""
    return [len(word) for word in words]


@trivial(["red", "green"], ["a"], [], ["", "Xy"], ["one", "TWO", "three"], ["same", "same"])
def upper_all(words: list[str]) -> list[str]:
    """Return the words in upper case, in the same order."""
    return [word.upper() for word in words]


@easy([1, 2, 1, 3], [5], [], [7, 7, 7], [3, 1, 3, 2, 1], [0, -1, 0], [4, 3, 2, 1])
def remove_duplicates(items: list[int]) -> list[int]:
    """Return the list without repeated elements: each one stays where it occurs first."""
    return list(dict.fromkeys(items))


@easy(
    ([1, 3], [2, 4]), ([], [5]), ([7], []), ([], []), ([1, 1], [1]), ([0, 10], [-5, 5, 15]), ([4, 5], [1, 2])
)
def merge_sorted(first: list[int], second: list[int]) -> list[int]:
    """Return one sorted list with all elements of two sorted lists."""
    return sorted(first + second)


@easy([1, 2, 3], [3, 1], [], [5], [2, 2, 4], [1, 3, 2], [-3, -1, 0])
def is_sorted(numbers: list[int]) -> bool:
    """Return True if the numbers are in rising order, equal neighbours allowed."""
    return numbers == sorted(numbers)


@easy([1, 9, 3], [5, 2], [-4, -2, -8], [0, 1], [100, 20, 99, 3], [6, 7, 8, 9])
def second_largest(numbers: list[int]) -> int:
    """Return the second largest number. All numbers differ and there are at least two."""
    return sorted(numbers)[-2]


@easy(([5, 6, 7], 6), ([5, 6, 7], 9), ([], 1), ([4, 4], 4), ([1, 2, 3], 3), ([0, -5], -5))
def find_position(items: list[int], item: int) -> int:
    """Return the position of the item in the list, counted from 0, or -1 if it is not there."""
    return items.index(item) if item in items else -1


@easy(
    ([1, 2], [3, 4]),
    ([5], [5]),
    ([], []),
    ([0, -1, 2], [7, 1, -2]),
    ([10, 20, 30], [1, 2, 3]),
    ([9, 9], [0, 1]),
)
def add_lists(first: list[int], second: list[int]) -> list[int]:
    """Add the two lists element by element. They have the same length."""
    return [a + b for a, b in zip(first, second, strict=True)]


@easy([[1, 2], [3]], [[5]], [], [[], [7]], [[1], [2], [3, 4]], [[0, 0], [], [0]])
def flatten(rows: list[list[int]]) -> list[int]:
    """Return one flat list with all numbers of the inner lists, in order."""
    return [number for row in rows for number in row]


@easy([3, 1, 2], [5], [9, 0, 4, 7, 1], [-1, -3, -2], [2, 2, 8], [10, 30, 20])
def median(numbers: list[int]) -> int:
    """Return the middle number of the list after sorting. The list has an odd number of elements."""
    return sorted(numbers)[len(numbers) // 2]
