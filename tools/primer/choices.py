"""Problems on conditions: truth values, categories, small rules of daily life."""

from __future__ import annotations

from tools.primer.define import Catalogue

PROBLEMS = Catalogue()
trivial, easy = PROBLEMS.trivial, PROBLEMS.easy


@trivial((3, 3), (1, 2), (0, 0), (-5, 5), (-5, -5), (100, 101), (7, -7))
def are_equal(a: int, b: int) -> bool:
    """Return True if the two numbers are equal."""
    return a == b


@trivial((5, 3), (2, 9), (4, 4), (0, -1), (-3, -2), (100, 99), (-1, 0))
def is_greater(a: int, b: int) -> bool:
    """Return True if a is greater than b."""
    return a > b


@trivial((2, 4), (1, 2), (0, 0), (-3, 6), (-2, -8), (5, 7), (6, 3))
def both_even(a: int, b: int) -> bool:
    """Return True if a and b are both even."""
    return a % 2 == 0 and b % 2 == 0


@trivial(5, 15, 10, 11, -20, 0, 100)
def is_greater_than_ten(n: int) -> bool:
    """Return True if n is greater than 10."""
    return n > 10


@trivial(10, 7, 0, -5, 12, 5, 101)
def is_divisible_by_five(n: int) -> bool:
    """Return True if n is divisible by 5."""
    return n % 5 == 0


@trivial(30, 12, 18, 17, 0, 19, 100)
def is_adult(age: int) -> bool:
    """Return True if the person is an adult, that is, 18 or older."""
    return age >= 18


@trivial(15, 30, 13, 19, 12, 20, 1)
def is_teenager(age: int) -> bool:
    """Return True if the age is from 13 to 19."""
    return 13 <= age <= 19


@trivial(80, 20, 50, 49, 0, 100, 51)
def has_passed(score: int) -> bool:
    """Return True if the student passed, that is, scored 50 or more."""
    return score >= 50


@trivial(-5, 20, 0, -1, 1, 100, -40)
def is_freezing(temperature: int) -> bool:
    """Return True if the temperature is below zero degrees."""
    return temperature < 0


@trivial(4, 7, 0, -2, -5, 1, 100)
def even_or_odd(n: int) -> str:
    """Return "even" if n is even and "odd" if it is odd."""
    return "even" if n % 2 == 0 else "odd"


@trivial("Saturday", "Monday", "Sunday", "Friday", "Tuesday", "Wednesday", "Thursday")
def is_weekend(day: str) -> bool:
    """Return True if day is "Saturday" or "Sunday"."""
    return day in ("Saturday", "Sunday")


@trivial("a", "b", "e", "i", "o", "u", "z", "y")
def is_vowel(letter: str) -> bool:
    """Return True if the letter is one of a, e, i, o, u. It is always lower case."""
    return letter in "aeiou"


@trivial("green", "red", "yellow", "blue", "", "black", "Green")
def traffic_light(color: str) -> str:
    """Return what to do at a traffic light: "go" for "green", "wait" for "yellow" and "stop" for anything
    else.
    """
    if color == "green":
        return "go"
    if color == "yellow":
        return "wait"
    return "stop"


@trivial(8, 30, 12, 11, 0, 13, 70)
def ticket_price(age: int) -> int:
    """A ticket costs 5 for children under 12 and 10 for everybody else. Return the price."""
    return 5 if age < 12 else 10


@trivial(150, 40, 100, 99, 0, 101, 1000)
def shipping_cost(order: int) -> int:
    """Shipping is free, 0, for an order of 100 or more; otherwise it costs 7. Return the shipping cost."""
    return 0 if order >= 100 else 7


@easy(95, 85, 75, 50, 90, 80, 70, 89, 69)
def letter_grade(score: int) -> str:
    """Return "A" for a score of 90 or more, "B" for 80 to 89, "C" for 70 to 79, and "F" below 70."""
    for bound, letter in ((90, "A"), (80, "B"), (70, "C")):
        if score >= bound:
            return letter
    return "F"


@easy(3, 5, 15, 7, 30, 9, 20, 1)
def fizz_buzz(n: int) -> str:
    """Return "FizzBuzz" if 15 divides n, "Fizz" if only 3 does, "Buzz" if only 5 does, else n as a string."""
    if n % 15 == 0:
        return "FizzBuzz"
    if n % 3 == 0:
        return "Fizz"
    return "Buzz" if n % 5 == 0 else str(n)


@easy((3, 4, 5), (1, 2, 3), (2, 2, 2), (5, 2, 3), (2, 5, 3), (1, 1, 10), (7, 10, 5))
def is_triangle(a: int, b: int, c: int) -> bool:
    """Return True if three sticks of these lengths can form a triangle: each pair together longer than the
    third.
    """
    return a + b > c and b + c > a and a + c > b


@easy(
    ("rock", "scissors"),
    ("rock", "paper"),
    ("paper", "paper"),
    ("paper", "rock"),
    ("scissors", "rock"),
    ("scissors", "paper"),
    ("paper", "scissors"),
    ("rock", "rock"),
)
def rock_paper_scissors(first: str, second: str) -> int:
    """Two players choose "rock", "paper" or "scissors". Return 1 if the first wins, 2 if the second wins, 0
    for a draw.
    """
    beats = {"rock": "scissors", "paper": "rock", "scissors": "paper"}
    if first == second:
        return 0
    return 1 if beats[first] == second else 2
