"""A function's result as tokens that keep its Python type, for the official profiles.

The expected value is never in this process, so ``==`` cannot be evaluated here: the value itself is sent, in a form
from which the other side can tell how Python would compare it with a value read from JSON. A type that equals no JSON
value is sent as one word. No method of a program's own class runs, and a class with an ``__eq__`` of
its own equals nothing: it could claim any equality.

One token a line, then what it announces:

    j N        N bytes of JSON: plain lists, dicts and scalars all the way down
    l N, d N   a list of N tokens; a dict of N pairs, each ``s`` (its key) and a token
    s N        N bytes of text (lone surrogates in their three-byte form)
    a W N.. X  numpy: W is ``n`` for a float narrower than Python's, the shape, then its items as tokens
    z          the one NaN that the JSON reader hands out: identical to the expected one, inside lists and dicts
    x N        comparing it raises: N bytes of that exception's repr
    o          equals no value that JSON has
"""

import collections.abc
import decimal
import fractions
import itertools
import json
import json.decoder
import sys
import types

# Saved now: a program may replace what these names mean later.
_type, _mro, _len, _map, _set, _list = type, type.__dict__["__mro__"].__get__, len, map, set, list
_dumps, _chain = json.JSONEncoder(check_circular=False).encode, itertools.chain.from_iterable
_Decimal, _Fraction, _numbers = decimal.Decimal, fractions.Fraction, (int, float)
_digits, _set_digits = sys.get_int_max_str_digits, sys.set_int_max_str_digits
JSON_NAN = json.decoder.NaN
INF = float("inf")

SCALARS = frozenset((int, float, str, bool, _type(None)))
OPAQUE = b"o\n"
SIGNALS = b"InvalidOperation([<class 'decimal.InvalidOperation'>])"
# Whose `__eq__` is the plain one: a subclass that inherits it is compared by what it contains.
PLAIN = {kind: kind for kind in (int, float, str, list, dict)}
PLAIN[collections.OrderedDict] = PLAIN[collections.Counter] = dict  # against a plain dict they compare as one
# Owners of an `__eq__` that compares what an object wraps. `Mapping` is UserDict's and ChainMap's.
WRAPPERS = {
    collections.UserList: lambda x: x.data,
    collections.UserString: lambda x: x.data,
    collections.abc.Mapping: lambda x: dict(x.items()),
    types.MappingProxyType: lambda x: dict(x.items()),
}
MOST_ITEMS = 2_000_000  # of a plain result
MOST_DIGITS = 50_000  # of an expected integer: the official runner reads no longer ones
MOST_TOKENS = 300_000  # of one that is not; what is larger, or contains itself, equals nothing
MOST_TRIALS = 8  # for a plain part in a result that is not plain as a whole
LARGEST_DECIMAL = 60_000  # digits before the point; longer ones exceed every expected value


def encode(value):
    """The tokens of ``value``."""
    before = _digits()
    _set_digits(MOST_DIGITS)  # what is longer equals no expected integer, and would take for ever to spell
    try:
        # What is still to be written, last first; bytes are written as they are.
        out, stack, trials, plain = [], [guarded(value)], 0, False
        while stack:
            x = stack.pop()
            if _len(out) + _len(stack) > MOST_TOKENS:
                return OPAQUE
            kind = _type(x)
            if kind is bytes:
                out.append(x)
            elif kind is not list and kind is not dict:
                out.append(token(x, kind, stack))
            elif trials < MOST_TRIALS and (plain := is_plain(x)) and (text := spelled(x)):
                out.append(leaf(text))
            else:
                trials = MOST_TRIALS if plain is None else trials + 1
                out.append((items if kind is list else pairs)(x, stack))
        return b"".join(out)
    finally:
        _set_digits(before)


def guarded(x):
    """On the stack bytes mean something else."""
    return OPAQUE if _type(x) is bytes else x


def token(x, kind, stack):
    """The token of ``x``, which is no list and no dict; what belongs below it goes on the stack."""
    if kind in SCALARS:
        return scalar(x, kind)
    if kind.__module__ == "numpy" and "numpy" in sys.modules:
        return array(x, stack)
    if kind is complex:
        return scalar(x.real, float) if x.imag == 0 else OPAQUE
    owner = next(base for base in _mro(kind) if "__eq__" in base.__dict__)
    if owner in WRAPPERS:
        stack.append(guarded(WRAPPERS[owner](x)))
        return b""
    plain = PLAIN.get(owner)
    if plain is not None:
        return subclass(x, plain, stack)
    if owner is _Decimal:
        return number_of_decimal(x)
    if owner is _Fraction:
        return exact(_Fraction(x.numerator, x.denominator))
    return OPAQUE


