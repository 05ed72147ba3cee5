"""Stdin problems on text: read lines, print lines."""

from __future__ import annotations

from tools.primer.define import Catalogue

PROBLEMS = Catalogue()
program = PROBLEMS.program

program(
    "echo",
    "Read one line of text. Print it unchanged.",
    "print(input())",
    ("hello", "two words", "x", "123", "A b C", "end."),
)
program(
    "greet",
    'Read a name. Print "Hello, ", then the name, then "!" on one line.',
    'print("Hello, " + input() + "!")',
    ("Ann", "World", "Bob Ray", "x", "MIA", "li"),
)
program(
    "shout",
    "Read one line of text. Print it in upper case.",
    "print(input().upper())",
    ("hello", "MiXed", "a1b2", "ALREADY", "two words", "z"),
)
program(
    "whisper",
    "Read one line of text. Print it in lower case.",
    "print(input().lower())",
    ("HELLO", "MiXed", "A1B2", "already", "Two Words", "Z"),
)
program(
    "reverse",
    "Read one word. Print it backwards.",
    "print(input()[::-1])",
    ("hello", "ab", "x", "level", "12345", "Python"),
)
program(
    "length",
    "Read one word. Print how many characters it has.",
    "print(len(input()))",
    ("hello", "ab", "x", "1234567890", "Python", "cat"),
)
program(
    "first-letter",
    "Read one word. Print its first letter.",
    "print(input()[0])",
    ("hello", "World", "x", "apple", "Zoo", "python"),
)
program(
    "join-two",
    "Read two words, one on each line. Print them as one word, the first before the second.",
    "print(input() + input())",
    ("foo\nbar", "sun\nflower", "a\nb", "x\nyz", "12\n34", "Rain\nBow"),
)
program(
    "repeat",
    "The first line holds a word, the second a positive integer n. Print the word on n lines.",
    "word = input()\nfor _ in range(int(input())):\n    print(word)",
    ("hi\n3", "x\n1", "ha\n2", "word\n5", "a\n4", "no\n10"),
)
program(
    "count-words",
    "Read one line of text. Print how many words it has; words are separated by spaces.",
    "print(len(input().split()))",
    ("hello world", "one", "the quick brown fox", "a b c", "two  gaps", "x y z w v u"),
)
program(
    "words-on-lines",
    "Read one line of words separated by spaces. Print each word on a line of its own.",
    "for word in input().split():\n    print(word)",
    ("hello world", "one", "the quick fox", "a b c d", "Red car", "1 2 3"),
)
program(
    "count-letter-a",
    "Read one line of text. Print how many times the letter a occurs in it.",
    'print(input().count("a"))',
    ("banana", "hello", "a", "Anna", "a cat sat", "zzz"),
)
program(
    "count-vowels",
    "Read one line in lower case. Print how many vowels (a, e, i, o, u) it has.",
    'print(sum(letter in "aeiou" for letter in input()))',
    ("hello", "sky", "aeiou", "banana", "queue up", "x"),
)
program(
    "palindrome",
    'Read one word. Print "yes" if it reads the same backwards and "no" otherwise.',
    'word = input()\nprint("yes" if word == word[::-1] else "no")',
    ("level", "hello", "a", "abba", "abca", "noon"),
)
program(
    "sort-words",
    "Read one line of lower-case words separated by spaces. Print them on one line in alphabetical order.",
    "print(*sorted(input().split()))",
    ("pear fig apple", "one", "b a b", "tea milk bread egg", "ab a abc", "z y x"),
    difficulty="easy",
)
program(
    "longest-word",
    "Read one line of words separated by spaces, all of different length. Print the longest word.",
    "print(max(input().split(), key=len))",
    ("a bbb cc", "one", "house car at", "x yy", "elephant ant bear", "to be good today"),
    difficulty="easy",
)
program(
    "reverse-words",
    "Read one line of words separated by spaces. Print the words on one line in reverse order.",
    "print(*input().split()[::-1])",
    ("hello world", "one", "the quick fox", "a b c d", "Red car here", "x yz"),
    difficulty="easy",
)
program(
    "number-the-lines",
    "The first line holds a count n, then n lines of text follow. Print each of them after its number, "
    'counted from 1, and ": ".',
    """
    for number in range(1, int(input()) + 1):
        print(f"{number}: {input()}")
    """,
    ("2\nmilk\nbread", "1\nx", "3\na\nb\nc", "2\ntwo words\none", "4\nd\nc\nb\na", "1\n5"),
    difficulty="easy",
)
program(
    "triangle-of-stars",
    "Read a positive integer n. Print n lines of stars (*): one on the first line, then one more per line.",
    """
    for width in range(1, int(input()) + 1):
        print("*" * width)
    """,
    ("3", "1", "2", "5", "7", "10"),
    difficulty="easy",
)
program(
    "most-votes",
    "The first line holds a count n, then n lines follow with one name each. Print the name that occurs most "
    "often; there is exactly one such name.",
    """
    names = [input() for _ in range(int(input()))]
    print(max(names, key=names.count))
    """,
    ("3\nann\nbob\nann", "1\nx", "4\nb\na\nb\nb", "6\nc\na\nb\na\nc\nc", "2\nz\nz", "3\nq\nr\nr"),
    difficulty="easy",
)
program(
    "shopping-total",
    "The first line holds a count n. Then n lines follow, each with an item, a quantity and a price, "
    "separated by spaces. Print the total cost.",
    """
    total = 0
    for _ in range(int(input())):
        _, quantity, price = input().split()
        total += int(quantity) * int(price)
    print(total)
    """,
    (
        "2\ntea 2 3\nmilk 1 4",
        "1\npen 5 2",
        "1\nbag 0 9",
        "3\na 1 1\nb 2 2\nc 3 3",
        "2\nx 10 10\ny 1 0",
        "4\na 1 5\nb 1 6\nc 1 7\nd 2 8",
    ),
    difficulty="easy",
)
