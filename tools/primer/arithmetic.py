"""Problems on whole numbers and the odd fraction."""

from __future__ import annotations

from tools.primer.define import Catalogue

PROBLEMS = Catalogue()
trivial, easy = PROBLEMS.trivial, PROBLEMS.easy


@trivial((2, 3), (-4, 10), (0, 0), (7, -7), (1000, 1), (-5, -6), (12, 30))
def add_numbers(a: int, b: int) -> int:
    """Return the sum of a and b."""
    return a + b


@trivial((1, 2, 3), (5, -5, 8), (0, 0, 0), (-1, -2, -3), (10, 0, 1), (7, 7, 7))
def add_three(a: int, b: int, c: int) -> int:
    """Return the sum of a, b and c."""
    return a + b + c


@trivial((9, 4), (3, 8), (0, 0), (-2, -5), (100, 1), (0, 6), (5, -5))
def subtract(a: int, b: int) -> int:
    """Return a minus b."""
    return a - b


@trivial((3, 4), (-2, 6), (0, 9), (1, 17), (-3, -3), (25, 4), (5, 0))
def multiply(a: int, b: int) -> int:
    """Return the product of a and b."""
    return a * b


@trivial(3, -4, 0, 1, 12, 100, -1)
def square(n: int) -> int:
    """Return n multiplied by itself."""
    return n * n


@trivial(4, -3, 0, 1, 50, 333, -100)
def triple(n: int) -> int:
    """Return three times the number n."""
    return 3 * n


@trivial(4, -1, 0, 100, -10, 1000, 7)
def decrement(n: int) -> int:
    """Return n minus one."""
    return n - 1


@trivial(4, -1, 0, 100, -10, 1000, 7)
def negate(n: int) -> int:
    """Return n with its sign changed."""
    return -n


@trivial((1, 2, 3), (5, -5, 2), (0, 4, 9), (-1, -2, -3), (10, 1, 1), (7, 7, 7))
def multiply_three(a: int, b: int, c: int) -> int:
    """Return the product of a, b and c."""
    return a * b * c


@trivial((1, 2), (3, 4), (0, 0), (-1, 5), (-3, -3), (10, 1))
def sum_of_squares(a: int, b: int) -> int:
    """Return the square of a plus the square of b."""
    return a * a + b * b


@trivial(2, -3, 0, 1, 10, 5, -1)
def cube(n: int) -> int:
    """Return n to the power of three."""
    return n**3


@trivial(4, -3, 0, 1, 50, 999, -100)
def double(n: int) -> int:
    """Return twice the number n."""
    return 2 * n


@trivial(4, -1, 0, 99, -10, 1000, 7)
def increment(n: int) -> int:
    """Return n plus one."""
    return n + 1


@trivial(10, 7, 0, 1, -3, 100, 99, -8)
def half_rounded_down(n: int) -> int:
    """Return half of n, rounded down to a whole number."""
    return n // 2


@trivial(4, 7, 0, -2, -5, 1, 100)
def is_even(n: int) -> bool:
    """Return True if n is even and False otherwise."""
    return n % 2 == 0


@trivial(3, 8, 0, -7, -4, 1, 101)
def is_odd(n: int) -> bool:
    """Return True if n is odd and False otherwise."""
    return n % 2 == 1


@trivial(-3, 5, 0, -1, 1, 100, -100)
def is_negative(n: int) -> bool:
    """Return True if n is below zero and False otherwise."""
    return n < 0


@trivial(8, -2, 0, 1, -1, 1000, -50)
def is_positive(n: int) -> bool:
    """Return True if n is greater than zero and False otherwise."""
    return n > 0


@trivial(0, 4, -4, 1, -1, 10, 100)
def is_zero(n: int) -> bool:
    """Return True if n equals zero and False otherwise."""
    return n == 0


@trivial((12, 3), (7, 2), (0, 5), (9, 9), (3, 6), (100, 7), (-8, 4))
def is_divisible(a: int, b: int) -> bool:
    """Return True if a is exactly divisible by b. b is never zero."""
    return a % b == 0


@trivial(-5, 3, 0, -1, 1, 250, -999)
def absolute_value(n: int) -> int:
    """Return the distance of n from zero."""
    return abs(n)


@trivial((3, 8), (9, 2), (4, 4), (-1, -6), (0, -3), (-7, 0), (100, 101))
def larger(a: int, b: int) -> int:
    """Return the larger of the two numbers."""
    return max(a, b)


@trivial((3, 8), (9, 2), (4, 4), (-1, -6), (0, -3), (-7, 0), (100, 101))
def smaller(a: int, b: int) -> int:
    """Return the smaller of the two numbers."""
    return min(a, b)


@trivial((1, 5, 3), (9, 2, 4), (0, 0, 7), (-3, -1, -2), (6, 6, 1), (2, 2, 2), (5, 8, 8))
def max_of_three(a: int, b: int, c: int) -> int:
    """Return the largest of the three numbers."""
    return max(a, b, c)


