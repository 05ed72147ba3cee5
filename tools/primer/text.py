"""Problems on strings: letters, words, small formats."""

from __future__ import annotations

from tools.primer.define import Catalogue

PROBLEMS = Catalogue()
trivial, easy = PROBLEMS.trivial, PROBLEMS.easy


@trivial("hello", "ab", "", "x", "level", "two words", "12345")
def reverse_string(text: str) -> str:
    """Return the text in reverse order."""
    return text[::-1]


@trivial("hello", "MiXed", "", "a1b2", "ALREADY", "two words", "z")
def to_upper(text: str) -> str:
    """Return the text with all letters in upper case."""
    return text.upper()


@trivial(
    ("cat", "cat"),
    ("cat", "dog"),
    ("dog", "cat"),
    ("abc", "b"),
    ("", ""),
    ("Cat", "cat"),
    ("a", "ab"),
    ("two words", "two words"),
)
def same_text(a: str, b: str) -> bool:
    """Return True if the two texts are equal."""
    return a == b


@trivial("HELLO", "MiXed", "", "A1B2", "already", "Two Words", "Z")
def to_lower(text: str) -> str:
    """Return the text with all letters in lower case."""
    return text.lower()


@trivial("hello", "hi there", "", "x", "  ", "1234567890", "tab")
def text_length(text: str) -> int:
    """Return how many characters the text has."""
    return len(text)


@trivial("hello", "World", "x", " lead", "99", "apple pie")
def first_character(text: str) -> str:
    """Return the first character of the text, which is not empty."""
    return text[0]


@trivial("hello", "World", "x", "trail ", "98", "apple pies")
def last_character(text: str) -> str:
    """Return the last character of the text, which is not empty."""
    return text[-1]


@trivial(("foo", "bar"), ("sun", "flower"), ("", "x"), ("y", ""), ("", ""), ("a ", " b"), ("12", "34"))
def join_two(a: str, b: str) -> str:
    """Return the two texts joined together, first a and then b."""
    return a + b


@trivial(("ab", 3), ("ha", 2), ("x", 0), ("", 5), ("z", 1), ("no ", 4), ("long", 2))
def repeat_text(text: str, n: int) -> str:
    """Return the text repeated n times."""
    return text * n


@trivial("Ann", "World", "Bob Ray", "", "x", "MIA")
def greet(name: str) -> str:
    """Return a greeting: "Hello, ", then the name, then "!"."""
    return "Hello, " + name + "!"


@trivial(("Ada", "Byron"), ("John", "Smith"), ("A", "B"), ("Mary Ann", "Lee"), ("li", "wei"), ("X", "y"))
def full_name(first: str, last: str) -> str:
    """Return the first name and the last name with one space between them."""
    return first + " " + last


@trivial("level", "hello", "", "a", "abba", "abca", "Level")
def is_palindrome(text: str) -> bool:
    """Return True if the text reads the same forwards and backwards."""
    return text == text[::-1]


@trivial("hello", "sky", "", "aeiou", "banana", "queue up", "x")
def count_vowels(text: str) -> int:
    """Return how many vowels (a, e, i, o, u) are in the text. All letters are lower case."""
    return sum(letter in "aeiou" for letter in text)


@trivial(
    ("banana", "a"), ("hello", "l"), ("", "x"), ("Anna", "a"), ("zzz", "z"), ("tree", "q"), ("a b c", "c")
)
def count_letter(text: str, letter: str) -> int:
    """Return how many times the letter occurs in the text."""
    return text.count(letter)


@trivial("a b c", "hello world", "", "   ", "none", " edge ", "x  y")
def remove_spaces(text: str) -> str:
    """Return the text without its spaces."""
    return text.replace(" ", "")


@trivial("hello world", "one", "the quick fox", "a b c d", "Red car", "x yz")
def first_word(sentence: str) -> str:
    """Return the first word of the sentence. Words are separated by single spaces."""
    return sentence.split()[0]


@trivial("hello world", "one", "the quick fox", "a b c d", "Red car", "x yz")
def last_word(sentence: str) -> str:
    """Return the last word of the sentence. Words are separated by single spaces."""
    return sentence.split()[-1]


@trivial("hello world", "one", "", "the quick brown fox", "a b c", "two  gaps", "x")
def count_words(sentence: str) -> int:
    """Return how many words the sentence has. Words are separated by spaces."""
    return len(sentence.split())


@trivial("hello world", "one", "the quick fox", "a b c d", "Red car", "1 2 3")
def split_words(sentence: str) -> list[str]:
    """Return the words of the sentence as a list. Words are separated by single spaces."""
    return sentence.split()


@trivial(["hello", "world"], ["one"], [], ["a", "b", "c"], ["Red", "car"], ["x", "y", "z", "w"])
def join_words(words: list[str]) -> str:
    """Return the words joined into one text with single spaces between them."""
    return " ".join(words)


@trivial(
    ("hello", "he"), ("hello", "lo"), ("", "a"), ("abc", ""), ("Hi", "hi"), ("sun", "sunny"), ("zoo", "ant")
)
def starts_with(text: str, prefix: str) -> bool:
    """Return True if the text starts with the prefix."""
    return text.startswith(prefix)


@trivial(
    ("hello", "lo"), ("hello", "he"), ("", "a"), ("abc", ""), ("Hi", "I"), ("ing", "sing"), ("sing", "ing")
)
def ends_with(text: str, suffix: str) -> bool:
    """Return True if the text ends with the suffix."""
    return text.endswith(suffix)


@trivial(
    ("hello", "ell"),
    ("hello", "xyz"),
    ("", "a"),
    ("abc", ""),
    ("Cat", "cat"),
    ("a cat sat", "cat"),
    ("abc", "abcd"),
)
def contains_text(text: str, word: str) -> bool:
    """Return True if the word occurs somewhere in the text."""
    return word in text


@trivial("", "a", " ", "hello", "0", "False")
def is_empty_text(text: str) -> bool:
    """Return True if the text is empty."""
    return text == ""


@trivial("banana", "hello", "", "a", "Anna", "aaa", "car park")
def replace_a_with_o(text: str) -> str:
    """Return the text with every letter a replaced by the letter o."""
    return text.replace("a", "o")


@trivial("a b", "hello big world", "", " ", "none", "x  y", " end ")
def spaces_to_underscores(text: str) -> str:
    """Return the text with every space replaced by an underscore."""
    return text.replace(" ", "_")


@trivial("hello", "ab", "x", "pad ", "12345", "Upper case")
def drop_last(text: str) -> str:
    """Return the text without its last character. The text is not empty."""
    return text[:-1]


@trivial("hello", "ab", "", "xyz", "four", "a b c d")
def first_three(text: str) -> str:
    """Return the first three characters of the text, or the whole text if it is shorter."""
    return text[:3]


@trivial("123", "12a", "0", "x", "1 2", "987654321", "-5")
def is_number_text(text: str) -> bool:
    """Return True if all characters of the text, which is not empty, are digits."""
    return text.isdigit()


@trivial(5, 12, 0, -3, 1000, 77)
def number_to_text(n: int) -> str:
    """Return the number n as text."""
    return str(n)


@trivial("5", "12", "0", "-3", "1000", "007")
def text_to_number(text: str) -> int:
    """Return the whole number that is written in the text."""
    return int(text)


@trivial(
    ("cat", "dog"), ("one", "three"), ("", ""), ("a", ""), ("same", "same"), ("x", "yz"), ("table", "chair")
)
def same_length(a: str, b: str) -> bool:
    """Return True if the two words have the same number of letters."""
    return len(a) == len(b)


@trivial(("cat", "horse"), ("three", "one"), ("", "a"), ("zz", "z"), ("big", "small"), ("elephant", "ant"))
def longer_word(a: str, b: str) -> str:
    """Return the longer of the two words. They never have the same length."""
    return a if len(a) > len(b) else b


@easy("hello", "world cup", "", "x", "Done", "aBC", "1st")
def capitalize_first(text: str) -> str:
    """Return the text with its first letter in upper case and everything else unchanged."""
    return text[:1].upper() + text[1:]


@easy("hello", "sky", "", "aeiou", "banana bread", "x", "tree")
def remove_vowels(text: str) -> str:
    """Return the text without vowels (a, e, i, o, u). All letters are lower case."""
    return "".join(letter for letter in text if letter not in "aeiou")


@easy("abc", "hi", "", "x", "a b", "112")
def double_letters(text: str) -> str:
    """Return the text with every character written twice."""
    return "".join(letter * 2 for letter in text)


@easy("Hello World", "none", "", "ABC", "aBcD", "X1Y2", "z")
def count_uppercase(text: str) -> int:
    """Return how many upper-case letters the text has."""
    return sum(letter.isupper() for letter in text)


@easy(
    ["a", "bbb", "cc"], ["one"], ["house", "car", "at"], ["x", "yy"], ["elephant", "ant", "bear"], ["", "z"]
)
def longest_word(words: list[str]) -> str:
    """Return the longest word of the list. No two words have the same length; the list is not empty."""
    return max(words, key=len)


@easy("hello world", "one", "the quick fox", "a b c d", "Red car here", "x yz")
def reverse_words(sentence: str) -> str:
    """Return the sentence with its words in reverse order. Words are separated by single spaces."""
    return " ".join(sentence.split()[::-1])


@easy("ada byron", "john ronald smith", "x", "Mary Lee", "a b c d", "Ken thompson")
def initials(name: str) -> str:
    """Return the first letters of the words of the name, in upper case and without spaces."""
    return "".join(word[0].upper() for word in name.split())


@easy(
    ("listen", "silent"),
    ("cat", "dog"),
    ("", ""),
    ("aab", "abb"),
    ("abc", "ab"),
    ("stop", "pots"),
    ("a", "aa"),
)
def is_anagram(a: str, b: str) -> bool:
    """Return True if the two words are made of the same letters, each as often."""
    return sorted(a) == sorted(b)


@easy("a1b2", "99", "", "none", "7 apples and 8 pears", "x0y", "10-20")
def sum_digits_in_text(text: str) -> int:
    """Return the sum of all digits that occur in the text."""
    return sum(int(letter) for letter in text if letter.isdigit())


@easy("abc", "xyz", "", "hello world", "z", "a-b", "Zz")
def next_letters(text: str) -> str:
    """Shift each lower-case letter to the next one of the alphabet; z becomes a. Other characters stay."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(letters[(letters.index(c) + 1) % 26] if c in letters else c for c in text)


@easy("aab", "xyz", "", "zzzz", "abba", "q", "aaabccd")
def run_lengths(text: str) -> str:
    """Shorten runs of equal letters: each run becomes the letter and its length, so "aab" gives "a2b1"."""
    parts: list[str] = []
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or text[end] != text[start]:
            parts.append(f"{text[start]}{end - start}")
            start = end
    return "".join(parts)
