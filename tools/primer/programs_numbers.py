"""Stdin problems on numbers: read, compute, print."""

from __future__ import annotations

from tools.primer.define import Catalogue

PROBLEMS = Catalogue()
program = PROBLEMS.program

program(
    "sum-of-two",
    "Read two integers, one on each line. Print their sum.",
    "print(int(input()) + int(input()))",
    ("3\n4", "0\n0", "-5\n2", "100\n-100", "7\n13", "999\n1"),
)
program(
    "sum-of-two-in-line",
    "Read one line with two integers separated by a space. Print their sum.",
    "a, b = map(int, input().split())\nprint(a + b)",
    ("3 4", "0 0", "-5 2", "100 -100", "7 13", "999 1"),
)
program(
    "difference",
    "Read two integers a and b, one on each line. Print a minus b.",
    "a = int(input())\nb = int(input())\nprint(a - b)",
    ("9\n4", "3\n8", "0\n0", "-2\n-5", "100\n1", "5\n-5"),
)
program(
    "product",
    "Read one line with two integers separated by a space. Print their product.",
    "a, b = map(int, input().split())\nprint(a * b)",
    ("3 4", "0 9", "-2 6", "1 17", "-3 -3", "25 4"),
)
program(
    "double",
    "Read one integer. Print twice that number.",
    "print(2 * int(input()))",
    ("4", "0", "-3", "1", "50", "999"),
)
program(
    "square",
    "Read one integer. Print its square.",
    "n = int(input())\nprint(n * n)",
    ("3", "0", "-4", "1", "12", "100"),
)
program(
    "next-number",
    "Read one integer n. Print n plus one.",
    "print(int(input()) + 1)",
    ("4", "0", "-1", "99", "-10", "1000"),
)
program(
    "absolute-value",
    "Read one integer. Print its distance from zero.",
    "print(abs(int(input())))",
    ("5", "-3", "0", "-1", "250", "-999"),
)
program(
    "even-or-odd",
    'Read one integer. Print "even" if it is even and "odd" if it is odd.',
    'print("even" if int(input()) % 2 == 0 else "odd")',
    ("4", "7", "0", "-2", "-5", "100"),
)
program(
    "positive-or-not",
    'Read one integer. Print "yes" if it is greater than zero and "no" otherwise.',
    'print("yes" if int(input()) > 0 else "no")',
    ("8", "-2", "0", "1", "-1", "1000"),
)
program(
    "larger-of-two",
    "Read two integers, one on each line. Print the larger one.",
    "print(max(int(input()), int(input())))",
    ("3\n8", "9\n2", "4\n4", "-1\n-6", "0\n-3", "-7\n0"),
)
program(
    "largest-of-three",
    "Read one line with three integers separated by spaces. Print the largest one.",
    "a, b, c = map(int, input().split())\nprint(max(a, b, c))",
    ("1 5 3", "9 2 4", "0 0 7", "-3 -1 -2", "6 6 1", "10 9 100"),
)
program(
    "remainder",
    "Read two positive integers a and b, one on each line. Print the remainder of a divided by b.",
    "a = int(input())\nb = int(input())\nprint(a % b)",
    ("17\n5", "9\n3", "2\n7", "100\n9", "1\n1", "50\n20"),
)
program(
    "rectangle-area",
    "Read the width and the height of a rectangle, two integers on one line. Print its area.",
    "width, height = map(int, input().split())\nprint(width * height)",
    ("3 4", "10 2", "1 1", "0 5", "7 7", "12 11"),
)
program(
    "minutes-to-seconds",
    "Read a whole number of minutes. Print how many seconds that is.",
    "print(60 * int(input()))",
    ("2", "10", "0", "1", "60", "15"),
)
program(
    "count-up",
    "Read one integer n. Print the numbers from 1 to n, one on each line. n is positive.",
    "for number in range(1, int(input()) + 1):\n    print(number)",
    ("3", "1", "5", "2", "10", "12"),
)
program(
    "count-down",
    "Read one integer n. Print the numbers from n down to 1, one on each line. n is positive.",
    "for number in range(int(input()), 0, -1):\n    print(number)",
    ("3", "1", "5", "2", "10", "12"),
)
program(
    "sum-to-n",
    "Read one integer n, zero or greater. Print the sum of all whole numbers from 1 to n.",
    "n = int(input())\nprint(n * (n + 1) // 2)",
    ("4", "10", "0", "1", "2", "100"),
)
program(
    "sum-of-list",
    "The first line holds a count n, the second line n integers separated by spaces. Print their sum.",
    "input()\nprint(sum(map(int, input().split())))",
    ("3\n1 2 3", "1\n5", "4\n10 20 30 40", "2\n-1 1", "5\n0 0 0 0 7", "2\n-4 -6"),
)
program(
    "largest-of-list",
    "Read one line with at least one integer, separated by spaces. Print the largest of them.",
    "print(max(map(int, input().split())))",
    ("1 9 3", "5", "-4 -2 -8", "7 7", "0 -1 1 0", "100 20 99 3"),
)
program(
    "sort-list",
    "Read one line with integers separated by spaces. Print them on one line from smallest to largest.",
    "print(*sorted(map(int, input().split())))",
    ("3 1 2", "7", "5 5 1", "0 -1 -10", "9 8 7 6", "10 9 100"),
)
program(
    "count-even",
    "Read one line with integers separated by spaces. Print how many of them are even.",
    "print(sum(int(word) % 2 == 0 for word in input().split()))",
    ("1 2 3 4", "5", "2 2 2", "0 -1 -2 3", "9 7 1", "10 20 30 40 50"),
)
program(
    "sum-of-lines",
    "Read n from the first line, then n more lines with one integer each. Print the sum of those n integers.",
    "print(sum(int(input()) for _ in range(int(input()))))",
    ("3\n1\n2\n3", "1\n5", "2\n-1\n1", "4\n10\n20\n30\n40", "2\n0\n0", "5\n1\n1\n1\n1\n1"),
)
program(
    "factorial",
    "Read one integer n, zero or greater. Print n factorial.",
    """
    result = 1
    for factor in range(2, int(input()) + 1):
        result *= factor
    print(result)
    """,
    ("5", "3", "0", "1", "2", "10"),
    difficulty="easy",
)
program(
    "sum-of-digits",
    "Read one integer, zero or greater. Print the sum of its digits.",
    "print(sum(map(int, input().strip())))",
    ("123", "40", "0", "9", "999", "1001"),
    difficulty="easy",
)
program(
    "times-table",
    'Read one integer n. Print ten lines "n x k = p" for k from 1 to 10, where p is n times k.',
    """
    n = int(input())
    for k in range(1, 11):
        print(f"{n} x {k} = {n * k}")
    """,
    ("3", "1", "0", "10", "-2", "12"),
    difficulty="easy",
)
program(
    "fizz-buzz",
    'Read a positive integer n. For each number from 1 to n print a line: "FizzBuzz" if 15 divides it, '
    '"Fizz" if only 3 does, "Buzz" if only 5 does, and otherwise the number.',
    """
    for number in range(1, int(input()) + 1):
        print("Fizz" * (number % 3 == 0) + "Buzz" * (number % 5 == 0) or number)
    """,
    ("5", "1", "15", "3", "16", "31"),
    difficulty="easy",
)
program(
    "prime-or-not",
    'Read one integer n, zero or greater. Print "prime" if it is a prime number and "not prime" otherwise.',
    """
    n = int(input())
    prime = n > 1 and all(n % divisor for divisor in range(2, int(n**0.5) + 1))
    print("prime" if prime else "not prime")
    """,
    ("7", "8", "1", "2", "0", "25", "97"),
    difficulty="easy",
)
program(
    "range-of-readings",
    "The first line holds a count n, then n lines follow with one temperature each. Print the lowest and the "
    "highest temperature on one line, separated by a space.",
    """
    readings = [int(input()) for _ in range(int(input()))]
    print(min(readings), max(readings))
    """,
    ("3\n4\n-2\n9", "1\n5", "2\n7\n7", "4\n-1\n-8\n-3\n-5", "2\n30\n10", "5\n0\n1\n0\n2\n1"),
    difficulty="easy",
)
program(
    "queries",
    'The first line holds a count q. Then q lines follow, each "add a b" or "mul a b" with integers a and b. '
    "For each one print a line with the sum or the product.",
    """
    for _ in range(int(input())):
        word, a, b = input().split()
        print(int(a) + int(b) if word == "add" else int(a) * int(b))
    """,
    (
        "2\nadd 1 2\nmul 3 4",
        "1\nadd 0 0",
        "1\nmul -2 5",
        "3\nmul 0 9\nadd -1 1\nadd 10 20",
        "2\nadd 2 2\nmul 2 3",
        "4\nmul 1 1\nmul 7 8\nadd 7 8\nadd -7 -8",
    ),
    difficulty="easy",
)