def leaf(text):
    data = text.encode("utf-8", "surrogatepass")
    return b"j %d\n%s" % (_len(data), data)


def scalar(x, kind):
    if kind is float and x != x:
        return b"z\n" if x is JSON_NAN else OPAQUE
    text = spelled(x)
    return OPAQUE if text is None else leaf(text)


def spelled(x):
    """JSON text of a plain value. None where that would not tell all: a NaN, an integer of too many digits."""
    try:
        text = _dumps(x)
    except ValueError:
        return None
    return None if "NaN" in text and _type(x) is not str else text


def subclass(x, plain, stack):
    if plain is int:
        return scalar(int.__int__(x), int)
    if plain is float:
        return scalar(float.__float__(x), float)
    if plain is str:
        return leaf(_dumps(str.__str__(x)))
    return (items if plain is list else pairs)(x, stack)


def items(x, stack):
    inside = _list(list.__iter__(x))
    stack.extend(reversed([guarded(item) for item in inside]))
    return b"l %d\n" % _len(inside)


def pairs(x, stack):
    inside = _list(dict.items(x))
    below = []
    for key, item in inside:
        if not isinstance(key, str):
            return OPAQUE  # JSON's keys are strings
        data = str.encode(key, "utf-8", "surrogatepass")
        below += [b"s %d\n%s" % (_len(data), data), guarded(item)]
    stack.extend(reversed(below))
    return b"d %d\n" % _len(inside)


def is_plain(x):
    """Whether nothing but exact JSON types is inside, told level by level at the speed of C; None: it is too large."""
    level = [x]
    for _ in range(500):
        kinds = _set(_map(_type, level)) - SCALARS
        if not kinds:
            return True
        if not kinds <= {list, dict}:
            return False
        lists = [item for item in level if _type(item) is list]
        dicts = [item for item in level if _type(item) is dict] if dict in kinds else ()
        if sum(_map(_len, lists)) + sum(_map(_len, dicts)) > MOST_ITEMS:
            return None  # also what doubles from level to level
        if dicts and _set(_map(_type, _chain(dicts))) - {str}:
            return False
        level = [*_chain(lists), *_chain(_map(dict.values, dicts))]
    return False


def number_of_decimal(x):
    if _Decimal.is_snan(x):
        return b"x %d\n%s" % (_len(SIGNALS), SIGNALS)
    if _Decimal.is_qnan(x):
        return OPAQUE
    if _Decimal.is_infinite(x):
        return scalar(-INF if _Decimal.is_signed(x) else INF, float)
    if not _Decimal.__bool__(x):
        return leaf("0")
    if not -LARGEST_DECIMAL < _Decimal.adjusted(x) < LARGEST_DECIMAL:
        return OPAQUE
    return exact(_Fraction(*_Decimal.as_integer_ratio(x)))


def exact(fraction):
    """An exact number as the integer or the float that equals it, if one does."""
    if fraction.denominator == 1:
        return scalar(fraction.numerator, int)
    try:
        near = fraction.numerator / fraction.denominator
    except OverflowError:
        return OPAQUE
    return leaf(_dumps(near)) if _Fraction(near) == fraction else OPAQUE


def lone(wide):
    """A float wider than Python's as Python's, where that is the same number."""
    near = float(wide)
    return near if near == wide else OPAQUE


def array(x, stack):
    """numpy's scalars are arrays without dimensions: they compare by the same rules."""
    numpy = sys.modules["numpy"]
    if not isinstance(x, (numpy.ndarray, numpy.generic)):
        return OPAQUE
    if isinstance(x, numpy.character):  # Python's own text with a name
        return leaf(_dumps(str.__str__(x))) if isinstance(x, str) else OPAQUE
    x = numpy.asarray(x)
    kind, narrow = x.dtype.kind, b"w"
    if kind == "f":
        narrow = b"n" if x.dtype.itemsize < 8 else b"w"
        flat = [item if _type(item) is float else lone(item) for item in x.reshape(-1).tolist()]
    elif kind == "m":
        flat = x.reshape(-1).astype("i8").tolist()
    elif kind == "O":
        flat = [guarded(item) for item in x.reshape(-1).tolist()]
    elif kind == "c":
        flat = [item if _type(item) is complex else OPAQUE for item in x.reshape(-1).tolist()]
    elif kind in "biuU":
        flat = x.reshape(-1).tolist()
    else:
        flat = [OPAQUE] * x.size
    stack.extend(reversed(flat))
    return b"a %s %s\n" % (narrow, b" ".join(b"%d" % size for size in (*x.shape, _len(flat))))