@trivial((4, 1, 3), (2, 9, 5), (8, 7, 0), (-3, -1, -2), (6, 6, 9), (2, 2, 2), (0, -8, 5))
def min_of_three(a: int, b: int, c: int) -> int:
    """Return the smallest of the three numbers."""
    return min(a, b, c)


@trivial(27, 140, 0, 9, 1003, 88, 11)
def last_digit(n: int) -> int:
    """Return the last digit of n. n is zero or greater."""
    return n % 10


@trivial((17, 5), (9, 3), (2, 7), (100, 9), (1, 1), (8, 6), (50, 20))
def remainder(a: int, b: int) -> int:
    """Return the remainder when a is divided by b. Both are positive."""
    return a % b


@trivial((3, 4), (10, 2), (1, 1), (0, 5), (7, 7), (12, 11), (6, 0))
def rectangle_area(width: int, height: int) -> int:
    """Return the area of a rectangle from its width and height."""
    return width * height


@trivial((2, 4), (1, 2), (0, 0), (-3, 3), (10, 5), (-4, -7), (100, 0))
def average_of_two(a: int, b: int) -> float:
    """Return the average of a and b."""
    return (a + b) / 2


@trivial(0, 100, -40, 10, 25, 35, -5)
def celsius_to_fahrenheit(celsius: int) -> float:
    """Convert degrees Celsius to degrees Fahrenheit: multiply by 9, divide by 5, add 32."""
    return celsius * 9 / 5 + 32


@trivial(2, 10, 0, 1, 60, 15, 100)
def minutes_to_seconds(minutes: int) -> int:
    """Return how many seconds there are in the given number of minutes."""
    return minutes * 60


@trivial(3, 24, 0, 1, 10, 100, 7)
def hours_to_minutes(hours: int) -> int:
    """Return how many minutes there are in the given number of hours."""
    return hours * 60


@trivial((5, 3), (12, 10), (7, 0), (1, 1), (99, 2), (20, 20))
def total_price(price: int, quantity: int) -> int:
    """A shop sells one item for price. Return the cost of quantity such items."""
    return price * quantity


@trivial((5, 1, 10), (0, 1, 10), (1, 1, 10), (10, 1, 10), (11, 1, 10), (-3, -5, -1), (4, 4, 4))
def is_between(n: int, low: int, high: int) -> bool:
    """Return True if n is at least low and at most high."""
    return low <= n <= high


@trivial(4, 10, 0, 1, 2, 100, 7)
def sum_to_n(n: int) -> int:
    """Return the sum of all whole numbers from 1 to n. For n = 0 the sum is 0."""
    return n * (n + 1) // 2


@easy(5, 3, 0, 1, 2, 10, 7)
def factorial(n: int) -> int:
    """Return n factorial, the product of 1 to n. The factorial of 0 is 1."""
    result = 1
    for factor in range(2, n + 1):
        result *= factor
    return result


@easy(8, -3, 0, 1, -1, 500, -77)
def sign(n: int) -> int:
    """Return 1 if n is positive, -1 if n is negative and 0 if n is zero."""
    return (n > 0) - (n < 0)


@easy(123, 40, 0, 9, 999, 1001, 58)
def sum_of_digits(n: int) -> int:
    """Return the sum of the decimal digits of n. n is zero or greater."""
    return sum(int(digit) for digit in str(n))


@easy(123, 40, 0, 9, 1000, 99999, 10)
def count_digits(n: int) -> int:
    """Return how many decimal digits n has. n is zero or greater."""
    return len(str(n))


@easy(7, 8, 1, 2, 0, 9, 25, 97)
def is_prime(n: int) -> bool:
    """Return True if n is a prime number."""
    return n > 1 and all(n % divisor for divisor in range(2, int(n**0.5) + 1))


@easy((12, 18), (7, 5), (9, 3), (1, 8), (100, 75), (6, 6), (17, 51))
def greatest_common_divisor(a: int, b: int) -> int:
    """Return the greatest whole number that divides both a and b. Both are positive."""
    while b:
        a, b = b, a % b
    return a


@easy(6, 10, 0, 1, 2, 3, 20)
def fibonacci(n: int) -> int:
    """Return the n-th Fibonacci number, where number 0 is 0 and number 1 is 1."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


@easy(6, 7, 1, 12, 16, 100, 2)
def count_divisors(n: int) -> int:
    """Return how many whole numbers from 1 to n divide n. n is positive."""
    return sum(n % divisor == 0 for divisor in range(1, n + 1))


@easy(2024, 2023, 1900, 2000, 2100, 1996, 2400, 1)
def is_leap_year(year: int) -> bool:
    """Return True if year is a leap year: divisible by 4, but not by 100 unless also by 400."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@easy(123, 90, 0, 7, 1000, 4321, 1201)
def reverse_number(n: int) -> int:
    """Return the number whose digits are those of n in reverse order. n is zero or greater."""
    return int(str(n)[::-1])


@easy(6, 1, 2, 3, 7, 16, 27)
def collatz_steps(n: int) -> int:
    """Start with n and repeat until it is 1: halve it if even, else triple it and add one. Return the number
    of steps.
    """
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps
