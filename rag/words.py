"""Words for retrieval and routing: lower case, without stop words, roughly stemmed. English."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:[.,][0-9]+)*", re.UNICODE)
_SUFFIXES = ("ings", "ing", "ies", "ied", "edly", "ed", "es", "s", "ly", "e")

STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before being but by can
    cannot could did do does doing done for from get give go had has have having he her here his
    how i if in into is it its just know like long make many may me mean means might much must
    my need no not now of often on one or our out please she should so some such take tell than
    that the their them then there these they this to too under up us use used very want was way
    we were what when where which while who whom why will with would you your
    """.split()  # noqa: SIM905
)


def words(text: str) -> list[str]:
    """Return all words of a text, in order, in lower case; numbers keep decimal separators."""
    return _WORD.findall(text.lower())


def content_words(text: str) -> list[str]:
    """Return the words that are not stop words; all words if there are no others."""
    all_words = words(text)
    return [word for word in all_words if word not in STOP_WORDS] or all_words


def stem(word: str) -> str:
    """Return a word without its most common endings; a stem has at least three letters."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = word[: -len(suffix)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def stems(text: str) -> list[str]:
    """Return the stemmed content words of a text."""
    return [stem(word) for word in content_words(text)]
